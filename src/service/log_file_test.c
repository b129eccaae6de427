#include "service/log_file.h"

#include "sys/fault.h"
#include "sys/files.h"
#include "tap.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define TIME_LEN 24 /* "2026-11-21 07:35:58.543 " */

static char path[512];
static struct log_file log_;

static void
start(uint64_t bytes_max)
{
    (void)snprintf(path, sizeof(path), "%s/logs/a.log", tap_dir());
    if (log_file_open(&log_, path, NULL) < 0)
        abort();
    log_.bytes_max = bytes_max;
}

static void
add(const char *text)
{
    log_file_add(&log_, text, strlen(text), NULL);
}

/* Only what stands behind the time of each line. */
static const char *
tail(size_t count)
{
    static char out[LOG_LINE_MAX + 1000];
    _cleanup_buf_ struct buf text = BUF_INIT(64 * KIB);
    size_t len = 0;
    out[0] = '\0';
    if (log_file_tail(path, count, &text, NULL) < 0)
        return "none";
    char *rest = text.data;
    for (char *line; text.len && (line = strsep(&rest, "\n")) && *line;)
        len += (size_t)snprintf(out + len, sizeof(out) - len, "%s|",
                                strlen(line) > TIME_LEN ? line + TIME_LEN : line);
    return out;
}

static uint64_t
size_of(unsigned age)
{
    char name[600];
    struct stat st;
    (void)snprintf(name, sizeof(name), age ? "%s.%u" : "%s", path, age);
    return stat(name, &st) < 0 ? 0 : (uint64_t)st.st_size;
}

TEST(a_log_rotates_and_its_end_is_found)
{
    start(64); /* two lines a file */
    CHECK_STR(tail(3), "");
    add("on");
    CHECK_STR(tail(3), "");
    add("e\n");
    CHECK_STR(tail(3), "one|");
    add("<4>hot\n");
    CHECK_STR(tail(0), "");
    CHECK_STR(tail(1), "warning: hot|");
    add("two\nthree\nfour\nfive\n");
    CHECK_STR(tail(1), "five|");
    CHECK_STR(tail(2), "four|five|");
    CHECK_STR(tail(4), "two|three|four|five|");
    CHECK_STR(tail(9), "one|warning: hot|two|three|four|five|");
    for (int i = 0; i < 40; i++)
        add("more\n");
    CHECK_EQ(size_of(LOG_FILE_COUNT - 1), 58);
    CHECK_EQ(size_of(LOG_FILE_COUNT), 0);
    log_file_close(&log_);
}

static const struct {
    const char *text, *want;
} texts[] = {
    {"plain\n", "plain|"},
    {"a\n\n\nb\n", "a|b|"},
    {"10%\r20%\r\nend\n", "10%|20%|end|"},
    {"\033[32mINFO\033[0m: \033[1;31mred\033[m\n", "INFO: red|"},
    {"\033]0;title\007\033[2J\n", "?]0;title??[2J|"},
    {"\302\233J tab\there\n", "?J tab here|"},
    {"caf\303\251 \377\376 cut\303\n", "caf\303\251 ?? cut?|"},
    {"<3>bad\n<4>hot\n<6>news\n<7>more\n<9>none\n<3\n", "error: bad|warning: hot|news|debug: more|"
                                                        "<9>none|<3|"},
    {"\033[1m<4>hot\n", "warning: hot|"},
    {"\033[\033[31m\n", "?[|"},
};

TEST(what_a_service_writes_becomes_text)
{
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        start(LOG_FILE_BYTES);
        tap_note("%zu", i);
        add(texts[i].text);
        CHECK_STR(tail(10), texts[i].want);
        log_file_close(&log_);
        (void)unlink(path);
    }
}

TEST(a_nul_does_not_hide_what_follows)
{
    start(LOG_FILE_BYTES);
    log_file_add(&log_, "a\0b\n", 4, NULL);
    CHECK_STR(tail(1), "a?b|");
    log_file_close(&log_);
}

TEST(a_line_has_a_ceiling_and_says_that_it_was_cut)
{
    static char line[3 * LOG_LINE_MAX];
    memset(line, 'x', sizeof(line));
    start(LOG_FILE_BYTES);
    log_file_add(&log_, line, LOG_LINE_MAX, NULL);
    log_file_end(&log_, NULL);
    CHECK_EQ(strlen(tail(1)), LOG_LINE_MAX + 1);
    log_file_add(&log_, line, sizeof(line), NULL);
    add("\nnext\n");
    CHECK_STR(tail(2) + LOG_LINE_MAX - 1, "x...|next|");
    log_file_close(&log_);
}

