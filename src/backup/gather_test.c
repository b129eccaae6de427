#include "backup/gather.h"

#include "base/buf.h"
#include "base/text.h"
#include "sys/files.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A directory with one of each, as long ago as the test wants. */
static char *
fill(const char *name)
{
    char *top = mem_printf("%s/%s", tap_dir(), name);
    _cleanup_free_ char *below = mem_printf("%s/sub", top);
    _cleanup_free_ char *open = mem_printf("%s/sub/open", top);
    _cleanup_free_ char *closed = mem_printf("%s/closed", top);
    _cleanup_free_ char *link = mem_printf("%s/link", top);
    CHECK(file_make_dirs(below, 0755, NULL) == 0);
    CHECK(file_write(open, "open", 4, 0644, NULL) == 0);
    CHECK(file_write(closed, "closed", 6, 0600, NULL) == 0);
    CHECK(symlink("sub/open", link) == 0);
    return top;
}

static bool
has(const struct gather *g, const char *top, const char *name, const char *want)
{
    _cleanup_buf_ struct buf text = BUF_INIT(KIB);
    _cleanup_free_ char *path = mem_printf("%s%s/%s", g->dir, top, name);
    return file_read_if_there(path, &text, NULL) > 0 && text_eq(text.data, want);
}

TEST(what_is_gathered_is_as_it_was_and_goes_again)
{
    struct gather g;
    struct stat st;
    char target[16] = "";
    _cleanup_free_ char *top = fill("from");
    _cleanup_free_ char *dir = mem_printf("%s/jobs/x.gathered", tap_dir());
    REQUIRE(gather_begin(&g, dir, MIB, NULL) == 0);
    CHECK_EQ(gather_path(&g, top, GATHER_OURS, NULL), 0);
    CHECK_EQ(gather_path(&g, "/nothing/there", GATHER_OURS, NULL), 0);
    CHECK_EQ(gather_text(&g, "texts/one", "1", 1, 0640, NULL), 0);
    CHECK(has(&g, top, "sub/open", "open"));
    CHECK(has(&g, top, "closed", "closed"));
    CHECK(has(&g, "", "texts/one", "1"));
    _cleanup_free_ char *link = mem_printf("%s%s/link", dir, top);
    _cleanup_free_ char *closed = mem_printf("%s%s/closed", dir, top);
    CHECK(readlink(link, target, sizeof(target) - 1) == 8 && text_eq(target, "sub/open"));
    CHECK(stat(closed, &st) == 0 && (st.st_mode & 07777) == 0600);
    CHECK(stat(dir, &st) == 0 && (st.st_mode & 07777) == 0700);
    gather_end(&g);
    CHECK(access(dir, F_OK) < 0);
}

TEST(secrets_are_left_out_and_named)
{
    struct gather g;
    _cleanup_free_ char *top = fill("secret");
    _cleanup_free_ char *dir = mem_printf("%s/jobs/y.gathered", tap_dir());
    REQUIRE(gather_begin(&g, dir, MIB, NULL) == 0);
    g.secrets_because = "it is open";
    CHECK_EQ(gather_path(&g, top, GATHER_OPEN, NULL), 0);
    CHECK(has(&g, top, "sub/open", "open"));
    CHECK(!has(&g, top, "closed", "closed"));
    REQUIRE(g.left_out.count == 1);
    CHECK(text_ends(g.left_out.items[0], "/secret/closed"));
    gather_end(&g);
}

TEST(two_do_not_gather_at_once_and_what_a_crash_has_left_goes)
{
    struct gather g, other;
    struct err err;
    _cleanup_free_ char *dir = mem_printf("%s/jobs/z.gathered", tap_dir());
    _cleanup_free_ char *left = mem_printf("%s/old", dir);
    REQUIRE(file_make_dirs(dir, 0755, NULL) == 0 && file_write(left, "", 0, 0600, NULL) == 0);
    REQUIRE(gather_begin(&g, dir, MIB, NULL) == 0);
    CHECK(access(left, F_OK) < 0);
    REQUIRE(gather_text(&g, "mine", "1", 1, 0640, NULL) == 0);
    CHECK_EQ(gather_begin(&other, dir, MIB, &err), -EBUSY);
    CHECK_EQ(err.id, ERR_REPOSITORY_BUSY);
    gather_end(&other);
    CHECK(has(&g, "", "mine", "1")); /* who was refused has removed nothing */
    gather_end(&g);
}

TEST(what_is_gathered_is_bounded)
{
    struct gather g;
    struct err err;
    _cleanup_free_ char *top = fill("large");
    _cleanup_free_ char *dir = mem_printf("%s/jobs/w.gathered", tap_dir());
    REQUIRE(gather_begin(&g, dir, 9, NULL) == 0);
    CHECK_EQ(gather_path(&g, top, GATHER_OURS, &err), -EFBIG);
    CHECK(strstr(err.what, "/large/") && strstr(err.what, "9 B"));
    gather_end(&g);
}

static void
digest(const char *top, char text[HASH_SHA256_HEX])
{
    struct gather g;
    REQUIRE(gather_begin(&g, NULL, MIB, NULL) == 0);
    CHECK_EQ(gather_path(&g, top, GATHER_OURS, NULL), 0);
    g.is_fresh = false; /* so that nobody has to wait */
    gather_digest(&g, text);
    gather_end(&g);
}

TEST(a_change_is_seen_without_a_copy)
{
    char before[HASH_SHA256_HEX], after[HASH_SHA256_HEX];
    struct gather g;
    _cleanup_free_ char *top = fill("looked");
    _cleanup_free_ char *more = mem_printf("%s/sub/more", top);
    digest(top, before);
    digest(top, after);
    CHECK_STR(after, before);
    REQUIRE(file_write(more, "", 0, 0644, NULL) == 0);
    digest(top, after);
    CHECK(!text_eq(after, before));
    REQUIRE(unlink(more) == 0);
    digest(top, after);
    CHECK_STR(after, before);
    _cleanup_free_ char *closed = mem_printf("%s/closed", top);
    REQUIRE(chmod(closed, 0640) == 0);
    digest(top, after);
    CHECK(!text_eq(after, before));
    REQUIRE(gather_begin(&g, NULL, MIB, NULL) == 0 && gather_path(&g, top, GATHER_OURS, NULL) == 0);
    gather_digest(&g, after);
    CHECK_STR(after, ""); /* it was all made just now */
    gather_end(&g);
}
