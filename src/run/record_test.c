#include "run/record.h"

#include "crash.h"
#include "sys/files.h"
#include "tap.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void
fill(struct run_record *r)
{
    *r = (struct run_record){.failures = 3, .failed_count = 2, .failed_us = {5, UINT64_MAX}};
    (void)snprintf(r->boot, sizeof(r->boot), "01234567-89ab-cdef-0123-456789abcdef");
    r->last.at_us = 77;
    r->last.exit = EXIT_CODE_FAILED;
    (void)err_set(&r->last.err, ERR_ENGINE_CRASHED, "it said \"ü\" and ended");
    err_fix(&r->last.err, "see its log");
    r->hold.set = true;
    r->hold.kind = RUN_HOLD_BREAKER;
    r->hold.since_us = 78;
    (void)snprintf(r->hold.by, sizeof(r->hold.by), "breaker");
    (void)snprintf(r->hold.why, sizeof(r->hold.why), "5 crashes in 10 minutes");
    r->trial_us = 80;
    r->wanted.state = RUN_WANTED_STOPPED;
    r->wanted.since_us = 79;
    (void)snprintf(r->wanted.by, sizeof(r->wanted.by), "anna");
}

static void
check_same(const struct run_record *a, const struct run_record *b)
{
    _cleanup_buf_ struct buf x = BUF_INIT(RUN_RECORD_MAX), y = BUF_INIT(RUN_RECORD_MAX);
    run_record_print(a, &x);
    run_record_print(b, &y);
    CHECK_STR(x.data, y.data);
    CHECK_EQ(a->failed_count, b->failed_count);
    CHECK_EQ(a->trial_us, b->trial_us);
    CHECK_EQ(memcmp(a->failed_us, b->failed_us, sizeof(a->failed_us)), 0);
    CHECK_EQ(a->last.err.id, b->last.err.id);
    CHECK_STR(a->last.err.what, b->last.err.what);
    CHECK_STR(a->last.err.fix, b->last.err.fix);
    CHECK_EQ(a->hold.set, b->hold.set);
    CHECK_EQ(a->hold.kind, b->hold.kind);
    CHECK_STR(a->hold.why, b->hold.why);
    CHECK_EQ(a->wanted.state, b->wanted.state);
    CHECK_STR(a->wanted.by, b->wanted.by);
}

static void
check_survives(const struct run_record *record)
{
    _cleanup_buf_ struct buf text = BUF_INIT(RUN_RECORD_MAX);
    struct run_record back;
    struct err err;
    run_record_print(record, &text);
    int r = run_record_parse(text.data, text.len, &back, &err);
    if (r < 0)
        tap_note("%s: %s", err.what, text.data);
    REQUIRE(r == 0);
    check_same(record, &back);
}

TEST(what_was_printed_is_read_back)
{
    struct run_record record;
    check_survives(&(struct run_record){0});
    fill(&record);
    check_survives(&record);
    for (enum err_id id = ERR_NONE; id < ERR_COUNT; id++) {
        fill(&record);
        record.last.err = (struct err){0};
        if (id != ERR_NONE)
            (void)err_set(&record.last.err, id, "why");
        check_survives(&record);
    }
    for (size_t n = 0; n <= RUN_RECORD_FAILED_MAX; n++) {
        record.failed_count = n;
        for (size_t i = 0; i < RUN_RECORD_FAILED_MAX; i++)
            record.failed_us[i] = i < n ? i * 1000 : 0;
        check_survives(&record);
    }
}

/* Every byte of a text printed as \u00xx is the longest that it can get: six bytes for one. */
TEST(the_fullest_record_fits_its_ceiling)
{
    _cleanup_buf_ struct buf text = BUF_INIT(RUN_RECORD_MAX);
    struct run_record record;
    fill(&record);
    memset(record.last.err.what, 1, sizeof(record.last.err.what) - 1);
    memset(record.last.err.fix, 1, sizeof(record.last.err.fix) - 1);
    memset(record.hold.by, 1, sizeof(record.hold.by) - 1);
    memset(record.hold.why, 1, sizeof(record.hold.why) - 1);
    memset(record.wanted.by, 1, sizeof(record.wanted.by) - 1);
    record.failures = UINT32_MAX;
    record.failed_count = RUN_RECORD_FAILED_MAX;
    memset(record.failed_us, 0xff, sizeof(record.failed_us));
    run_record_print(&record, &text);
    CHECK_EQ(buf_error(&text), 0);
}

