#include "sys/errand.h"

#include "tap.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

#define SECOND_US UINT64_C(1000000)

static void
tell_much(int to, const void *arg)
{
    char piece[1000];
    memset(piece, 'x', sizeof(piece));
    for (int i = 0; i < *(const int *)arg; i++)
        if (!errand_tell(to, piece, sizeof(piece)))
            _exit(1);
}

static void
hang(int to, const void *arg)
{
    (void)errand_tell(to, arg, 4);
    for (;;)
        (void)pause();
}

static void
crash(int to unused_arg, const void *arg unused_arg)
{
    (void)kill(getpid(), SIGKILL);
}

TEST(what_is_told_comes_whole)
{
    _cleanup_buf_ struct buf out = BUF_INIT(MIB), small = BUF_INIT(5000);
    int pieces = 500;
    CHECK_EQ(errand_run(tell_much, &pieces, 60 * SECOND_US, &out), 0);
    CHECK_EQ(out.len, 500000);
    CHECK_EQ(errand_run(tell_much, &pieces, 60 * SECOND_US, &small), -ENOBUFS);
}

TEST(one_that_hangs_is_ended)
{
    _cleanup_buf_ struct buf out = BUF_INIT(MIB);
    CHECK_EQ(errand_run(hang, "word", SECOND_US / 10, &out), -ETIMEDOUT);
    CHECK_STR(out.data, "word");
}

TEST(one_that_crashes_is_told_from_one_that_has_nothing_to_say)
{
    _cleanup_buf_ struct buf out = BUF_INIT(MIB);
    int pieces = 0;
    CHECK_EQ(errand_run(crash, NULL, 60 * SECOND_US, &out), -ECHILD);
    CHECK_EQ(errand_run(tell_much, &pieces, 60 * SECOND_US, &out), 0);
    CHECK_EQ(out.len, 0);
}
