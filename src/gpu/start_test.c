#include "gpu/lease.h"

#include "gpu_rig.h"
#include "tap.h"

#include <errno.h>
#include <sys/mman.h>

static int
start_within(struct gpu_start *start, const char *name, int timeout_ms)
{
    struct gpu_holder holder;
    for (;;) {
        int r = gpu_start_try(start, tap_dir(), name, &holder, NULL);
        if (r != 0)
            return r;
        struct pollfd p = {.fd = start->wait_fd};
        if (poll(&p, 1, timeout_ms) != 1)
            return -ETIMEDOUT;
    }
}

TEST(those_who_wait_see_who_starts)
{
    struct gpu_start first = GPU_START_INIT, second = GPU_START_INIT;
    struct gpu_holder holder = {0};
    CHECK_EQ(gpu_start_holder(tap_dir(), &holder, NULL), 0);
    REQUIRE(gpu_start_try(&first, tap_dir(), "chat", &holder, NULL) == 1);
    CHECK_EQ(gpu_start_try(&second, tap_dir(), "embed", &holder, NULL), 0);
    CHECK_STR(holder.name, "chat");
    CHECK_EQ(holder.pid, getpid());
    CHECK_EQ(gpu_start_holder(tap_dir(), &holder, NULL), 1);
    CHECK_STR(holder.name, "chat");
    CHECK_EQ(start_within(&second, "embed", 0), -ETIMEDOUT);
    gpu_start_release(&first);
    CHECK_EQ(start_within(&second, "embed", 0), 1);
    CHECK(gpu_start_holder(tap_dir(), &holder, NULL) == 1 && strcmp(holder.name, "embed") == 0);
    gpu_start_release(&second);
    gpu_start_release(&second);
    CHECK_EQ(gpu_start_holder(tap_dir(), &holder, NULL), 0);
    char path[512];
    (void)snprintf(path, sizeof(path), "%s/start/holder.json", tap_dir());
    CHECK(access(path, F_OK) < 0);
}

static void
start_chat(void *unused)
{
    static struct gpu_start start = GPU_START_INIT;
    (void)unused;
    if (start_within(&start, "chat", 10000) != 1)
        _exit(1);
}

TEST(a_killed_starter_makes_way)
{
    (void)tap_dir();
    for (int i = 0; i < 20; i++) {
        struct rig_child child = rig_fork(start_chat, NULL);
        struct gpu_start start = GPU_START_INIT;
        struct gpu_holder holder;
        CHECK(rig_said(&child, 10000));
        REQUIRE(gpu_start_try(&start, tap_dir(), "embed", &holder, NULL) == 0);
        CHECK_STR(holder.name, "chat");
        CHECK_EQ(holder.pid, child.pid);
        (void)kill(child.pid, SIGKILL);
        CHECK_EQ(start_within(&start, "embed", 10000), 1);
        rig_kill(&child);
        gpu_start_release(&start);
    }
}

struct starters {
    volatile unsigned inside, clashes, taken;
};

static void
start_200_times(void *arg)
{
    struct starters *starters = arg;
    for (int i = 0; i < 200; i++) {
        struct gpu_start start = GPU_START_INIT;
        if (start_within(&start, "chat", 30000) != 1)
            _exit(1);
        starters->clashes += starters->inside++ != 0;
        starters->taken++;
        starters->clashes += --starters->inside != 0;
        gpu_start_release(&start);
    }
}

TEST(two_that_race_start_one_after_the_other_200_times)
{
    struct starters *starters =
        mmap(NULL, sizeof(*starters), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct rig_child children[2];
    REQUIRE(starters != MAP_FAILED);
    (void)tap_dir();
    for (size_t i = 0; i < ARRAY_SIZE(children); i++)
        children[i] = rig_fork(start_200_times, starters);
    for (size_t i = 0; i < ARRAY_SIZE(children); i++) {
        char said;
        CHECK(rig_said(&children[i], 60000) && read(children[i].said, &said, 1) == 1);
        rig_kill(&children[i]);
    }
    CHECK_EQ(starters->taken, 400);
    CHECK_EQ(starters->clashes, 0);
    (void)munmap(starters, sizeof(*starters));
}
