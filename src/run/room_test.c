/* Before the engine and behind it: the start lock, the lease, and memory of a made-up driver. */

#include "run/shim_int.h"

#include "gpu_rig.h"
#include "sys/log.h"
#include "tap.h"

#include <stdio.h>
#include <sys/socket.h>

struct bench {
    struct rig rig;
    struct config config;
    struct config_model model;
    struct shim shim;
    int supervisor; /* hears what the shim tells */
    struct loop_fd heard;
    const char *awaited;
};

static struct err told;
static bool has_room;

static void
on_room(struct shim *s)
{
    has_room = true;
    loop_stop(s->loop);
}

static void
on_no_room(struct shim *s, const struct err *why)
{
    told = *why;
    loop_stop(s->loop);
}

static void
on_tick(struct loop_timer *timer)
{
    struct shim *s = container_of(timer, struct shim, tick);
    leave_tick(s, shim_now(s));
}

static void
on_heard(struct loop_fd *watch, unsigned events unused_arg)
{
    struct bench *b = container_of(watch, struct bench, heard);
    char text[1024];
    ssize_t len = recv(b->supervisor, text, sizeof(text) - 1, 0);
    text[MAX(len, 0)] = '\0';
    if (b->awaited && strstr(text, b->awaited))
        loop_stop(b->shim.loop);
}

static void
fill_shim(struct bench *b)
{
    b->model = (struct config_model){.name = "phi3",
                                     .engine = CONFIG_ENGINE_COMMAND,
                                     .tensor_parallel = 1,
                                     .pipeline_parallel = 1,
                                     .gpu_memory_fraction = 0.5};
    b->shim = (struct shim){.config = &b->config,
                            .model = &b->model,
                            .kind = &engines[CONFIG_ENGINE_COMMAND],
                            .room = {.start = GPU_START_INIT, .look = LOOK_INIT},
                            .engine = {.fd = -1},
                            .notify = {.fd = -1},
                            .log_fd = -1,
                            .tick = {.expired = on_tick},
                            .proof = LOOK_INIT};
    has_room = false;
    told = (struct err){0};
}

static bool
bench_open(struct bench *b, const char *gpus)
{
    int ends[2];
    *b = (struct bench){.rig = RIG_INIT};
    b->config.paths.run = tap_dir();
    log_set_level(LOG_LEVEL_ERROR);
    fill_shim(b);
    if (!rig_open(&b->rig, gpus) || loop_new(&b->shim.loop, NULL) < 0 ||
        socketpair(AF_UNIX, SOCK_DGRAM, 0, ends) < 0)
        return false;
    b->shim.notify.fd = ends[0];
    b->supervisor = ends[1];
    b->heard.ready = on_heard;
    return loop_fd_start(b->shim.loop, &b->heard, b->supervisor, LOOP_READ) == 0;
}

static void
bench_close(struct bench *b)
{
    room_stop(&b->shim);
    room_give_lease(&b->shim);
    room_unlock(&b->shim);
    loop_timer_stop(&b->shim.tick);
    loop_fd_stop(&b->heard);
    cleanup_close(&b->supervisor);
    notify_close(&b->shim.notify);
    loop_free(b->shim.loop);
    rig_close(&b->rig);
}

/* Goes on until it tells this. */
static void
run_until(struct bench *b, const char *told_text)
{
    b->awaited = told_text;
    loop_run(b->shim.loop);
    b->awaited = NULL;
}

/* Until there is room, or there will be none. */
static void
run_on(struct bench *b)
{
    if (!has_room && told.id == ERR_NONE)
        loop_run(b->shim.loop);
}

static uint64_t
leased_bytes(struct bench *b)
{
    _cleanup_gpu_leases_ struct gpu_leases leases = {0};
    uint64_t sum = 0;
    if (gpu_leases_read(&leases, b->config.paths.run, NULL) < 0)
        return UINT64_MAX;
    for (size_t i = 0; i < leases.count; i++)
        for (size_t p = 0; p < leases.items[i].part_count; p++)
            sum += leases.items[i].parts[p].bytes;
    return sum;
}

