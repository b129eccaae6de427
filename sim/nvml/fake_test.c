#include "gpu_rig.h"
#include "tap.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static uint64_t
used_bytes(struct fake *f, unsigned gpu)
{
    struct fake_memory memory;
    fake_memory(f, gpu, &memory);
    return memory.used_bytes;
}

static void
write_file(const char *name, const char *text)
{
    char path[512];
    (void)snprintf(path, sizeof(path), "%s/%s", tap_dir(), name);
    FILE *file = fopen(path, "we");
    if (!file)
        return;
    (void)fputs(text, file);
    (void)fclose(file);
}

static void
forget_state(void)
{
    char path[512];
    (void)snprintf(path, sizeof(path), "%s/state", tap_dir());
    (void)unlink(path);
}

TEST(descriptions_are_read)
{
    static const struct {
        const char *text;
        unsigned count;
        const char *name; /* of the last */
        uint64_t mib;
    } good[] = {
        {"", 2, "NVIDIA H100 80GB HBM3", 81559},
        {"# nothing\n\n", 2, "NVIDIA H100 80GB HBM3", 81559},
        {"gpu NVIDIA L40S\n", 1, "NVIDIA L40S", 81559},
        {"gpu NVIDIA L40S\n count 4\n memory 46068MiB # as sold\n", 4, "NVIDIA L40S", 46068},
        {"driver 550.1\ncuda 12.4\ngpu A\nmemory 1GiB\ngpu B\ncount 15\necc no\nfans 2\nlinks 0\n"
         "power 72\ncompute 8.9\n",
         16, "B", 81559},
    };
    static const char *const bad[] = {
        "gpus",
        "gpu",
        "count 2\n",
        "gpu A\ncount 0\n",
        "gpu A\nmemory",
        "gpu A\nmemory x",
        "gpu A\ncount 17\n",
        "gpu A\ncount 9\ngpu B\ncount 8\n",
        "gpu A\necc maybe\n",
        "gpu A\nlinks 19\n",
        "cuda thirteen\n",
        "gpu A\ncolour red\n",
    };
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        _cleanup_fake_ struct fake f = FAKE_INIT;
        unsigned count;
        tap_note("%s", good[i].text);
        forget_state();
        write_file("gpus", good[i].text);
        REQUIRE(fake_open(&f, tap_dir(), NULL) == 0);
        const struct fake_gpu *gpus = fake_lock(&f, &count);
        fake_unlock(&f);
        REQUIRE(count == good[i].count);
        CHECK_STR(gpus[count - 1].name, good[i].name);
        CHECK_EQ(gpus[count - 1].total_bytes, good[i].mib * MIB);
        CHECK(count == 1 || strcmp(gpus[0].uuid, gpus[1].uuid) != 0);
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct fake f = FAKE_INIT;
        struct err err = {0};
        tap_note("%s", bad[i]);
        forget_state();
        write_file("gpus", bad[i]);
        CHECK(fake_open(&f, tap_dir(), &err) == -EINVAL);
        CHECK_EQ(err.id, ERR_VALUE);
    }
}

TEST(memory_is_claimed_and_given_back)
{
    _cleanup_fake_ struct fake f = FAKE_INIT;
    struct fake_memory memory;
    unsigned one, two, none;
    REQUIRE(fake_open(&f, tap_dir(), NULL) == 0);
    REQUIRE(fake_claim(&f, 1, 10 * GIB, &one) == 0);
    REQUIRE(fake_claim(&f, 1, 20 * GIB, &two) == 0);
    CHECK_EQ(used_bytes(&f, 0), 0);
    fake_memory(&f, 1, &memory);
    CHECK_EQ(memory.used_bytes, 30 * GIB);
    CHECK_EQ(memory.free_bytes, memory.total_bytes - memory.reserved_bytes - 30 * GIB);
    CHECK_EQ(fake_claim(&f, 1, memory.free_bytes + 1, &none), -ENOMEM);
    CHECK_EQ(fake_claim(&f, 2, 1, &none), -ENODEV);
    fake_release(&f, one);
    CHECK_EQ(used_bytes(&f, 1), 20 * GIB);
    fake_release(&f, two);
    CHECK_EQ(used_bytes(&f, 1), 0);
}

static void
claim_5_gib(void *fake)
{
    unsigned claim;
    if (fake_claim(fake, 0, 5 * GIB, &claim) < 0)
        _exit(1);
}

static void
claim_by_a_handle_of_its_own(void *unused)
{
    static struct fake f = FAKE_INIT;
    (void)unused;
    if (fake_open(&f, tap_dir(), NULL) < 0)
        _exit(1);
    claim_5_gib(&f);
}

TEST(memory_of_a_killed_process_comes_free)
{
    _cleanup_fake_ struct fake f = FAKE_INIT;
    REQUIRE(fake_open(&f, tap_dir(), NULL) == 0);
    void (*const ways[])(void *) = {claim_5_gib, claim_by_a_handle_of_its_own};
    for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
        struct rig_child child = rig_fork(ways[i], &f);
        CHECK(rig_said(&child, 10000));
        CHECK_EQ(used_bytes(&f, 0), 5 * GIB);
        (void)kill(child.pid, SIGKILL);
        siginfo_t info; /* a zombie has no memory */
        CHECK(waitid(P_PID, (id_t)child.pid, &info, WEXITED | WNOWAIT) == 0);
        CHECK_EQ(used_bytes(&f, 0), 0);
        rig_kill(&child);
        CHECK_EQ(used_bytes(&f, 0), 0);
    }
}

