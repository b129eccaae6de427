#include "gpu/gate.h"

#include "gpu_rig.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

static int
open_dir(void)
{
    return open(tap_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static bool
hangs_up(int fd, int timeout_ms)
{
    struct pollfd p = {.fd = fd};
    return poll(&p, 1, timeout_ms) == 1 && p.revents & POLLHUP;
}

TEST(one_has_it_and_the_others_wait)
{
    _cleanup_close_ int dir = open_dir(), held = -1, other = -1, wait = -1;
    REQUIRE(gate_try(dir, "gate", &held, &wait) == 0);
    CHECK_EQ(wait, -1);
    CHECK_EQ(gate_try(dir, "gate", &other, &wait), -EAGAIN);
    CHECK_EQ(other, -1);
    CHECK(!hangs_up(wait, 0));
    cleanup_close(&held);
    CHECK(hangs_up(wait, 0));
    cleanup_close(&wait);
    REQUIRE(gate_try(dir, "gate", &other, &wait) == 0);
    CHECK_EQ(gate_enter(dir, "gate", 0, &held), -ETIMEDOUT);
    CHECK_EQ(gate_enter(dir, "gate", 1, &held), -ETIMEDOUT);
}

TEST(what_is_no_pipe_is_refused)
{
    _cleanup_close_ int dir = open_dir(), held = -1, wait = -1;
    _cleanup_close_ int file = openat(dir, "gate", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    REQUIRE(file >= 0);
    CHECK_EQ(gate_try(dir, "gate", &held, &wait), -EBADF);
    REQUIRE(unlinkat(dir, "gate", 0) == 0 && symlinkat("/dev/null", dir, "gate") == 0);
    CHECK_EQ(gate_try(dir, "gate", &held, &wait), -ELOOP);
}

static void
hold(void *dir)
{
    int wait, held;
    if (gate_try(*(int *)dir, "gate", &held, &wait) < 0)
        _exit(1);
}

TEST(it_comes_free_when_its_holder_is_killed)
{
    _cleanup_close_ int dir = open_dir();
    for (int i = 0; i < 20; i++) {
        _cleanup_close_ int held = -1, wait = -1;
        struct rig_child child = rig_fork(hold, &dir);
        CHECK(rig_said(&child, 10000));
        REQUIRE(gate_try(dir, "gate", &held, &wait) == -EAGAIN);
        (void)kill(child.pid, SIGKILL);
        CHECK(hangs_up(wait, 10000));
        CHECK_EQ(gate_enter(dir, "gate", 10000, &held), 0);
        rig_kill(&child);
    }
}

/* What two processes do under the gate, told to each other without any other lock. */
struct turns {
    volatile int inside, clashes, taken;
};

struct turn_taker {
    struct turns *turns;
    int dir;
};

static void
take_turns(void *arg)
{
    const struct turn_taker *taker = arg;
    struct turns *turns = taker->turns;
    for (int i = 0; i < 200; i++) {
        _cleanup_close_ int held = -1;
        if (gate_enter(taker->dir, "gate", 20000, &held) < 0)
            _exit(1);
        if (turns->inside++ != 0)
            turns->clashes++;
        turns->taken++;
        if (--turns->inside != 0)
            turns->clashes++;
    }
}

TEST(two_that_race_take_turns_200_times)
{
    struct turns *turns =
        mmap(NULL, sizeof(*turns), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct rig_child children[2];
    _cleanup_close_ int dir = open_dir();
    REQUIRE(turns != MAP_FAILED);
    for (int i = 0; i < 2; i++)
        children[i] = rig_fork(take_turns, &(struct turn_taker){turns, dir});
    for (int i = 0; i < 2; i++) {
        char said;
        CHECK(rig_said(&children[i], 60000) && read(children[i].said, &said, 1) == 1);
        rig_kill(&children[i]);
    }
    CHECK_EQ(turns->taken, 400);
    CHECK_EQ(turns->clashes, 0);
    (void)munmap(turns, sizeof(*turns));
}