TEST(room_is_the_lock_a_lease_and_free_memory)
{
    struct bench b;
    struct gpu_holder holder;
    REQUIRE(bench_open(&b, "gpu NVIDIA A\nmemory 40GiB\n"));
    room_take(&b.shim, on_room, on_no_room);
    CHECK_EQ(b.shim.state.phase, RUN_WAITING_MEMORY);
    run_on(&b);
    REQUIRE(has_room);
    CHECK_EQ(gpu_start_holder(tap_dir(), &holder, NULL), 1);
    CHECK_STR(holder.name, "phi3");
    CHECK_EQ(leased_bytes(&b), 20 * GIB);
    room_unlock(&b.shim);
    CHECK_EQ(gpu_start_holder(tap_dir(), &holder, NULL), 0);
    CHECK_EQ(leased_bytes(&b), 20 * GIB);
    room_give_lease(&b.shim);
    CHECK_EQ(leased_bytes(&b), 0);
    bench_close(&b);
}

TEST(another_start_is_waited_for)
{
    struct bench b;
    struct gpu_start other = GPU_START_INIT;
    struct gpu_holder holder;
    REQUIRE(bench_open(&b, NULL));
    REQUIRE(gpu_start_try(&other, tap_dir(), "other", &holder, NULL) == 1);
    room_take(&b.shim, on_room, on_no_room);
    CHECK_EQ(b.shim.state.phase, RUN_WAITING_START);
    CHECK_STR(b.shim.state.status, "waiting: other is being started");
    CHECK_EQ(leased_bytes(&b), 0);
    gpu_start_release(&other);
    run_on(&b);
    CHECK(has_room);
    bench_close(&b);
}

/* So much of the first GPU, for another model. */
static bool
lease_other(struct bench *b, uint64_t bytes, struct gpu_lease *lease)
{
    *lease = (struct gpu_lease){.part_count = 1};
    (void)snprintf(lease->holder.name, sizeof(lease->holder.name), "other");
    struct fake_gpu *gpu = fake_lock(&b->rig.fake, NULL);
    (void)snprintf(lease->parts[0].uuid, sizeof(lease->parts[0].uuid), "%s", gpu->uuid);
    lease->parts[0].total_bytes = gpu->total_bytes;
    fake_unlock(&b->rig.fake);
    lease->parts[0].bytes = bytes;
    return gpu_lease_take(lease, tap_dir(), 0, NULL) == 0;
}

TEST(what_others_have_leased_is_not_waited_for)
{
    struct bench b;
    struct gpu_lease other;
    REQUIRE(bench_open(&b, "gpu NVIDIA A\nmemory 40GiB\n"));
    REQUIRE(lease_other(&b, 30 * GIB, &other));
    room_take(&b.shim, on_room, on_no_room);
    run_on(&b);
    CHECK(!has_room);
    CHECK_EQ(told.id, ERR_GPU_LEASED);
    gpu_lease_release(&other);
    bench_close(&b);
}

TEST(memory_that_is_leased_and_not_free_is_waited_for)
{
    struct bench b;
    unsigned claim;
    REQUIRE(bench_open(&b, "gpu NVIDIA A\nmemory 40GiB\n"));
    REQUIRE(fake_claim(&b.rig.fake, 0, 30 * GIB, &claim) == 0);
    room_take(&b.shim, on_room, on_no_room);
    run_until(&b, "STATUS=waiting for memory: GPU 0: ");
    CHECK(!has_room && told.id == ERR_NONE);
    CHECK_EQ(leased_bytes(&b), 20 * GIB);
    fake_release(&b.rig.fake, claim);
    run_on(&b);
    CHECK(has_room);
    bench_close(&b);
}

/* Its process is bound to its GPUs, and still has some of their memory. */
TEST(who_wakes_takes_the_gpus_that_it_had)
{
    struct bench b;
    struct gpu_lease other;
    unsigned claim;
    REQUIRE(bench_open(&b, "gpu NVIDIA A\nmemory 40GiB\ncount 2\n"));
    room_take(&b.shim, on_room, on_no_room);
    run_on(&b);
    REQUIRE(has_room && b.shim.room.gpus[0] == 0);
    room_unlock(&b.shim);
    room_give_lease(&b.shim);
    b.shim.session = getsid(0);
    REQUIRE(lease_other(&b, 10 * GIB, &other));                 /* now the second GPU has more */
    REQUIRE(fake_claim(&b.rig.fake, 0, 21 * GIB, &claim) == 0); /* it: we are of its session */
    has_room = false;
    b.shim.state.phase = RUN_WAKING;
    room_take(&b.shim, on_room, on_no_room);
    run_on(&b);
    CHECK(has_room);
    CHECK_EQ(b.shim.state.phase, RUN_WAKING);
    CHECK_STR(b.shim.room.lease.parts[0].uuid, other.parts[0].uuid);
    CHECK_EQ(leased_bytes(&b), 30 * GIB);
    gpu_lease_release(&other);
    b.shim.session = 0;
    bench_close(&b);
}