TEST(memory_can_be_left_behind)
{
    _cleanup_fake_ struct fake f = FAKE_INIT;
    REQUIRE(fake_open(&f, tap_dir(), NULL) == 0);
    fake_lock(&f, NULL)[0].keeps_memory = true;
    fake_unlock(&f);
    struct rig_child child = rig_fork(claim_by_a_handle_of_its_own, NULL);
    CHECK(rig_said(&child, 10000));
    rig_kill(&child);
    CHECK_EQ(used_bytes(&f, 0), 5 * GIB);
    fake_lock(&f, NULL)[0].stuck_bytes = 0;
    fake_unlock(&f);
    CHECK_EQ(used_bytes(&f, 0), 0);
}

/* Its child has the descriptor that holds the claim's lock, and lives on. */
static void
claim_and_leave_a_child(void *unused)
{
    claim_by_a_handle_of_its_own(unused);
    if (fork() == 0)
        for (;;)
            (void)pause();
}

TEST(memory_is_not_kept_by_a_forked_child)
{
    _cleanup_fake_ struct fake f = FAKE_INIT;
    REQUIRE(fake_open(&f, tap_dir(), NULL) == 0);
    REQUIRE(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
    struct rig_child child = rig_fork(claim_and_leave_a_child, NULL);
    CHECK(rig_said(&child, 10000));
    rig_kill(&child);
    CHECK_EQ(used_bytes(&f, 0), 0);
    char path[64];
    (void)snprintf(path, sizeof(path), "/proc/self/task/%d/children", getpid());
    FILE *file = fopen(path, "re");
    char text[32] = "";
    CHECK(file && fgets(text, sizeof(text), file));
    if (file)
        (void)fclose(file);
    pid_t orphan = (pid_t)strtol(text, NULL, 10);
    REQUIRE(orphan > 1);
    (void)kill(orphan, SIGKILL);
    (void)waitpid(orphan, NULL, 0);
}

TEST(memory_is_known_across_pid_namespaces)
{
    _cleanup_rig_ struct rig rig = RIG_INIT;
    unsigned count = 0;
    REQUIRE(rig_open(&rig, NULL));
    pid_t outer = fork(); /* unshare() is for the children of its caller */
    REQUIRE(outer >= 0);
    if (outer == 0) {
        if (unshare(CLONE_NEWPID) < 0)
            _exit(77);
        struct rig_child child = rig_fork(claim_by_a_handle_of_its_own, NULL);
        if (!rig_said(&child, 10000))
            _exit(1);
        uint64_t taken = used_bytes(&rig.fake, 0);
        if (nvml_call(&rig.nvml, DeviceGetComputeRunningProcesses_v3, rig_device(&rig, 0), &count,
                      NULL) != NVML_SUCCESS ||
            count != 0)
            _exit(2);
        rig_kill(&child);
        _exit(taken == 5 * GIB && used_bytes(&rig.fake, 0) == 0 ? 0 : 3);
    }
    int status;
    REQUIRE(waitpid(outer, &status, 0) == outer);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
        tap_skip("no new PID namespaces here");
        return;
    }
    CHECK_EQ(status, 0);
}

static void
die_inside(void *fake)
{
    fake_lock(fake, NULL)[0].celsius = 40;
}

TEST(a_process_that_dies_inside_wedges_nobody)
{
    _cleanup_fake_ struct fake f = FAKE_INIT;
    REQUIRE(fake_open(&f, tap_dir(), NULL) == 0);
    for (int i = 0; i < 3; i++) {
        struct rig_child child = rig_fork(die_inside, &f);
        CHECK(rig_said(&child, 10000));
        rig_kill(&child);
        CHECK_EQ(fake_lock(&f, NULL)[0].celsius, 40);
        fake_unlock(&f);
    }
}

static void
open_and_warm(void *unused)
{
    static struct fake f = FAKE_INIT;
    (void)unused;
    if (fake_open(&f, tap_dir(), NULL) < 0)
        _exit(1);
    fake_lock(&f, NULL)[0].celsius++;
    fake_unlock(&f);
}

TEST(the_first_of_many_makes_the_state)
{
    struct rig_child children[8];
    (void)tap_dir(); /* one for all of them */
    for (size_t i = 0; i < ARRAY_SIZE(children); i++)
        children[i] = rig_fork(open_and_warm, NULL);
    for (size_t i = 0; i < ARRAY_SIZE(children); i++)
        CHECK(rig_said(&children[i], 20000));
    for (size_t i = 0; i < ARRAY_SIZE(children); i++)
        rig_kill(&children[i]);
    _cleanup_fake_ struct fake f = FAKE_INIT;
    REQUIRE(fake_open(&f, tap_dir(), NULL) == 0);
    CHECK_EQ(fake_lock(&f, NULL)[0].celsius, 34 + ARRAY_SIZE(children));
    fake_unlock(&f);
}
