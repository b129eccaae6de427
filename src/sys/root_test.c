#include "sys/root.h"

#include "base/mem.h"
#include "tap.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>

TEST(every_path_lies_under_the_root)
{
    _cleanup_buf_ struct buf path = BUF_INIT(PATH_MAX);
    _cleanup_free_ char *real = realpath(tap_dir(), NULL);
    _cleanup_free_ char *want = mem_printf("%s/etc/citadel", real);
    REQUIRE(root_path(&path, "/etc/citadel", NULL) == 0);
    CHECK_STR(path.data, "/etc/citadel");
    REQUIRE(root_set(tap_dir(), NULL) == 0);
    CHECK(root_is_set());
    CHECK_STR(root_dir(), real);
    REQUIRE(root_path(&path, "/etc/citadel", NULL) == 0);
    CHECK_STR(path.data, want);
    REQUIRE(root_set("/", NULL) == 0);
    CHECK(!root_is_set());
}

TEST(no_path_leaves_the_root)
{
    static const char *const bad[] = {"/..", "/../etc", "/a/../../b", "/a/..", "relative", ""};
    static const char *const good[] = {"/a..b", "/...", "/..a/b", "/a../b"};
    _cleanup_buf_ struct buf path = BUF_INIT(PATH_MAX);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct err err = {0};
        tap_note("%s", bad[i]);
        CHECK(root_path(&path, bad[i], &err) < 0);
        CHECK_EQ(err.id, ERR_VALUE);
    }
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        tap_note("%s", good[i]);
        CHECK_EQ(root_path(&path, good[i], NULL), 0);
    }
}

TEST(a_root_must_be_there)
{
    struct err err = {0};
    CHECK_EQ(root_set("/nowhere/at/all", &err), -ENOENT);
    CHECK(strstr(err.what, "/nowhere/at/all") != NULL);
    CHECK_EQ(root_set("/dev/null", &err), -ENOTDIR);
    CHECK(!root_is_set());
}