TEST(a_driver_may_be_missing_sick_or_not_needed)
{
    static const struct {
        enum config_engine engine;
        const char *call;
        int code;
        enum err_id id; /* ERR_NONE: it starts nevertheless */
    } rows[] = {
        {CONFIG_ENGINE_COMMAND, "nvmlInit_v2", NVML_ERROR_DRIVER_NOT_LOADED, ERR_NONE},
        {CONFIG_ENGINE_VLLM, "nvmlInit_v2", NVML_ERROR_DRIVER_NOT_LOADED, ERR_ENGINE_NOT_NOW},
        {CONFIG_ENGINE_VLLM, "nvmlDeviceGetCount_v2", NVML_ERROR_UNKNOWN, ERR_ENGINE_NOT_NOW},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct bench b;
        struct fake_fault fault = {.gpu = FAKE_ANY, .code = rows[i].code};
        (void)snprintf(fault.call, sizeof(fault.call), "%s", rows[i].call);
        REQUIRE(bench_open(&b, NULL));
        REQUIRE(fake_fault(&b.rig.fake, &fault) == 0);
        b.model.engine = rows[i].engine;
        room_take(&b.shim, on_room, on_no_room);
        run_on(&b);
        tap_note("row %zu: %s", i, told.what);
        CHECK_EQ(told.id, rows[i].id);
        CHECK_EQ(has_room, rows[i].id == ERR_NONE);
        fake_clear_faults(&b.rig.fake);
        bench_close(&b);
    }
}

/* ---- behind it ---- */

/* Room was taken, and an engine had it that has ended. */
static bool
bench_open_ended(struct bench *b)
{
    if (!bench_open(b, "gpu NVIDIA A\nmemory 40GiB\n"))
        return false;
    fake_lock(&b->rig.fake, NULL)->pids_hidden = true;
    fake_unlock(&b->rig.fake);
    room_take(&b->shim, on_room, on_no_room);
    run_on(b);
    b->shim.state.gpu_count = b->shim.room.lease.part_count;
    return has_room;
}

static void
set_stuck(struct bench *b, uint64_t bytes)
{
    fake_lock(&b->rig.fake, NULL)->stuck_bytes = bytes;
    fake_unlock(&b->rig.fake);
}

TEST(the_end_waits_for_memory_to_come_back)
{
    struct bench b;
    REQUIRE(bench_open_ended(&b));
    set_stuck(&b, 20 * GIB);
    leave(&b.shim, NULL);
    run_until(&b, "STATUS=waiting for its memory: GPU 0: ");
    CHECK_EQ(b.shim.state.phase, RUN_STOPPING);
    CHECK_EQ(leased_bytes(&b), 20 * GIB); /* nobody else counts on it */
    set_stuck(&b, 0);
    loop_run(b.shim.loop);
    CHECK_EQ(b.shim.why.id, ERR_NONE);
    bench_close(&b);
}

TEST(the_end_can_be_made_short)
{
    struct bench b;
    REQUIRE(bench_open_ended(&b));
    set_stuck(&b, 20 * GIB);
    leave(&b.shim, NULL);
    run_until(&b, "STATUS=waiting for its memory: GPU 0: ");
    leave_now(&b.shim);
    loop_run(b.shim.loop);
    CHECK_EQ(b.shim.why.id, ERR_GPU_NOT_FREE);
    bench_close(&b);
}

TEST(the_first_reason_stays)
{
    struct bench b;
    const struct err first = {.id = ERR_ENGINE_HUNG, .what = "first"};
    const struct err second = {.id = ERR_ENGINE_CRASHED, .what = "second"};
    REQUIRE(bench_open_ended(&b));
    leave(&b.shim, &first);
    leave(&b.shim, &second);
    loop_run(b.shim.loop);
    CHECK_STR(b.shim.why.what, "first");
    CHECK_STR(b.shim.state.status, "stopping: first");
    bench_close(&b);
}
