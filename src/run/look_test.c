#include "run/look.h"

#include "base/mem.h"
#include "gpu_rig.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>

#define UNHURRIED_US UINT64_C(30000000)
#define HURRIED_US UINT64_C(200000)

/* What was told, and what is looked with. */
struct bench {
    struct rig rig;
    struct look look;
    unsigned told, again;
    struct err err;
    bool read;
    size_t gpus, processes;
    unsigned pid;
    uint64_t bytes;
};

static void look_again(struct bench *b);

static void
on_done(struct look *look, const struct gpu_inventory *inventory, const struct err *err)
{
    struct bench *b = container_of(look, struct bench, look);
    b->told++;
    b->err = *err;
    b->read = inventory != NULL;
    b->gpus = b->processes = 0;
    for (size_t i = 0; inventory && i < inventory->count; i++) {
        const struct gpu *gpu = &inventory->gpus[i];
        b->gpus++;
        b->processes += gpu->process_count;
        if (gpu->process_count) {
            b->pid = gpu->processes[0].pid;
            b->bytes = gpu->processes[0].bytes.n;
        }
    }
    if (b->again > 0)
        look_again(b);
    else
        loop_stop(look->loop);
}

static void
look_again(struct bench *b)
{
    b->again--;
    if (look_start(b->look.loop, &b->look, &b->err) < 0)
        loop_stop(b->look.loop);
}

/* The child finds the library that is loaded already. */
static bool
bench_open(struct bench *b, const char *gpus)
{
    struct loop *loop;
    *b = (struct bench){.rig = RIG_INIT, .look = {.done = on_done, .timeout_us = UNHURRIED_US}};
    if (!rig_open(&b->rig, gpus) || loop_new(&loop, NULL) < 0)
        return false;
    b->look.loop = loop;
    return true;
}

static void
bench_close(struct bench *b)
{
    look_stop(&b->look);
    loop_free(b->look.loop);
    rig_close(&b->rig);
}

static void
look_once(struct bench *b)
{
    if (look_start(b->look.loop, &b->look, &b->err) == 0)
        loop_run(b->look.loop);
}

static void
break_calls(struct bench *b, const char *call, int code)
{
    struct fake_fault fault = {.gpu = FAKE_ANY, .code = code};
    (void)snprintf(fault.call, sizeof(fault.call), "%s", call);
    CHECK_EQ(fake_fault(&b->rig.fake, &fault), 0);
}

/* No child is left, or becomes one that nobody ends. */
static void
check_childless(void)
{
    while (waitpid(-1, NULL, 0) > 0)
        ;
    CHECK_EQ(errno, ECHILD);
}

TEST(gpus_and_their_processes_are_told)
{
    struct bench b;
    unsigned claim;
    REQUIRE(bench_open(&b, "gpu NVIDIA L40S\ncount 3\n"));
    look_once(&b);
    CHECK(b.read && b.gpus == 3 && b.processes == 0);
    REQUIRE(fake_claim(&b.rig.fake, 1, 3 * GIB, &claim) == 0);
    look_once(&b);
    CHECK(b.read && b.gpus == 3 && b.processes == 1);
    CHECK_EQ(b.pid, getpid());
    CHECK_EQ(b.bytes, 3 * GIB);
    CHECK_EQ(b.told, 2);
    bench_close(&b);
    check_childless();
}

TEST(who_is_told_may_look_again)
{
    struct bench b;
    REQUIRE(bench_open(&b, NULL));
    b.again = 3;
    look_once(&b);
    CHECK_EQ(b.told, 4);
    CHECK(b.read);
    bench_close(&b);
}

TEST(what_the_driver_says_is_told)
{
    struct bench b;
    REQUIRE(bench_open(&b, NULL));
    break_calls(&b, "nvmlDeviceGetCount_v2", NVML_ERROR_UNKNOWN);
    look_once(&b);
    CHECK(!b.read);
    CHECK_EQ(b.err.id, ERR_GPU_CALL);
    bench_close(&b);
}

TEST(a_driver_that_hangs_is_left_alone)
{
    struct bench b;
    REQUIRE(bench_open(&b, NULL));
    break_calls(&b, "*", FAKE_HANG);
    b.look.timeout_us = HURRIED_US;
    look_once(&b);
    CHECK(b.told == 1 && !b.read);
    CHECK_EQ(b.err.id, ERR_GPU_SICK);
    check_childless(); /* the faults still hold */
    fake_clear_faults(&b.rig.fake);
    b.look.timeout_us = UNHURRIED_US;
    look_once(&b);
    CHECK(b.told == 2 && b.read);
    bench_close(&b);
}

/* Else a child that hangs in the driver would keep our locks and sockets after us. */
TEST(the_child_holds_nothing_of_ours)
{
    struct bench b;
    int ends[2];
    char byte;
    REQUIRE(bench_open(&b, NULL));
    break_calls(&b, "*", FAKE_HANG);
    REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
    REQUIRE(look_start(b.look.loop, &b.look, NULL) == 0);
    (void)close(ends[1]);
    CHECK_EQ(read(ends[0], &byte, 1), 0);
    (void)close(ends[0]);
    bench_close(&b);
}

TEST(who_is_stopped_tells_nothing)
{
    struct bench b;
    REQUIRE(bench_open(&b, NULL));
    break_calls(&b, "*", FAKE_HANG);
    REQUIRE(look_start(b.look.loop, &b.look, &b.err) == 0);
    CHECK(fake_await_hangs(&b.rig.fake, 1, 10000));
    look_stop(&b.look);
    loop_run(b.look.loop); /* nothing is watched any more */
    CHECK_EQ(b.told, 0);
    bench_close(&b);
    check_childless();
}

TEST(a_child_that_dies_is_an_error)
{
    struct bench b;
    REQUIRE(bench_open(&b, NULL));
    break_calls(&b, "*", FAKE_HANG);
    REQUIRE(look_start(b.look.loop, &b.look, &b.err) == 0);
    CHECK(fake_await_hangs(&b.rig.fake, 1, 10000));
    CHECK_EQ(syscall(SYS_pidfd_send_signal, b.look.child, SIGKILL, NULL, 0), 0);
    loop_run(b.look.loop);
    CHECK(b.told == 1 && !b.read);
    CHECK_EQ(b.err.id, ERR_GPU_CALL);
    bench_close(&b);
}