TEST(who_follows_gets_the_same_lines)
{
    _cleanup_buf_ struct buf heard = BUF_INIT(4 * KIB), text = BUF_INIT(4 * KIB);
    start(LOG_FILE_BYTES);
    log_file_add(&log_, "one\ntwo", 7, &heard);
    log_file_end(&log_, &heard);
    log_file_end(&log_, &heard); /* nothing was begun */
    REQUIRE(log_file_tail(path, 10, &text, NULL) == 0);
    CHECK_STR(heard.data, text.data);
    log_file_close(&log_);
}

TEST(a_tail_fits_into_its_buffer_and_begins_with_a_line)
{
    _cleanup_buf_ struct buf text = BUF_INIT(100);
    start(80);
    for (int i = 0; i < 9; i++)
        add("abcdefg\n"); /* 32 bytes each, two a file */
    CHECK_EQ(log_file_tail(path, 100, &text, NULL), 1);
    CHECK_EQ(text.len, 96);
    CHECK_STR(text.data + 96 - 8, "abcdefg\n");
    CHECK_EQ(buf_error(&text), 0);
    log_file_close(&log_);
}

TEST(what_is_no_log_is_not_written_and_not_read)
{
    struct err err = {0};
    _cleanup_buf_ struct buf text = BUF_INIT(100);
    char fifo[600], link[600];
    start(LOG_FILE_BYTES);
    log_file_close(&log_);
    (void)snprintf(fifo, sizeof(fifo), "%s/fifo", tap_dir());
    (void)snprintf(link, sizeof(link), "%s/link", tap_dir());
    REQUIRE(mkfifo(fifo, 0600) == 0 && symlink(path, link) == 0);
    CHECK(log_file_open(&log_, fifo, &err) < 0);
    CHECK(strstr(err.what, fifo) != NULL);
    CHECK_EQ(log_file_open(&log_, link, &err), -ELOOP);
    CHECK_EQ(log_file_tail(fifo, 1, &text, &err), -EINVAL);
    CHECK_EQ(log_file_tail(link, 1, &text, &err), -ELOOP);
    CHECK_EQ(log_file_tail("/nowhere/x.log", 1, &text, &err), -ENOENT);
    CHECK(strstr(err.what, "/nowhere/x.log") != NULL);
}

/* A directory stands where the file should go: it is emptied instead, and does not grow. */
TEST(a_log_that_cannot_be_moved_does_not_grow)
{
    char blocked[600], inside[620];
    start(64);
    (void)snprintf(blocked, sizeof(blocked), "%s.1", path);
    (void)snprintf(inside, sizeof(inside), "%s/x", blocked);
    REQUIRE(mkdir(blocked, 0700) == 0 && file_write(inside, "", 0, 0600, NULL) == 0);
    for (int i = 0; i < 100; i++)
        add("0123456789\n");
    CHECK(size_of(0) <= 64);
    log_file_close(&log_);
}

/* ---- a disk without room ---- */

static size_t room;

/* As the kernel does it, as much is written as there is room for. */
static int
run_full(const char *call, size_t *bytes)
{
    if (strcmp(call, "write") != 0)
        return 0;
    *bytes = MIN(*bytes, room);
    room -= *bytes;
    return *bytes ? 0 : -ENOSPC;
}

/* Without the two times, which nobody can foretell. */
static const char *
tail_untimed(size_t count)
{
    static char out[LOG_LINE_MAX];
    const char *text = tail(count), *from = strstr(text, " between "), *to = strstr(text, ": No ");
    if (!from || !to || to - from != (ptrdiff_t)strlen(" between ") + 2 * (TIME_LEN - 1) + 5)
        return text;
    (void)snprintf(out, sizeof(out), "%.*s%s", (int)(from - text), text, to);
    return out;
}

