#include "lifecycle/history.h"

#include "crash.h"
#include "sys/clock.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define DAY UINT64_C(86400000000)

static struct event
make(unsigned i)
{
    struct event e = {.at_us = clock_wall_us() + i, .kind = (enum event_kind)(i % EVENT_COUNT)};
    (void)snprintf(e.service, sizeof(e.service), "m%u", i);
    event_set_text(&e, "event %u, \"quoted\"\tand \xc3\xbc", i);
    return e;
}

static int
add(struct history *h, unsigned i)
{
    struct event e = make(i);
    return history_add(h, &e, NULL);
}

static char *
path_of(const char *name)
{
    static char path[512];
    (void)snprintf(path, sizeof(path), "%s/monitor/%s", tap_dir(), name);
    return path;
}

/* How many there are; the number of the first and of the last. */
static unsigned
read_all(unsigned *ret_first, unsigned *ret_last, uint64_t *ret_lost)
{
    _cleanup_history_reader_ struct history_reader reader;
    struct event e;
    unsigned count = 0;
    CHECK_EQ(history_reader_open(&reader, tap_dir(), HISTORY_OF_SERVICES, NULL), 0);
    while (history_next(&reader, &e, NULL) > 0) {
        unsigned n = (unsigned)strtoul(e.service + 1, NULL, 10);
        if (count++ == 0)
            *ret_first = n;
        else
            CHECK_EQ(n, *ret_last + 1);
        *ret_last = n;
        CHECK_EQ(e.kind, n % EVENT_COUNT);
        CHECK(strstr(e.text, "\"quoted\""));
    }
    *ret_lost = reader.lost;
    return count;
}

TEST(the_largest_event_fits_into_a_line)
{
    _cleanup_buf_ struct buf line = BUF_INIT(EVENT_LINE_MAX);
    struct event e = {.at_us = UINT64_MAX}, back;
    memset(e.service, 'x', sizeof(e.service) - 1);
    memset(e.by, '\x01', sizeof(e.by) - 1);
    memset(e.text, '\x01', sizeof(e.text) - 1);
    event_print(&e, &line);
    CHECK_EQ(buf_error(&line), 0);
    CHECK_EQ(event_parse(line.data, line.len - 1, &back, NULL), 1);
    CHECK_EQ(back.at_us, UINT64_MAX);
    CHECK_STR(back.service, e.service);
}

TEST(what_is_no_event_of_ours_is_told_from_one_of_another_release)
{
    static const struct {
        const char *line;
        int want;
    } rows[] = {
        {"{\"at_us\":1,\"event\":\"breaker.open\",\"text\":\"x\"}", 1},
        {"{\"at_us\":1,\"event\":\"moon.full\",\"text\":\"x\"}", 0},
        {"{\"at_us\":1}", -EBADMSG},
        {"{\"event\":\"breaker.open\"}", -EBADMSG},
        {"[1]", -EBADMSG},
        {"{\"at_us\":1,\"ev", -EBADMSG},
        {"", -EBADMSG},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct event e;
        tap_note("%s", rows[i].line);
        CHECK_EQ(event_parse(rows[i].line, strlen(rows[i].line), &e, NULL), rows[i].want);
    }
}

TEST(what_was_added_is_read_in_its_order)
{
    struct history h;
    uint64_t torn, lost;
    unsigned first = 0, last = 0;
    REQUIRE(history_open(&h, tap_dir(), HISTORY_OF_SERVICES, 90 * DAY, 0, &torn, NULL) == 0);
    CHECK_EQ(torn, 0);
    for (unsigned i = 0; i < 500; i++)
        CHECK_EQ(add(&h, i), 0);
    history_close(&h);
    REQUIRE(history_open(&h, tap_dir(), HISTORY_OF_SERVICES, 90 * DAY, 0, &torn, NULL) == 0);
    CHECK_EQ(add(&h, 500), 0);
    history_close(&h);
    CHECK_EQ(read_all(&first, &last, &lost), 501);
    CHECK_EQ(first, 0);
    CHECK_EQ(lost, 0);
}

TEST(it_never_takes_more_than_twice_its_room)
{
    struct history h;
    struct stat now, old;
    uint64_t torn, lost;
    unsigned first = 0, last = 0;
    REQUIRE(history_open(&h, tap_dir(), HISTORY_OF_SERVICES, 90 * DAY, 20000, &torn, NULL) == 0);
    for (unsigned i = 0; i < 1000; i++) {
        CHECK_EQ(add(&h, i), 0);
        CHECK(stat(path_of("events.jsonl"), &now) == 0 && now.st_size <= 20000);
    }
    CHECK(stat(path_of("events.old.jsonl"), &old) == 0 && old.st_size <= 20000);
    history_close(&h);
    unsigned count = read_all(&first, &last, &lost);
    CHECK_EQ(last, 999);
    CHECK(count > 100 && count == last - first + 1);
    CHECK_EQ(lost, 0);
}

