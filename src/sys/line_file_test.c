#include "sys/line_file.h"

#include "base/buf.h"
#include "base/mem.h"
#include "sys/files.h"
#include "tap.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool
holds(const char *path, const char *want)
{
    _cleanup_buf_ struct buf text = BUF_INIT(64 * KIB);
    return file_read_if_there(path, &text, NULL) > 0 && strcmp(text.data, want) == 0;
}

TEST(lines_are_added_to_what_was_there)
{
    _cleanup_free_ char *path = mem_printf("%s/log", tap_dir());
    _cleanup_(line_file_close) struct line_file f;
    struct stat st;
    REQUIRE(file_write(path, "a\n", 2, 0644, NULL) == 0);
    line_file_init(&f, path, 0600, 100);
    CHECK_EQ(line_file_add(&f, "b\n", 2), 0);
    CHECK_EQ(line_file_add(&f, "c\nd\n", 4), 0);
    CHECK(holds(path, "a\nb\nc\nd\n"));
    CHECK(stat(path, &st) == 0 && (st.st_mode & 0777) == 0600);
}

TEST(lines_begin_another_file_when_one_is_full)
{
    _cleanup_free_ char *path = mem_printf("%s/log", tap_dir()), *before = mem_printf("%s.1", path);
    _cleanup_(line_file_close) struct line_file f;
    line_file_init(&f, path, 0600, 6);
    CHECK_EQ(line_file_add(&f, "longer than a file\n", 19), 0);
    CHECK_EQ(line_file_add(&f, "a\n", 2), 0);
    CHECK(holds(before, "longer than a file\n") && holds(path, "a\n"));
    CHECK_EQ(line_file_add(&f, "bcd\n", 4), 0);
    CHECK(holds(path, "a\nbcd\n"));
    CHECK_EQ(line_file_add(&f, "e\n", 2), 0);
    CHECK(holds(before, "a\nbcd\n") && holds(path, "e\n"));
}

TEST(lines_are_tried_again_where_no_file_could_be)
{
    _cleanup_free_ char *dir = mem_printf("%s/there", tap_dir()), *path = mem_printf("%s/log", dir);
    _cleanup_(line_file_close) struct line_file f;
    REQUIRE(file_write(dir, "", 0, 0600, NULL) == 0);
    line_file_init(&f, path, 0640, 100);
    CHECK_EQ(line_file_add(&f, "a\n", 2), -ENOTDIR);
    REQUIRE(unlink(dir) == 0);
    CHECK_EQ(line_file_add(&f, "b\n", 2), 0);
    CHECK(holds(path, "b\n"));
}

TEST(lines_go_on_in_the_place_of_a_file_that_has_gone)
{
    _cleanup_free_ char *dir = mem_printf("%s/there", tap_dir()), *path = mem_printf("%s/log", dir),
                        *moved = mem_printf("%s/moved", tap_dir());
    _cleanup_(line_file_close) struct line_file f;
    line_file_init(&f, path, 0640, 100);
    CHECK_EQ(line_file_add(&f, "a\n", 2), 0);
    REQUIRE(rename(path, moved) == 0);
    CHECK_EQ(line_file_add(&f, "b\n", 2), 0);
    CHECK(holds(moved, "a\n") && holds(path, "b\n"));
    REQUIRE(file_write(path, "other\n", 6, 0640, NULL) == 0);
    CHECK_EQ(line_file_add(&f, "c\n", 2), 0);
    CHECK(holds(path, "other\nc\n"));
    REQUIRE(file_remove_tree(dir, NULL) == 0);
    CHECK_EQ(line_file_add(&f, "d\n", 2), 0);
    CHECK(holds(path, "d\n"));
}

TEST(lines_have_room_again_in_a_file_that_was_emptied)
{
    _cleanup_free_ char *path = mem_printf("%s/log", tap_dir()), *before = mem_printf("%s.1", path);
    _cleanup_(line_file_close) struct line_file f;
    line_file_init(&f, path, 0640, 6);
    CHECK_EQ(line_file_add(&f, "abcd\n", 5), 0);
    REQUIRE(truncate(path, 0) == 0);
    CHECK_EQ(line_file_add(&f, "efgh\n", 5), 0);
    CHECK(holds(path, "efgh\n") && access(before, F_OK) < 0);
}
