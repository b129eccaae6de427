#include "backup/scan.h"

#include "backup/snapshot.h"
#include "base/mem.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static int
make(int dir, const char *name)
{
    if (name[strlen(name) - 1] == '/')
        return mkdirat(dir, name, 0755);
    _cleanup_close_ int fd = openat(dir, name, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
    return fd < 0 ? -errno : 0;
}

TEST(a_scan_tells_all_in_the_order_of_a_snapshot)
{
    static const char *const made[] = {"b", "a/", "a/z", "a/.h", "a.b", "a/c/", "a/c/d", "\xff"};
    static const char *const want[] = {"",    "a",   "a/.h", "a/c", "a/c/d",
                                       "a/z", "a.b", "b",    "l",   "\xff"};
    _cleanup_close_ int dir = open(tap_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct scan *s = NULL;
    struct scan_item item;
    char last[100] = "";
    for (size_t i = 0; i < ARRAY_SIZE(made); i++)
        REQUIRE(make(dir, made[i]) == 0);
    REQUIRE(symlinkat("a", dir, "l") == 0);
    REQUIRE(scan_open(dir, &s, NULL) == 0);
    for (size_t i = 0; i < ARRAY_SIZE(want); i++) {
        REQUIRE(scan_next(s, &item, NULL) == 1);
        CHECK_STR(item.path, want[i]);
        CHECK(i == 0 || snapshot_order(last, item.path) < 0);
        (void)memcpy(last, item.path, strlen(item.path) + 1);
    }
    CHECK_EQ(scan_next(s, &item, NULL), 0);
    scan_free(s);
}

TEST(a_scan_ends_anywhere)
{
    _cleanup_close_ int dir = open(tap_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    REQUIRE(make(dir, "a/") == 0 && make(dir, "a/b/") == 0 && make(dir, "a/b/c") == 0);
    for (unsigned n = 0; n < 5; n++) {
        struct scan *s = NULL;
        struct scan_item item;
        REQUIRE(scan_open(dir, &s, NULL) == 0);
        for (unsigned i = 0; i < n; i++)
            (void)!scan_next(s, &item, NULL);
        scan_free(s);
    }
}

/* What was listed and has gone is passed over. */
TEST(a_scan_passes_over_what_has_gone)
{
    _cleanup_close_ int dir = open(tap_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct scan *s = NULL;
    struct scan_item item;
    REQUIRE(make(dir, "a") == 0 && make(dir, "b") == 0 && make(dir, "c/") == 0);
    REQUIRE(scan_open(dir, &s, NULL) == 0);
    REQUIRE(scan_next(s, &item, NULL) == 1 && scan_next(s, &item, NULL) == 1);
    CHECK_STR(item.path, "a");
    REQUIRE(unlinkat(dir, "b", 0) == 0);
    REQUIRE(scan_next(s, &item, NULL) == 1);
    CHECK_STR(item.path, "c");
    CHECK_EQ(scan_next(s, &item, NULL), 0);
    scan_free(s);
}

TEST(a_scan_has_an_end_of_its_depth)
{
    _cleanup_close_ int top = open(tap_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    _cleanup_close_ int dir = dup(top);
    struct scan *s = NULL;
    struct scan_item item;
    struct err err;
    int r;
    for (unsigned i = 0; i <= SCAN_DEPTH_MAX; i++) {
        REQUIRE(mkdirat(dir, "d", 0755) == 0);
        int next = openat(dir, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        REQUIRE(next >= 0);
        (void)close(dir);
        dir = next;
    }
    REQUIRE(scan_open(top, &s, NULL) == 0);
    while ((r = scan_next(s, &item, &err)) > 0)
        ;
    CHECK(r < 0);
    CHECK_EQ(err.id, ERR_TOO_LARGE);
    scan_free(s);
}
