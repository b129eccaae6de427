#include "deploy/emergency.h"

#include "base/mem.h"
#include "gpu_rig.h"
#include "proc_rig.h"
#include "run/marker.h"
#include "run/run.h"
#include "sys/files.h"
#include "tap.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* A run directory, and control groups that are made up. */
struct bench {
    struct rig rig;
    char *run_dir, *groups;
    struct emergency_wish wish;
    struct emergency_report report;
    struct err err;
};

static bool
bench_open(struct bench *b, const char *gpus)
{
    *b = (struct bench){.rig = RIG_INIT};
    b->run_dir = mem_printf("%s/run", tap_dir());
    b->groups = mem_printf("%s/groups", tap_dir());
    b->wish = (struct emergency_wish){
        .run_dir = b->run_dir, .by = "ann", .why = "a test", .groups = b->groups};
    return rig_open(&b->rig, gpus);
}

static void
bench_close(struct bench *b)
{
    emergency_report_finish(&b->report);
    free(b->run_dir);
    free(b->groups);
    rig_close(&b->rig);
}

static void
put_member(const struct bench *b, const char *group, pid_t pid)
{
    char text[32];
    _cleanup_free_ char *dir = mem_printf("%s/citadel.slice/%s", b->groups, group);
    _cleanup_free_ char *path = mem_printf("%s/cgroup.procs", dir);
    _cleanup_free_ char *top = mem_printf("%s/citadel.slice/cgroup.procs", b->groups);
    (void)snprintf(text, sizeof(text), "%d\n", (int)pid);
    if (file_make_dirs(dir, 0755, NULL) < 0 || file_write(top, "", 0, 0644, NULL) < 0 ||
        file_write(path, text, strlen(text), 0644, NULL) < 0)
        abort();
}

TEST(all_in_the_slice_and_all_that_bear_a_mark_are_killed)
{
    struct bench b;
    REQUIRE(bench_open(&b, "gpu NVIDIA A\nmemory 40GiB\n"));
    _cleanup_free_ char *mark = mem_printf(RUN_MARK "=%s/services/coder/engine", b.run_dir);
    _cleanup_free_ char *stranger = mem_printf(RUN_MARK "=%s-2/services/coder", b.run_dir);
    struct proc grouped = proc_rig_start(PROC_RIG_WAITS, NULL, false);
    struct proc marked = proc_rig_start(PROC_RIG_WAITS, mark, false);
    struct proc stopped = proc_rig_start("kill -STOP $$", mark, false);
    struct proc other = proc_rig_start("exec sleep 1000", stranger, false);
    put_member(&b, "citadel-models.slice/citadel-phi3.service", grouped.pid);
    CHECK_EQ(emergency_stop(&b.wish, &b.report, &b.err), 0);
    CHECK_EQ(proc_rig_end(&grouped), SIGKILL);
    CHECK_EQ(proc_rig_end(&marked), SIGKILL);
    CHECK_EQ(proc_rig_end(&stopped), SIGKILL);
    REQUIRE(b.report.killed.all.count == 3);
    CHECK_STR(b.report.killed.all.items[0].service, "phi3");
    CHECK_STR(b.report.killed.all.items[1].service, "coder");
    CHECK_EQ(emergency_services(&b.report.killed), 2);
    CHECK_EQ(b.report.left.all.count, 0);
    CHECK_EQ(b.report.gpus, 1);
    CHECK_EQ(b.report.systemd, EMERGENCY_NO_SYSTEMD);
    CHECK_EQ(proc_signal(&other, SIGKILL), 0);
    CHECK_EQ(proc_rig_end(&other), SIGKILL);
    CHECK_EQ(run_marker_check(b.run_dir, NULL) < 0, true);
    bench_close(&b);
}

/* Tells whether the marker was there when a process ended. */
static pid_t
start_witness(pid_t whose, const char *marker)
{
    pid_t pid = fork();
    if (pid == 0) {
        struct pollfd fd = {.fd = (int)syscall(SYS_pidfd_open, whose, 0), .events = POLLIN};
        _exit(poll(&fd, 1, -1) == 1 && access(marker, F_OK) == 0 ? 0 : 1);
    }
    return pid;
}

TEST(the_marker_is_there_before_anybody_is_killed)
{
    struct bench b;
    int status = -1;
    REQUIRE(bench_open(&b, "gpu NVIDIA A\nmemory 40GiB\n"));
    _cleanup_free_ char *marker = mem_printf("%s/emergency", b.run_dir);
    struct proc grouped = proc_rig_start("exec sleep 1000", NULL, false);
    put_member(&b, "citadel-phi3.service", grouped.pid);
    pid_t witness = start_witness(grouped.pid, marker);
    CHECK_EQ(emergency_stop(&b.wish, &b.report, &b.err), 0);
    CHECK_EQ(waitpid(witness, &status, 0), witness);
    CHECK_EQ(status, 0);
    CHECK_EQ(proc_rig_end(&grouped), SIGKILL);
    bench_close(&b);
}

TEST(that_the_marker_cannot_be_set_saves_nobody)
{
    struct bench b;
    REQUIRE(bench_open(&b, "gpu NVIDIA A\nmemory 40GiB\n"));
    struct proc grouped = proc_rig_start("exec sleep 1000", NULL, false);
    put_member(&b, "citadel-phi3.service", grouped.pid);
    REQUIRE(file_write(b.run_dir, "no directory", 12, 0644, NULL) == 0);
    CHECK(emergency_stop(&b.wish, &b.report, &b.err) < 0);
    CHECK_EQ(b.err.id, ERR_EMERGENCY_LEFT);
    CHECK(strstr(b.err.what, "nothing keeps them from starting again") != NULL);
    CHECK_EQ(proc_rig_end(&grouped), SIGKILL);
    bench_close(&b);
}

TEST(memory_that_is_not_free_is_told)
{
    struct bench b;
    REQUIRE(bench_open(&b, "gpu NVIDIA A\nmemory 40GiB\n"));
    fake_lock(&b.rig.fake, NULL)->stuck_bytes = 20 * GIB;
    fake_unlock(&b.rig.fake);
    b.wish.gpus_us = 1;
    CHECK(emergency_stop(&b.wish, &b.report, &b.err) < 0);
    CHECK_EQ(b.err.id, ERR_EMERGENCY_LEFT);
    CHECK(strstr(b.err.what, "all processes are dead, but GPU memory: GPU 0: ") != NULL);
    bench_close(&b);
}

TEST(who_would_be_killed_is_only_looked_at)
{
    struct bench b;
    struct emergency_processes seen;
    REQUIRE(bench_open(&b, "gpu NVIDIA A\nmemory 40GiB\n"));
    struct proc grouped = proc_rig_start("exec sleep 1000", NULL, false);
    put_member(&b, "citadel-phi3.service", grouped.pid);
    emergency_look(&b.wish, &seen);
    CHECK_EQ(seen.all.count, 1);
    CHECK_EQ(proc_signal(&grouped, SIGKILL), 0);
    CHECK_EQ(proc_rig_end(&grouped), SIGKILL);
    CHECK_EQ(run_marker_check(b.run_dir, NULL), 0);
    vec_finish(&seen.all);
    bench_close(&b);
}
