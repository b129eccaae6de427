#include "sys/command.h"

#include "tap.h"

#define SECOND_US UINT64_C(1000000)

static const char *const *
shell(const char *script)
{
    static const char *argv[] = {"sh", "-c", NULL, NULL};
    argv[2] = script;
    return argv;
}

TEST(what_a_command_says_is_taken_whole)
{
    _cleanup_buf_ struct buf out = BUF_INIT(MIB);
    struct proc_end end;
    REQUIRE(command_run(shell("echo one; echo two >&2; exit 3"), 60 * SECOND_US, &out, &end,
                        NULL) == 0);
    CHECK_STR(out.data, "one\ntwo\n");
    CHECK(!end.killed);
    CHECK_EQ(end.status, 3);
}

TEST(more_than_there_is_room_for_is_lost_and_nobody_waits)
{
    _cleanup_buf_ struct buf out = BUF_INIT(1000);
    struct proc_end end;
    REQUIRE(command_run(shell("head -c 1000000 /dev/zero | tr '\\0' x"), 60 * SECOND_US, &out, &end,
                        NULL) == 0);
    CHECK_EQ(out.len, 1000);
    CHECK_EQ(end.status, 0);
}

TEST(what_a_command_leaves_behind_is_not_waited_for)
{
    _cleanup_buf_ struct buf out = BUF_INIT(1000);
    struct proc_end end;
    REQUIRE(command_run(shell("cat <&- & echo done"), 60 * SECOND_US, &out, &end, NULL) == 0);
    CHECK(strstr(out.data, "done"));
}

TEST(a_command_that_does_not_end_is_ended)
{
    _cleanup_buf_ struct buf out = BUF_INIT(1000);
    struct proc_end end;
    struct err err = {0};
    CHECK(command_run(shell("kill -STOP $$"), SECOND_US / 10, &out, &end, &err) < 0);
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