TEST(what_is_no_record_is_refused)
{
    static const char *const rows[] = {
        "",
        "[]",
        "7",
        "{}",
        "{\"failures\": -1}",
        "{\"failures\": 4294967296}",
        "{\"failures\": 1} x",
        "{\"failures\": 1, \"failures\": 2}",
        "{\"failures\": 1, \"failed_us\": {}}",
        "{\"failures\": 1, \"failed_us\": [\"x\"]}",
        "{\"failures\": 1, \"failed_us\": [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]}",
        "{\"failures\": 1, \"last\": {}}",
        "{\"failures\": 1, \"last\": 5}",
        "{\"failures\": 1, \"last\": {\"at_us\": 0, \"exit\": 1}}",
        "{\"failures\": 1, \"last\": {\"at_us\": 1, \"exit\": 256}}",
        "{\"failures\": 1, \"hold\": {}}",
        "{\"failures\": 1, \"hold\": {\"by\": \"x\", \"why\": \"y\"}}",
        "{\"failures\": 1, \"wanted\": {\"state\": \"gone\", \"since_us\": 1}}",
        "{\"failures\": 1, \"wanted\": {\"state\": \"started\"}}",
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct run_record record = {.failures = 42};
        tap_note("%s", rows[i]);
        CHECK(run_record_parse(rows[i], strlen(rows[i]), &record, NULL) < 0);
        CHECK_EQ(record.failures, 42);
    }
}

TEST(a_record_of_another_release_is_read)
{
    static const char text[] =
        "{\"failures\": 1, \"new\": [1], \"last\": {\"at_us\": 1, \"exit\": 1,"
        " \"id\": \"engine.of-tomorrow\", \"what\": \"why\"}}";
    struct run_record record;
    REQUIRE(run_record_parse(text, strlen(text), &record, NULL) == 0);
    CHECK_EQ(record.last.err.id, ERR_SYSTEM);
    CHECK_STR(record.last.err.what, "why");
    CHECK_EQ(record.failed_count, 0);
}

TEST(what_a_record_says_cannot_drive_a_terminal)
{
    static const char text[] = "{\"failures\": 0, \"hold\": {\"by\": \"a\\u001b[2Jb\\n\","
                               " \"why\": \"c\\u009bd\", \"since_us\": 1}}";
    struct run_record record;
    REQUIRE(run_record_parse(text, strlen(text), &record, NULL) == 0);
    CHECK(!strchr(record.hold.by, 27) && !strchr(record.hold.by, '\n'));
    CHECK(!strstr(record.hold.why, "\xc2\x9b"));
}

TEST(null_is_nothing)
{
    static const char text[] =
        "{\"failures\": 2, \"last\": null, \"hold\": null, \"wanted\": null}";
    struct run_record record;
    REQUIRE(run_record_parse(text, strlen(text), &record, NULL) == 0);
    CHECK(record.failures == 2 && !record.hold.set && record.last.at_us == 0);
}

/* ---- the file ---- */

static int
end_as(const char *dir, unsigned exit_code, bool asked, uint64_t at_us, struct run_record *ret)
{
    struct err why = {0};
    if (exit_code)
        (void)err_set(&why, ERR_ENGINE_CRASHED, "why");
    const struct run_record_end end = {at_us, exit_code, asked, &why};
    return run_record_change(dir, "phi3", run_record_ended, &end, ret, NULL);
}

static int
end_with(const char *dir, unsigned exit_code, uint64_t at_us, struct run_record *ret)
{
    return end_as(dir, exit_code, false, at_us, ret);
}