/* Over both files, and whether or not the last line is whole. */
TEST(the_last_lines_are_found_from_behind)
{
    struct history h;
    uint64_t torn;
    REQUIRE(history_open(&h, tap_dir(), HISTORY_OF_SERVICES, DAY, 64 * KIB, &torn, NULL) == 0);
    unsigned count = 0;
    struct stat st;
    while (stat(path_of("events.old.jsonl"), &st) < 0 || h.bytes < 8 * KIB)
        CHECK_EQ(add(&h, count++), 0);
    for (int is_torn = 0; is_torn < 2; is_torn++) {
        for (unsigned lines = 1; lines <= count + 50; lines += lines < 4 ? 1 : 37) {
            _cleanup_history_reader_ struct history_reader reader;
            struct event e;
            unsigned seen = 0, first = 0, all = 0, last = 0;
            uint64_t lost;
            CHECK_EQ(history_reader_open_last(&reader, tap_dir(), HISTORY_OF_SERVICES, lines, NULL),
                     0);
            while (history_next(&reader, &e, NULL) > 0)
                if (seen++ == 0)
                    first = (unsigned)strtoul(e.service + 1, NULL, 10);
            all = read_all(&(unsigned){0}, &last, &lost);
            CHECK_EQ(seen, MIN(lines, all));
            CHECK_EQ(first, last + 1 - seen);
        }
        CHECK_EQ(write(h.fd, "{\"at", 4), 4);
    }
    history_close(&h);
}

TEST(what_is_older_than_is_kept_goes)
{
    struct history h;
    struct stat st;
    uint64_t torn;
    struct event e = make(0);
    REQUIRE(history_open(&h, tap_dir(), HISTORY_OF_SERVICES, 2 * DAY, 0, &torn, NULL) == 0);
    CHECK_EQ(history_add(&h, &e, NULL), 0);
    e.at_us += DAY;
    CHECK_EQ(history_add(&h, &e, NULL), 0);
    CHECK(stat(path_of("events.old.jsonl"), &st) < 0);
    e.at_us += 1;
    CHECK_EQ(history_add(&h, &e, NULL), 0); /* half of what is kept is behind it */
    CHECK(stat(path_of("events.old.jsonl"), &st) == 0);
    history_close(&h);
    const struct timespec past[2] = {{.tv_sec = st.st_mtime - 3 * 86400},
                                     {.tv_sec = st.st_mtime - 3 * 86400}};
    CHECK_EQ(utimensat(AT_FDCWD, path_of("events.old.jsonl"), past, 0), 0);
    REQUIRE(history_open(&h, tap_dir(), HISTORY_OF_SERVICES, 2 * DAY, 0, &torn, NULL) == 0);
    CHECK(stat(path_of("events.old.jsonl"), &st) < 0);
    history_close(&h);
}

/* Killed within a write, at each byte of it. */
TEST(a_torn_line_is_dropped_and_told)
{
    _cleanup_buf_ struct buf line = BUF_INIT(EVENT_LINE_MAX);
    struct history h;
    uint64_t torn, lost;
    unsigned first = 0, last = 0;
    struct event e = make(1);
    event_print(&e, &line);
    for (size_t n = 1; n < line.len; n++) {
        REQUIRE(history_open(&h, tap_dir(), HISTORY_OF_SERVICES, 90 * DAY, 0, &torn, NULL) == 0);
        if (n == 1)
            CHECK_EQ(add(&h, 0), 0);
        else
            CHECK_EQ(torn, n - 1);
        CHECK_EQ(write(h.fd, line.data, n), n);
        history_close(&h);
        CHECK_EQ(read_all(&first, &last, &lost), 1);
        CHECK_EQ(lost, 0); /* it may still be being written */
    }
    REQUIRE(history_open(&h, tap_dir(), HISTORY_OF_SERVICES, 90 * DAY, 0, &torn, NULL) == 0);
    CHECK_EQ(add(&h, 1), 0);
    history_close(&h);
    CHECK_EQ(read_all(&first, &last, &lost), 2);
}

TEST(damaged_lines_are_passed_over_and_counted)
{
    static char long_line[3 * EVENT_LINE_MAX];
    struct history h;
    uint64_t torn, lost;
    unsigned first = 0, last = 0;
    memset(long_line, 'x', sizeof(long_line) - 1);
    long_line[sizeof(long_line) - 1] = '\n';
    REQUIRE(history_open(&h, tap_dir(), HISTORY_OF_SERVICES, 90 * DAY, 0, &torn, NULL) == 0);
    CHECK_EQ(add(&h, 0), 0);
    CHECK_EQ(write(h.fd, "{}\n\n{\"event\"\n", 13), 13);
    CHECK_EQ(write(h.fd, long_line, sizeof(long_line)), sizeof(long_line));
    CHECK_EQ(add(&h, 1), 0);
    history_close(&h);
    CHECK_EQ(read_all(&first, &last, &lost), 2);
    CHECK(lost >= 4);
}

