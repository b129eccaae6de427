#include "sys/files.h"

#include "base/mem.h"
#include "crash.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char *
in_dir(const char *name)
{
    return mem_printf("%s/%s", tap_dir(), name);
}

static bool
holds(const char *path, const char *want)
{
    _cleanup_buf_ struct buf text = BUF_INIT(MIB);
    return file_read(path, &text, NULL) == 0 && strcmp(text.data, want) == 0;
}

TEST(a_file_is_read_to_its_ceiling)
{
    _cleanup_free_ char *path = in_dir("f");
    REQUIRE(file_write(path, "12345", 5, 0644, NULL) == 0);
    for (size_t ceiling = 0; ceiling < 8; ceiling++) {
        _cleanup_buf_ struct buf b;
        struct err err = {0};
        buf_init(&b, ceiling);
        tap_note("ceiling %zu", ceiling);
        CHECK_EQ(file_read(path, &b, &err), ceiling < 5 ? -EFBIG : 0);
        CHECK_EQ(err.id, ceiling < 5 ? ERR_TOO_LARGE : ERR_NONE);
        if (ceiling >= 5)
            CHECK_STR(b.data, "12345");
    }
}

/* A pipe tells no size, and comes in pieces. */
TEST(what_may_be_missing_is_no_error_when_it_is)
{
    _cleanup_free_ char *path = in_dir("f");
    _cleanup_buf_ struct buf text = BUF_INIT(3);
    struct err err = {0};
    CHECK_EQ(file_read_if_there(path, &text, &err), 0);
    CHECK_EQ(err.id, ERR_NONE);
    REQUIRE(file_write(path, "abc", 3, 0644, NULL) == 0);
    CHECK_EQ(file_read_if_there(path, &text, &err), 1);
    CHECK_STR(text.data, "abc");
    CHECK(err.id == ERR_NONE && file_read_if_there(tap_dir(), &text, &err) < 0);
    CHECK(strstr(err.what, tap_dir()));
}

TEST(what_is_open_is_read_to_its_end)
{
    for (size_t ceiling = 4; ceiling < 7; ceiling++) {
        _cleanup_buf_ struct buf b;
        int ends[2];
        buf_init(&b, ceiling);
        buf_add_char(&b, '>');
        REQUIRE(pipe(ends) == 0);
        CHECK(write(ends[1], "12", 2) == 2 && write(ends[1], "34", 2) == 2);
        (void)close(ends[1]);
        CHECK_EQ(file_read_fd(ends[0], &b), ceiling < 5 ? -EFBIG : 0);
        CHECK_STR(b.data, ceiling < 5 ? ">123" : ">1234");
        (void)close(ends[0]);
    }
}

TEST(a_directory_is_opened_for_its_entries)
{
    _cleanup_free_ char *link = in_dir("link");
    REQUIRE(symlink(tap_dir(), link) == 0);
    CHECK(!file_open_dir(AT_FDCWD, link, O_NOFOLLOW) && errno == ENOTDIR);
    CHECK(!file_open_dir(AT_FDCWD, "/dev/null", 0) && errno == ENOTDIR);
    DIR *d = file_open_dir(AT_FDCWD, link, 0);
    REQUIRE(d && readdir(d) != NULL);
    CHECK_EQ(closedir(d), 0);
}

TEST(only_files_are_read)
{
    _cleanup_free_ char *fifo = in_dir("fifo");
    _cleanup_buf_ struct buf b = BUF_INIT(100);
    struct err err = {0};
    REQUIRE(mkfifo(fifo, 0600) == 0);
    CHECK(file_read(fifo, &b, &err) < 0); /* at once: nobody writes to it */
    CHECK_EQ(err.id, ERR_VALUE);
    CHECK_EQ(file_read(tap_dir(), &b, &err), -EISDIR);
    CHECK_EQ(file_read("/dev/zero", &b, &err), -EINVAL);
    CHECK_EQ(file_read("/nowhere", &b, &err), -ENOENT);
}

TEST(a_file_keeps_its_mode_and_a_new_one_gets_it)
{
    _cleanup_free_ char *path = in_dir("f");
    struct stat st;
    mode_t old = umask(077);
    CHECK_EQ(file_write(path, "a", 1, 0644, NULL), 0);
    (void)umask(old);
    REQUIRE(stat(path, &st) == 0);
    CHECK_EQ(st.st_mode & 07777, 0644);
    REQUIRE(chmod(path, 0640) == 0);
    CHECK_EQ(file_write(path, "b", 1, 0600, NULL), 0);
    REQUIRE(stat(path, &st) == 0);
    CHECK_EQ(st.st_mode & 07777, 0640);
    CHECK(holds(path, "b"));
}

TEST(what_a_crash_left_is_taken_over)
{
    _cleanup_free_ char *path = in_dir("f"), *draft = in_dir(".f.new");
    REQUIRE(file_write(draft, "a longer text than the new one", 30, 0600, NULL) == 0);
    CHECK_EQ(file_write(path, "new", 3, 0644, NULL), 0);
    CHECK(holds(path, "new"));
    CHECK(access(draft, F_OK) < 0);
}

TEST(another_writer_is_not_waited_for_without_end)
{
    _cleanup_free_ char *path = in_dir("f"), *draft = in_dir(".f.new");
    struct err err;
    REQUIRE(file_write(path, "old", 3, 0644, NULL) == 0);
    _cleanup_close_ int held = file_open(draft, O_RDWR | O_CREAT, 0600);
    REQUIRE(held >= 0 && file_lock(held, 0) == 0);
    CHECK(file_write(path, "new", 3, 0644, &err) < 0);
    CHECK_EQ(err.id, ERR_CHANGE_BUSY);
    CHECK(strstr(err.what, path) && strstr(err.fix, draft));
    CHECK(holds(path, "old"));
    cleanup_close(&held);
    CHECK_EQ(file_write(path, "new", 3, 0644, &err), 0);
}