TEST(only_crashes_are_counted_and_the_latest_are_kept)
{
    static const struct {
        unsigned exit;
        uint32_t failures;
    } rows[] = {{0, 0}, {1, 1}, {64, 1}, {75, 1}, {0, 1}, {1, 2}};
    const char *dir = tap_dir();
    struct run_record record;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        REQUIRE(end_with(dir, rows[i].exit, 100 + i, &record) == 0);
        CHECK_EQ(record.failures, rows[i].failures);
        CHECK_EQ(record.last.exit, rows[i].exit);
        CHECK_EQ(record.last.at_us, 100 + i);
        CHECK_EQ(strlen(record.boot), CLOCK_BOOT_ID_LEN);
    }
    CHECK_EQ(record.failed_count, 2);
    CHECK_EQ(record.failed_us[0], 101);
    for (size_t i = 0; i < RUN_RECORD_FAILED_MAX; i++)
        REQUIRE(end_with(dir, 1, 1000 + i, &record) == 0);
    CHECK_EQ(record.failures, 2 + RUN_RECORD_FAILED_MAX);
    CHECK_EQ(record.failed_count, RUN_RECORD_FAILED_MAX);
    CHECK_EQ(record.failed_us[0], 1000);
    REQUIRE(run_record_change(dir, "phi3", run_record_forgive, NULL, &record, NULL) == 0);
    CHECK_EQ(record.failures + record.failed_count, 0);
    CHECK_EQ(record.last.exit, 1);
}

TEST(a_crash_of_one_that_was_asked_to_end_is_told_and_not_counted)
{
    struct run_record record;
    REQUIRE(end_as(tap_dir(), 1, true, 100, &record) == 0);
    CHECK_EQ(record.failures + record.failed_count, 0);
    CHECK(record.last.exit == 1 && record.last.err.id == ERR_ENGINE_CRASHED);
}

static void
set_hold(struct run_record *record, const void *by)
{
    record->hold.set = true;
    (void)snprintf(record->hold.by, sizeof(record->hold.by), "%s", (const char *)by);
}

TEST(a_hold_set_while_the_model_ran_outlives_its_end)
{
    const char *dir = tap_dir();
    struct run_record at_start, record;
    REQUIRE(run_record_load(dir, "phi3", &at_start, NULL) == 0);
    REQUIRE(run_record_change(dir, "phi3", set_hold, "breaker", NULL, NULL) == 0);
    REQUIRE(end_with(dir, 1, 5, NULL) == 0);
    REQUIRE(run_record_load(dir, "phi3", &record, NULL) == 0);
    CHECK(!at_start.hold.set && record.hold.set);
    CHECK_STR(record.hold.by, "breaker");
    CHECK_EQ(record.failures, 1);
}

TEST(no_failure_is_lost_between_writers)
{
    enum { WRITERS = 4, EACH = 8 };
    const char *dir = tap_dir();
    struct run_record record;
    pid_t pids[WRITERS];
    for (int i = 0; i < WRITERS; i++) {
        pids[i] = fork();
        REQUIRE(pids[i] >= 0);
        if (pids[i] == 0) {
            bool ok = true;
            for (int n = 0; n < EACH; n++)
                ok = ok && end_with(dir, 1, 1, NULL) == 0;
            _exit(ok ? 0 : 1);
        }
    }
    for (int i = 0; i < WRITERS; i++) {
        int status;
        REQUIRE(waitpid(pids[i], &status, 0) == pids[i]);
        CHECK_EQ(status, 0);
    }
    REQUIRE(run_record_load(dir, "phi3", &record, NULL) == 0);
    CHECK_EQ(record.failures, WRITERS * EACH);
}

/* A person may be called as the breaker is. */
TEST(whose_hold_it_is_is_told_by_its_kind)
{
    static const struct {
        const char *hold;
        enum run_hold want;
    } rows[] = {
        {"\"kind\": \"breaker\", \"by\": \"anna\"", RUN_HOLD_BREAKER},
        {"\"kind\": \"person\", \"by\": \"the breaker\"", RUN_HOLD_PERSON},
        {"\"kind\": \"another\", \"by\": \"the breaker\"", RUN_HOLD_PERSON},
        {"\"by\": \"the breaker\"", RUN_HOLD_BREAKER}, /* of an older release */
        {"\"by\": \"anna\"", RUN_HOLD_PERSON},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct run_record record;
        char text[256];
        (void)snprintf(text, sizeof(text),
                       "{\"failures\": 0, \"hold\": {%s, \"why\": \"\", \"since_us\": 1}}",
                       rows[i].hold);
        tap_note("%s", text);
        CHECK_EQ(run_record_parse(text, strlen(text), &record, NULL), 0);
        CHECK_EQ(record.hold.kind, rows[i].want);
        check_survives(&record);
    }
}