TEST(one_who_follows_sees_what_is_added_over_a_rotation)
{
    struct history h;
    struct history_reader reader;
    struct event e;
    uint64_t torn;
    REQUIRE(history_open(&h, tap_dir(), HISTORY_OF_SERVICES, 90 * DAY, 2000, &torn, NULL) == 0);
    REQUIRE(history_reader_open(&reader, tap_dir(), HISTORY_OF_SERVICES, NULL) == 0);
    CHECK_EQ(history_next(&reader, &e, NULL), 0);
    for (unsigned i = 0; i < 100; i++) {
        CHECK_EQ(add(&h, i), 0);
        CHECK_EQ(history_next(&reader, &e, NULL), 1);
        CHECK_EQ(strtoul(e.service + 1, NULL, 10), i);
        CHECK_EQ(history_next(&reader, &e, NULL), 0);
    }
    history_reader_close(&reader);
    history_close(&h);
}

TEST(where_there_is_no_history_there_is_nothing_to_read)
{
    _cleanup_history_reader_ struct history_reader reader;
    struct event e;
    REQUIRE(history_reader_open(&reader, tap_dir(), HISTORY_OF_SERVICES, NULL) == 0);
    CHECK_EQ(history_next(&reader, &e, NULL), 0);
}

/* By whoever may write to the directory. */
static int
put_in_its_place(unsigned what, const char *path)
{
    switch (what) {
    case 0:
        return symlink("/dev/zero", path);
    case 1:
        return mkfifo(path, 0600);
    case 2:
        return mkdir(path, 0700);
    default:
        return -1;
    }
}

TEST(what_is_no_file_is_no_history)
{
    unsigned what = 0;
    REQUIRE(mkdir(path_of(""), 0755) == 0);
    for (; put_in_its_place(what, path_of("events.jsonl")) == 0; what++) {
        _cleanup_history_reader_ struct history_reader all = {.fd = -1}, last = {.fd = -1};
        struct err err = {0};
        tap_note("%u", what);
        CHECK(history_reader_open(&all, tap_dir(), HISTORY_OF_SERVICES, &err) < 0);
        CHECK_EQ(err.id, ERR_SYNTAX);
        CHECK(strstr(err.fix, "rm -r ") != NULL);
        CHECK(history_reader_open_last(&last, tap_dir(), HISTORY_OF_SERVICES, 5, &err) < 0);
        CHECK(remove(path_of("events.jsonl")) == 0);
    }
    CHECK_EQ(what, 3);
}

TEST(of_one_that_is_too_large_the_end_is_read)
{
    _cleanup_history_reader_ struct history_reader last = {.fd = -1};
    struct history h;
    struct event e;
    uint64_t torn, lost;
    unsigned first = 0, end = 0;
    REQUIRE(mkdir(path_of(""), 0755) == 0);
    _cleanup_close_ int fd = open(path_of("events.jsonl"), O_CREAT | O_RDWR | O_CLOEXEC, 0644);
    REQUIRE(fd >= 0 && ftruncate(fd, (off_t)4 << 30) == 0 && lseek(fd, 0, SEEK_END) > 0 &&
            write(fd, "\n", 1) == 1);
    REQUIRE(history_open(&h, tap_dir(), HISTORY_OF_SERVICES, DAY, UINT64_MAX, &torn, NULL) == 0);
    for (unsigned i = 0; i < 3; i++)
        CHECK_EQ(add(&h, i), 0);
    history_close(&h);
    CHECK_EQ(read_all(&first, &end, &lost), 3);
    CHECK(lost > 0 && lost < 20000);
    REQUIRE(history_reader_open_last(&last, tap_dir(), HISTORY_OF_SERVICES, 100, NULL) == 0);
    CHECK_EQ(history_next(&last, &e, NULL), 1);
}

/* ---- stopped at every call ---- */

#define ROOM 900 /* of a file: some five events */

static void
add_some(void *arg)
{
    unsigned *next = arg;
    struct history h;
    uint64_t torn;
    if (history_open(&h, tap_dir(), HISTORY_OF_SERVICES, 90 * DAY, ROOM, &torn, NULL) < 0)
        _exit(1);
    for (unsigned i = 0; i < 8; i++)
        if (add(&h, *next + i) < 0 || history_keep(&h, NULL) < 0)
            _exit(2);
    history_close(&h);
}

/* None of those that were told is missing, but for what rotation lets go. */
TEST(a_crash_anywhere_loses_no_event_that_was_added)
{
    unsigned next = 0, crashes = 0;
    for (int torn = 0; torn < 2; torn++) {
        for (unsigned n = 1; crash_at(n, torn, add_some, &next); n++) {
            unsigned first = 0, last = 0;
            uint64_t lost;
            tap_note("torn %d, call %u, from %u", torn, n, next);
            unsigned count = read_all(&first, &last, &lost);
            CHECK_EQ(lost, 0);
            CHECK(next == 0 || (count > 0 && last + 1 >= next));
            CHECK(first == 0 || count >= 4);
            next = count ? last + 1 : 0;
            crashes++;
        }
    }
    CHECK(crashes > 40);
}
