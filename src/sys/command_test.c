#include "sys/command.h"

#include "sys/clock.h"
#include "tap.h"

#include <signal.h>
#include <stdlib.h>

#define SECOND_US UINT64_C(1000000)

static const char *const *
shell(const char *script)
{
    static const char *argv[] = {"sh", "-c", NULL, NULL};
    argv[2] = script;
    return argv;
}

static int
run(const char *script, uint64_t limit_us, struct buf *out, struct buf *words,
    struct proc_end *ret_end, struct err *reterr)
{
    const struct command command = {
        .argv = shell(script), .in = -1, .limit_us = limit_us, .out = out, .words = words};
    return command_run(&command, ret_end, reterr);
}

TEST(what_a_command_says_is_taken_whole)
{
    _cleanup_buf_ struct buf out = BUF_INIT(MIB);
    struct proc_end end;
    REQUIRE(run("echo one; echo two >&2; exit 3", 60 * SECOND_US, &out, NULL, &end, NULL) == 0);
    CHECK_STR(out.data, "one\ntwo\n");
    CHECK(!end.killed);
    CHECK_EQ(end.status, 3);
}

TEST(more_than_there_is_room_for_is_lost_and_nobody_waits)
{
    _cleanup_buf_ struct buf out = BUF_INIT(1000);
    struct proc_end end;
    REQUIRE(run("head -c 1000000 /dev/zero | tr '\\0' x", 60 * SECOND_US, &out, NULL, &end, NULL) ==
            0);
    CHECK_EQ(out.len, 1000);
    CHECK(buf_error(&out) < 0);
    CHECK_EQ(end.status, 0);
}

TEST(what_a_command_leaves_behind_is_not_waited_for)
{
    _cleanup_buf_ struct buf out = BUF_INIT(1000);
    struct proc_end end;
    uint64_t began = clock_now_us();
    /* It has our standard output open for far longer than the limit. */
    REQUIRE(run("sleep 600 & echo $!", 60 * SECOND_US, &out, NULL, &end, NULL) == 0);
    CHECK(clock_now_us() - began < 30 * SECOND_US);
    long pid = strtol(out.data, NULL, 10);
    REQUIRE(pid > 1);
    CHECK_EQ(kill((pid_t)pid, SIGKILL), 0); /* it runs still */
}

TEST(a_command_that_does_not_end_is_ended)
{
    _cleanup_buf_ struct buf out = BUF_INIT(1000);
    struct proc_end end;
    struct err err = {0};
    CHECK(run("kill -STOP $$", SECOND_US / 10, &out, NULL, &end, &err) < 0);
    CHECK_EQ(err.id, ERR_COMMAND_SLOW);
    CHECK_STR(err.what, "sh has not ended after 100ms");
}

TEST(one_that_fails_is_told_by_its_last_line)
{
    struct err err = {0};
    CHECK(command_insist(shell("exit 0"), 60 * SECOND_US, &err) == 0);
    CHECK(command_insist(shell("echo first; echo 'no such disk'; echo; exit 32"), 60 * SECOND_US,
                         &err) < 0);
    CHECK_EQ(err.id, ERR_COMMAND_FAILED);
    CHECK_STR(err.what, "sh ended with exit status 32: no such disk");
    CHECK(command_insist((const char *const[]){"no-program-of-this-name", NULL}, SECOND_US, &err) <
          0);
}

TEST(results_and_words_come_apart)
{
    static const struct {
        const char *script;
        int status;
        const char *out, *last;
    } rows[] = {
        {"echo a; echo b >&2; echo c >&2", 0, "a\n", "c"},
        {"echo why >&2; echo; echo >&2; exit 3", 3, "\n", "why"},
        {"exit 1", 1, "", ""},
        {"exec >&- 2>&-; exit 5", 5, "", ""},
        {"cat", 0, "", ""}, /* nothing to read */
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_buf_ struct buf out = BUF_INIT(100), words = BUF_INIT(100);
        struct proc_end end;
        tap_note("%s", rows[i].script);
        REQUIRE(run(rows[i].script, 30 * SECOND_US, &out, &words, &end, NULL) == 0);
        CHECK_EQ(end.status, rows[i].status);
        CHECK_STR(out.data, rows[i].out);
        CHECK_STR(command_last_line(&words), rows[i].last);
    }
}