TEST(one_who_keeps_the_lock_is_not_waited_for_without_end)
{
    _cleanup_buf_ struct buf path = BUF_INIT(4096);
    struct err err = {0};
    REQUIRE(end_with(tap_dir(), 1, 5, NULL) == 0);
    run_record_lock_path(&path, tap_dir(), "phi3");
    _cleanup_close_ int held = file_open(path.data, O_RDWR, 0);
    REQUIRE(held >= 0 && file_lock(held, 0) == 0);
    CHECK(run_record_change(tap_dir(), "phi3", run_record_forgive, NULL, NULL, &err) < 0);
    CHECK_EQ(err.id, ERR_CHANGE_BUSY);
    CHECK(strstr(err.what, path.data) && strstr(err.what, "for 5s"));
    CHECK(run_record_try(tap_dir(), "phi3", run_record_forgive, NULL, NULL, &err) < 0);
    CHECK_EQ(err.id, ERR_CHANGE_BUSY);
    CHECK(strstr(err.what, "for 250ms"));
}

TEST(a_damaged_record_is_put_aside_and_told)
{
    _cleanup_buf_ struct buf path = BUF_INIT(4096), aside = BUF_INIT(4096);
    const char *dir = tap_dir();
    struct run_record record = {.failures = 9};
    struct err err = {0};
    REQUIRE(end_with(dir, 1, 5, NULL) == 0);
    run_record_path(&path, dir, "phi3");
    REQUIRE(file_write(path.data, "{\"fail", 6, 0644, NULL) == 0);
    CHECK_EQ(run_record_load(dir, "phi3", &record, &err), 0);
    CHECK_EQ(record.failures, 0);
    CHECK_EQ(err.id, ERR_SYNTAX);
    CHECK(strstr(err.what, path.data) != NULL);
    buf_printf(&aside, "%s.damaged", path.data);
    CHECK(strstr(err.fix, aside.data) != NULL);
    CHECK(access(aside.data, F_OK) < 0); /* who only reads changes nothing */
    err.id = ERR_NONE;
    REQUIRE(end_with(dir, 1, 6, NULL) == 0);
    CHECK_EQ(access(aside.data, F_OK), 0);
    CHECK_EQ(run_record_load(dir, "phi3", &record, &err), 0);
    CHECK_EQ(err.id, ERR_NONE);
}

TEST(a_record_beyond_its_ceiling_is_damaged_too)
{
    _cleanup_buf_ struct buf path = BUF_INIT(4096), text = BUF_INIT(4 * RUN_RECORD_MAX);
    const char *dir = tap_dir();
    struct run_record record;
    struct err err = {0};
    REQUIRE(end_with(dir, 1, 5, NULL) == 0);
    run_record_path(&path, dir, "phi3");
    buf_add_str(&text, "{\"failures\": 1}");
    while (text.len <= RUN_RECORD_MAX)
        buf_add_char(&text, ' ');
    REQUIRE(file_write(path.data, text.data, text.len, 0644, NULL) == 0);
    CHECK_EQ(run_record_load(dir, "phi3", &record, &err), 0);
    CHECK(err.id != ERR_NONE);
    REQUIRE(end_with(dir, 1, 6, NULL) == 0);
    CHECK_EQ(run_record_load(dir, "phi3", &record, NULL), 0);
    CHECK_EQ(record.failures, 1);
}

/* By an engine, whose directory it is. */
static int
put_in_its_place(unsigned what, const char *path, const char *other)
{
    _cleanup_buf_ struct buf inside = BUF_INIT(4096);
    (void)unlink(path);
    buf_printf(&inside, "%s/x", path);
    switch (what) {
    case 0:
        return mkfifo(path, 0600);
    case 1:
        return mkdir(path, 0700) < 0 ? -1 : file_write(inside.data, "x", 1, 0600, NULL);
    case 2:
        return symlink("/dev/zero", path);
    case 3:
        return symlink(other, path);
    case 4:
        return symlink(path, path);
    default:
        return -1;
    }
}