TEST(new_bytes_do_not_run_as_somebody_else)
{
    _cleanup_free_ char *path = in_dir("f");
    struct stat st;
    REQUIRE(file_write(path, "a", 1, 0755, NULL) == 0 && chmod(path, 06755) == 0);
    REQUIRE(file_write(path, "b", 1, 0644, NULL) == 0 && stat(path, &st) == 0);
    CHECK_EQ(st.st_mode & 07777, 0755);
}

/* What somebody has put there in its name. */
enum obstacle { OBSTACLE_LINK, OBSTACLE_SECOND_NAME, OBSTACLE_PIPE, OBSTACLE_EMPTY, OBSTACLES };

static int
put_in_the_way(enum obstacle what, const char *draft, const char *other)
{
    switch (what) {
    case OBSTACLE_LINK:
        return symlink(other, draft);
    case OBSTACLE_SECOND_NAME:
        return link(other, draft);
    case OBSTACLE_PIPE:
        return mkfifo(draft, 0600);
    case OBSTACLE_EMPTY:
        return mkdir(draft, 0700);
    case OBSTACLES:
        break;
    }
    return -1;
}

TEST(what_is_no_draft_of_ours_goes_and_harms_nobody)
{
    _cleanup_free_ char *path = in_dir("f"), *draft = in_dir(".f.new"), *other = in_dir("other");
    REQUIRE(file_write(other, "precious", 8, 0600, NULL) == 0);
    for (enum obstacle what = 0; what < OBSTACLES; what++) {
        struct stat st;
        tap_note("obstacle %d", (int)what);
        REQUIRE(put_in_the_way(what, draft, other) == 0);
        CHECK_EQ(file_write(path, "x", 1, 0644, NULL), 0);
        CHECK(holds(path, "x") && holds(other, "precious"));
        CHECK(lstat(draft, &st) < 0 && unlink(path) == 0);
    }
}

TEST(a_directory_that_somebody_fills_is_left_to_him)
{
    _cleanup_free_ char *path = in_dir("f"), *draft = in_dir(".f.new"),
                        *inside = in_dir(".f.new/a");
    struct err err = {0};
    REQUIRE(mkdir(draft, 0700) == 0 && file_write(inside, "theirs", 6, 0600, NULL) == 0);
    CHECK(file_write(path, "x", 1, 0644, &err) < 0);
    CHECK_EQ(err.id, ERR_CHANGE_IN_THE_WAY);
    CHECK(strstr(err.what, draft) != NULL);
    CHECK(holds(inside, "theirs"));
}

static void
write_new(void *path)
{
    (void)!file_write(path, "the new text", 12, 0600, NULL);
}

TEST(a_crash_leaves_the_old_file_or_the_new_one)
{
    _cleanup_free_ char *path = in_dir("f");
    for (int torn = 0; torn < 2; torn++) {
        unsigned old = 0, new = 0;
        for (unsigned n = 1;; n++) {
            tap_note("torn %d, call %u", torn, n);
            REQUIRE(file_write(path, "the old text", 12, 0600, NULL) == 0);
            bool crashed = crash_at(n, torn, write_new, path);
            bool is_old = holds(path, "the old text"), is_new = holds(path, "the new text");
            REQUIRE(is_old != is_new);
            old += is_old;
            new += is_new;
            if (!crashed)
                break;
        }
        CHECK(old >= 4); /* before create, truncate, write, fsync, rename */
        CHECK(new >= 2); /* before the directory's fsync, and without a crash */
    }
}

TEST(directories_are_made_and_removed_whole)
{
    _cleanup_free_ char *deep = in_dir("a/b//c/"), *file = in_dir("a/b/c/f"), *top = in_dir("a");
    _cleanup_free_ char *link = in_dir("a/link"), *outside = in_dir("outside");
    REQUIRE(file_make_dirs(deep, 0755, NULL) == 0);
    REQUIRE(file_make_dirs(deep, 0755, NULL) == 0);
    REQUIRE(file_write(file, "x", 1, 0600, NULL) == 0);
    REQUIRE(file_write(outside, "x", 1, 0600, NULL) == 0);
    REQUIRE(symlink(outside, link) == 0);
    struct err err = {0};
    CHECK_EQ(file_make_dirs(file, 0755, &err), -ENOTDIR);
    CHECK_EQ(file_remove_tree(top, NULL), 0);
    CHECK(access(top, F_OK) < 0);
    CHECK(access(outside, F_OK) == 0);
    CHECK_EQ(file_remove_tree(top, NULL), 0);
    CHECK_EQ(file_remove_tree(outside, NULL), 0);
    CHECK(access(outside, F_OK) < 0);
    CHECK_EQ(file_remove_tree("/", &err), -EINVAL);
    CHECK_EQ(file_remove_tree("/tmp/..", &err), -EINVAL);
}

static int
break_write(const char *call, size_t *bytes unused_arg)
{
    return strcmp(call, "write") == 0 ? -ENOSPC : 0;
}

TEST(a_file_that_is_asked_for_is_made_whole_and_replaces_none)
{
    _cleanup_free_ char *path = in_dir("f");
    struct err err = {0};
    fault_before = break_write;
    CHECK_EQ(file_create(path, "new", 3, 0600, &err), -ENOSPC);
    fault_before = NULL;
    CHECK_EQ(access(path, F_OK), -1);
    REQUIRE(file_create(path, "new", 3, 0600, NULL) == 0);
    CHECK_EQ(file_create(path, "newer", 5, 0600, NULL), -EEXIST);
    CHECK(holds(path, "new"));
}