TEST(lines_that_are_lost_are_counted_and_told)
{
    _cleanup_buf_ struct buf heard = BUF_INIT(4 * KIB);
    start(LOG_FILE_BYTES);
    add("one\n");
    room = TIME_LEN + 4 + 9; /* the first of the next, and some bytes of the second */
    fault_before = run_full;
    add("two\nthree\n");
    CHECK_STR(tail(9), "one|two|");
    CHECK_EQ(log_.loss.lines, 1);
    CHECK_EQ(log_.loss.error, ENOSPC);
    log_file_add(&log_, "four\n", 5, &heard);
    CHECK_STR(heard.data + TIME_LEN, "four\n");
    CHECK_EQ(log_.loss.lines, 2);
    CHECK_EQ(log_.loss.bytes, 2 * TIME_LEN + strlen("three\nfour\n"));
    room = 64; /* for a line, but not for what is to be told with it */
    add("five\n");
    CHECK_STR(tail(9), "one|two|");
    fault_before = NULL;
    log_file_add(&log_, "six\n", 4, &heard);
    CHECK_STR(tail_untimed(9),
              "one|two|citadel: 3 lines (88 bytes) were lost: No space left on device|six|");
    CHECK(strstr(heard.data, "citadel: 3 lines") != NULL);
    CHECK_EQ(log_.loss.error, 0);
    add("seven\n");
    CHECK_STR(tail(2), "six|seven|");
    CHECK_EQ(log_.lost_lines, 3);
    CHECK_EQ(log_.lost_bytes, 88);
    log_file_close(&log_);
}

TEST(a_loss_is_told_at_the_end_at_last)
{
    start(LOG_FILE_BYTES);
    room = 0;
    fault_before = run_full;
    add("one\n");
    fault_before = NULL;
    log_file_close(&log_);
    CHECK_STR(tail_untimed(9), "citadel: 1 line (28 bytes) was lost: No space left on device|");
}

/* ---- what others do to it ---- */

TEST(a_log_that_was_removed_or_moved_is_made_again)
{
    char dir[600], moved[600];
    (void)snprintf(dir, sizeof(dir), "%s/logs", tap_dir());
    (void)snprintf(moved, sizeof(moved), "%s/moved", tap_dir());
    start(LOG_FILE_BYTES);
    add("one\n");
    REQUIRE(unlink(path) == 0);
    add("two\n");
    CHECK_STR(tail(9), "two|");
    REQUIRE(file_remove_tree(dir, NULL) == 0);
    add("three\n");
    CHECK_STR(tail(9), "three|");
    REQUIRE(rename(path, moved) == 0);
    add("four\n");
    CHECK_STR(tail(9), "four|");
    REQUIRE(file_remove_tree(dir, NULL) == 0 && file_write(dir, "", 0, 0600, NULL) == 0);
    add("five\n");
    CHECK_EQ(log_.loss.error, ENOTDIR);
    REQUIRE(unlink(dir) == 0);
    add("six\n");
    CHECK(strstr(tail(9), "citadel: 1 line (29 bytes) was lost between "));
    CHECK(strstr(tail(9), "Not a directory|six|"));
    log_file_close(&log_);
}

TEST(a_log_that_was_emptied_has_room_again)
{
    start(64);
    add("one\ntwo\n");
    REQUIRE(truncate(path, 0) == 0);
    add("three\n");
    CHECK_STR(tail(9), "three|");
    CHECK_EQ(size_of(1), 0);
    log_file_close(&log_);
}

static unsigned calls_left;

static int
die_at_last(const char *call, size_t *bytes unused_arg)
{
    if (strcmp(call, "rename") == 0 && calls_left-- == 0)
        _exit(42);
    return 0;
}

/* Killed before the n-th move: what was there stays, in its order, and it goes on. */
TEST(a_crash_between_two_moves_loses_nothing)
{
    for (unsigned n = 0;; n++) {
        int status;
        (void)unlink(path);
        start(64);
        add("a\nb\nc\nd\ne\n"); /* [e] [c d] [a b] */
        pid_t child = fork();
        if (child == 0) {
            calls_left = n;
            fault_before = die_at_last;
            add("f\ng\n");
            _exit(0);
        }
        REQUIRE(waitpid(child, &status, 0) == child);
        log_file_close(&log_);
        tap_note("before the move %u", n);
        CHECK_STR(tail(5), WEXITSTATUS(status) == 42 ? "b|c|d|e|f|" : "c|d|e|f|g|");
        start(64);
        add("h\ni\nj\n");
        CHECK_STR(tail(3), "h|i|j|");
        CHECK_EQ(strncmp(tail(10), "a|b|c|d|e|f|", 12), 0);
        log_file_close(&log_);
        for (unsigned age = 1; age < LOG_FILE_COUNT; age++) {
            char name[600];
            (void)snprintf(name, sizeof(name), "%s.%u", path, age);
            (void)unlink(name);
        }
        if (WEXITSTATUS(status) != 42) {
            CHECK_EQ(n, 3);
            return;
        }
    }
}