TEST(what_is_no_file_is_put_aside_like_a_damaged_one)
{
    _cleanup_buf_ struct buf path = BUF_INIT(4096), aside = BUF_INIT(4096), other = BUF_INIT(4096);
    const char *dir = tap_dir();
    REQUIRE(end_with(dir, 1, 5, NULL) == 0);
    run_record_path(&path, dir, "phi3");
    buf_printf(&aside, "%s.damaged", path.data);
    buf_printf(&other, "%s/other", dir);
    REQUIRE(file_write(other.data, "{\"failures\": 7}", 15, 0600, NULL) == 0);
    unsigned what = 0;
    for (; put_in_its_place(what, path.data, other.data) == 0; what++) {
        struct run_record record = {.failures = 9};
        struct stat st;
        struct err err = {0};
        tap_note("%u", what);
        CHECK_EQ(run_record_load(dir, "phi3", &record, &err), 0);
        CHECK_EQ(record.failures, 0);
        CHECK(err.id == ERR_SYNTAX && strstr(err.what, path.data));
        CHECK_EQ(end_with(dir, 1, 6, NULL), 0);
        CHECK_EQ(lstat(aside.data, &st), 0);
        CHECK_EQ(run_record_load(dir, "phi3", &record, NULL), 0);
        CHECK_EQ(record.failures, 1);
    }
    CHECK_EQ(what, 5);
}

/* ---- stopped at every call ---- */

#define SOMEBODY 4242

struct writer {
    const char *dir;
    uid_t uid; /* as whom it writes; 0: as who runs the test */
};

static void
fail_once_more(void *arg)
{
    const struct writer *w = arg;
    const char *dir = w->uid ? "." : w->dir; /* which another may not reach from above */
    if (w->uid && (chdir(w->dir) < 0 || setresgid(w->uid, w->uid, w->uid) < 0 ||
                   setresuid(w->uid, w->uid, w->uid) < 0))
        _exit(1);
    if (end_with(dir, 1, 5, NULL) < 0)
        _exit(2);
}

static void
check_crashes(struct writer *w)
{
    struct run_record record;
    unsigned failures = 1, crashes = 0;
    for (int torn = 0; torn < 2; torn++) {
        for (unsigned n = 1; crash_at(n, torn, fail_once_more, w); n++) {
            struct err err = {0};
            tap_note("as %u, torn %d, call %u", w->uid, torn, n);
            REQUIRE(run_record_load(w->dir, "phi3", &record, &err) == 0);
            CHECK_EQ(err.id, ERR_NONE);
            CHECK(record.failures == failures || record.failures == failures + 1);
            failures = record.failures;
            crashes++;
        }
        failures++;
    }
    CHECK(crashes >= 8);
    REQUIRE(run_record_load(w->dir, "phi3", &record, NULL) == 0);
    CHECK_EQ(record.failures, failures);
}

TEST(a_crash_anywhere_leaves_the_record_of_before_or_the_new_one)
{
    struct writer w = {.dir = tap_dir()};
    REQUIRE(end_with(w.dir, 1, 5, NULL) == 0);
    check_crashes(&w);
}

/* As it is when root has stopped a model before its directory was given to the account. */
TEST(a_crash_loses_nothing_of_what_root_has_written)
{
    _cleanup_buf_ struct buf path = BUF_INIT(4096);
    struct writer w = {.dir = tap_dir(), .uid = SOMEBODY};
    struct stat st;
    if (geteuid() != 0) {
        tap_skip("needs root, to write as another account");
        return;
    }
    REQUIRE(chmod(w.dir, 0755) == 0 && end_with(w.dir, 1, 5, NULL) == 0);
    run_record_path(&path, w.dir, "phi3");
    REQUIRE(stat(path.data, &st) == 0 && st.st_uid == 0);
    *strrchr(path.data, '/') = '\0';
    REQUIRE(chown(path.data, SOMEBODY, SOMEBODY) == 0);
    check_crashes(&w);
    path.data[strlen(path.data)] = '/';
    CHECK(stat(path.data, &st) == 0 && st.st_uid == SOMEBODY);
}
