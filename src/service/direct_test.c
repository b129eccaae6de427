#include "service/direct.h"

#include "base/mem.h"
#include "service/log_file.h"
#include "sys/kin.h"
#include "sys/loop.h"
#include "sys/proc.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MS UINT64_C(1000)
#define S UINT64_C(1000000)
#define SERVICES_MAX 4
#define WORDS_MAX 12

/* Services that are stubs (tests/service_stub.c), and what happened to them: "a:starting a:ready". */
struct scene {
    struct loop *loop;
    struct direct *direct;
    struct loop_timer patience;
    struct service services[SERVICES_MAX];
    const char *words[SERVICES_MAX][WORDS_MAX + 2];
    char names[SERVICES_MAX][8], logs[SERVICES_MAX][300];
    enum service_state last[SERVICES_MAX];
    size_t count;
    struct buf seen;
    const char *until; /* words of it; NULL: until all have ended */
    bool waits, ended;
    uint64_t give_up_us;
    char run_dir[256];
};

static size_t
place_of(struct scene *s, const char *name)
{
    for (size_t i = 0; i < s->count; i++)
        if (strcmp(s->names[i], name) == 0)
            return i;
    abort();
}

static void
on_changed(void *arg, const struct service_status *status)
{
    struct scene *s = arg;
    size_t i = place_of(s, status->name);
    if (s->last[i] == status->state)
        return;
    s->last[i] = status->state;
    buf_printf(&s->seen, "%s:%s ", status->name, service_state_word(status->state));
    if (s->waits && s->until && strstr(s->seen.data, s->until))
        loop_stop(s->loop);
}

static void
on_ended(void *arg)
{
    struct scene *s = arg;
    s->ended = true;
    loop_stop(s->loop);
}

static void
on_impatient(struct loop_timer *timer)
{
    struct scene *s = container_of(timer, struct scene, patience);
    tap_fail(__FILE__, __LINE__, "waited for '%s', and saw: %s", s->until ? s->until : "the end",
             s->seen.data);
    loop_stop(s->loop);
}

/* What is seen from here on, up to these words. */
static void
wait_for(struct scene *s, const char *until)
{
    s->until = until;
    if (until && strstr(s->seen.data, until))
        return;
    s->patience.expired = on_impatient;
    loop_timer_start(s->loop, &s->patience, 20 * S, 0);
    s->waits = true;
    loop_run(s->loop);
    s->waits = false;
    loop_timer_stop(&s->patience);
}

static struct service *
add(struct scene *s, const char *words)
{
    size_t i = s->count++, n = 0;
    char *text = mem_strdup(words);
    s->words[i][n++] = SERVICE_STUB_PATH;
    for (char *rest = text, *word; (word = strsep(&rest, " ")) && n <= WORDS_MAX;)
        s->words[i][n++] = mem_strdup(word);
    free(text);
    (void)snprintf(s->names[i], sizeof(s->names[i]), "%c", (int)('a' + i));
    (void)snprintf(s->logs[i], sizeof(s->logs[i]), "%s/logs/%c.log", tap_dir(), (int)('a' + i));
    s->last[i] = SERVICE_STATE_COUNT;
    s->services[i] = (struct service){
        .name = s->names[i],
        .kind = "test",
        .argv = s->words[i],
        .log_path = s->logs[i],
        .wanted = true,
        .stop_us = 10 * S,
        .budget = {.burst = 3, .delay_us = 1 * MS, .start_us = 30 * S, .forgive_us = 3600 * S},
    };
    return &s->services[i];
}

static struct scene *
scene_new(void)
{
    struct scene *s = mem_new(struct scene);
    buf_init(&s->seen, 64 * KIB);
    (void)snprintf(s->run_dir, sizeof(s->run_dir), "%s/run", tap_dir());
    return s;
}

static int
scene_open(struct scene *s, enum contain_kind kind, struct err *reterr)
{
    const struct direct_config config = {.run_dir = s->run_dir,
                                         .contain = kind,
                                         .services = s->services,
                                         .count = s->count,
                                         .give_up_us = s->give_up_us,
                                         .changed = on_changed,
                                         .ended = on_ended,
                                         .arg = s};
    if (loop_new(&s->loop, NULL) < 0)
        abort();
    return direct_new(s->loop, &config, &s->direct, reterr);
}

static void
scene_free(struct scene *s)
{
    if (s->direct && !s->ended) {
        direct_stop_all(s->direct);
        wait_for(s, NULL);
    }
    if (s->direct)
        direct_free(s->direct);
    if (s->loop)
        loop_free(s->loop);
    for (size_t i = 0; i < s->count; i++)
        for (size_t n = 1; s->words[i][n]; n++)
            free((char *)(uintptr_t)s->words[i][n]);
    buf_finish(&s->seen);
    free(s);
}

static void
start(struct scene *s, enum contain_kind kind)
{
    struct err err = {0};
    if (scene_open(s, kind, &err) < 0)
        tap_fail(__FILE__, __LINE__, "%s", err.what);
    else
        direct_start(s->direct);
}

/* One service of these words; what it went through up to its end, or to `until`. */
static const struct service_status *
play(struct scene *s, const char *until)
{
    start(s, CONTAIN_SUBREAPER);
    wait_for(s, until);
    return direct_status(s->direct, 0);
}

static void
open_gate(const char *fifo)
{
    int fd = open(fifo, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "", 1) != 1)
        abort();
    (void)close(fd);
}

/* ---- order ---- */

TEST(they_start_after_what_they_need_and_stop_before_it)
{
    struct scene *s = scene_new();
    char words[400], gate[256];
    (void)snprintf(gate, sizeof(gate), "%s/gate", tap_dir());
    (void)snprintf(words, sizeof(words), "gate=%s ready wait", gate);
    if (mkfifo(gate, 0600) < 0)
        abort();
    struct service *b = add(s, "ready wait"), *a = add(s, words); /* in the file, b is first */
    b->after[b->after_count++] = a->name;
    start(s, CONTAIN_SUBREAPER);
    wait_for(s, "b:starting ");
    CHECK_STR(s->seen.data, "a:waiting b:starting ");
    open_gate(gate);
    wait_for(s, "a:ready ");
    CHECK_STR(s->seen.data, "a:waiting b:starting b:ready a:starting a:ready ");
    buf_clear(&s->seen);
    direct_stop_all(s->direct);
    wait_for(s, NULL);
    CHECK_STR(s->seen.data, "a:stopping a:stopped b:stopping b:stopped ");
    scene_free(s);
}

/* It is waited for until its first start has come to something. */
TEST(what_is_dispensable_keeps_nobody_from_starting)
{
    static const struct {
        const char *words, *seen;
    } rows[] = {
        {"ready wait", "a:waiting b:starting b:ready a:starting "},
        {"exit=1", "a:waiting b:starting b:backing-off a:starting "},
        {"exit=64", "a:waiting b:starting b:failed a:starting "},
        {"exit=75", "a:waiting b:starting b:not-now a:starting "},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct scene *s = scene_new();
        struct service *a = add(s, "ready wait"), *b = add(s, rows[i].words);
        b->dispensable = true;
        a->after[a->after_count++] = "b";
        start(s, CONTAIN_SUBREAPER);
        wait_for(s, "a:starting ");
        CHECK_STR(s->seen.data, rows[i].seen);
        scene_free(s);
    }
}

TEST(who_waits_tells_for_whom)
{
    struct scene *s = scene_new();
    struct service *a = add(s, "ready wait");
    (void)add(s, "exit=64");
    a->after[a->after_count++] = "b";
    start(s, CONTAIN_SUBREAPER);
    wait_for(s, "b:failed ");
    CHECK_EQ(direct_status(s->direct, 0)->state, SERVICE_WAITING);
    CHECK_STR(direct_status(s->direct, 0)->reason, "waits for b, which is failed");
    scene_free(s);
}

/* ---- other services ---- */

static int
take(struct scene *s, const struct service *services, size_t count, struct err *reterr)
{
    const struct direct_config config = {.services = services,
                                         .count = count,
                                         .source = {.generation = 7, .file = "x.yaml"},
                                         .text = "models: {}\n",
                                         .text_len = strlen("models: {}\n")};
    return direct_take(s->direct, &config, reterr);
}

TEST(others_take_their_place_and_what_runs_goes_on)
{
    static const char *const other[] = {SERVICE_STUB_PATH, "ready", "status=anew", "wait", NULL};
    struct scene *s = scene_new();
    (void)add(s, "ready wait");
    const struct service_status *a = play(s, "a:ready ");
    unsigned pid = a->pid;
    struct service next[2] = {s->services[0], s->services[0]};
    (void)add(s, "ready wait"); /* its name and its words */
    next[0].argv = other;
    next[0].at_start = "2";
    next[1] = s->services[1];
    CHECK_EQ(take(s, next, 2, NULL), 0);
    CHECK_EQ(direct_count(s->direct), 2);
    CHECK_STR(direct_status(s->direct, 0)->at_start, ""); /* as it was started */
    CHECK_EQ(direct_status(s->direct, 0)->pid, pid);
    CHECK_EQ(direct_status(s->direct, 1)->state, SERVICE_STOPPED);
    direct_stop_all(s->direct);
    wait_for(s, NULL);
    scene_free(s);
}

TEST(one_that_runs_does_not_go)
{
    struct scene *s = scene_new();
    struct err err = {0};
    (void)add(s, "ready wait");
    (void)add(s, "exit=64");
    start(s, CONTAIN_SUBREAPER);
    wait_for(s, "a:ready ");
    wait_for(s, "b:failed ");
    CHECK_EQ(take(s, &s->services[1], 1, &err), -EBUSY);
    CHECK_EQ(err.id, ERR_SERVICE_RUNS);
    CHECK_STR(err.what, "a is not in x.yaml, and is ready");
    CHECK_STR(err.fix, "citadel stop a");
    CHECK_EQ(direct_count(s->direct), 2);
    CHECK_EQ(take(s, &s->services[0], 1, NULL), 0);
    CHECK_EQ(direct_count(s->direct), 1);
    CHECK_STR(direct_status(s->direct, 0)->name, "a");
    scene_free(s);
}

TEST(one_that_cannot_be_made_changes_nothing)
{
    struct scene *s = scene_new();
    struct err err = {0};
    (void)add(s, "ready wait");
    start(s, CONTAIN_SUBREAPER);
    wait_for(s, "a:ready ");
    struct service next[2] = {s->services[0], s->services[0]};
    next[1].name = "b";
    next[1].log_path = "/proc/self/no/such.log";
    CHECK(take(s, next, 2, &err) < 0);
    CHECK(strstr(err.what, "/proc/self/no") != NULL);
    CHECK_EQ(direct_count(s->direct), 1);
    CHECK_EQ(direct_status(s->direct, 0)->state, SERVICE_READY);
    char copy[300];
    (void)snprintf(copy, sizeof(copy), "%s/up.yaml", s->run_dir);
    CHECK(access(copy, F_OK) < 0); /* nor is a copy of it left */
    CHECK_EQ(take(s, next, 1, NULL), 0);
    CHECK_EQ(access(copy, R_OK), 0);
    scene_free(s);
}

/* ---- endings ---- */

static const struct {
    const char *words, *until, *seen, *reason;
    unsigned failures;
    int last_exit;
} endings[] = {
    {"exit=1", "a:failed ",
     "a:starting a:backing-off a:starting a:backing-off a:starting a:failed ", "exit status 1", 3,
     1},
    {"status=loading exit=3", "a:backing-off ", "a:starting a:backing-off ",
     "exit status 3; it was: loading", 1, 3},
    {"ready exit=0", "a:backing-off ", "a:starting a:ready a:backing-off ", "exit status 0", 1, 0},
    {"kill=9", "a:backing-off ", "a:starting a:backing-off ", "killed by SIGKILL", 1, 137},
    {"status=ended:\001no_room exit=64", "a:failed ", "a:starting a:failed ", "no_room", 0, 64},
    {"ready exit=75", "a:not-now ", "a:starting a:ready a:not-now ", "exit status 75", 0, 75},
};

TEST(each_ending_has_its_consequence)
{
    for (size_t i = 0; i < ARRAY_SIZE(endings); i++) {
        struct scene *s = scene_new();
        tap_note("%s", endings[i].words);
        (void)add(s, endings[i].words);
        for (char *c = (char *)(uintptr_t)s->words[0][1]; *c; c++)
            *c = *c == '\001' ? ' ' : *c;
        const struct service_status *a = play(s, endings[i].until);
        CHECK_STR(s->seen.data, endings[i].seen);
        CHECK_STR(a->reason, endings[i].reason);
        CHECK_EQ(a->failures, endings[i].failures);
        CHECK_EQ(a->last_exit, endings[i].last_exit);
        CHECK_EQ(a->pid, 0);
        scene_free(s);
    }
}

TEST(what_is_not_now_is_tried_later_and_sooner_when_another_stops)
{
    struct scene *s = scene_new();
    char words[400], gate[256];
    (void)snprintf(gate, sizeof(gate), "%s/gate", tap_dir());
    if (mkfifo(gate, 0600) < 0)
        abort();
    (void)snprintf(words, sizeof(words), "once=%s/tried exit=75 then ready wait", tap_dir());
    (void)add(s, words);
    (void)snprintf(words, sizeof(words), "ready gate=%s exit=64", gate);
    (void)add(s, words);
    s->services[1].after[s->services[1].after_count++] = "c"; /* not there: no reason to wait */
    const struct service_status *a = play(s, "a:not-now ");
    CHECK(a->next_us > a->since_us + 29 * S && a->next_us < a->since_us + 31 * S);
    wait_for(s, "b:ready ");
    open_gate(gate);
    wait_for(s, "a:ready ");
    CHECK_EQ(a->failures, 0);
    CHECK_EQ(a->restarts, 1);
    scene_free(s);
}

/* It fails three times as often as it may in a row. */
TEST(who_was_ready_for_long_is_forgiven)
{
    struct scene *s = scene_new();
    add(s, "ready exit=1")->budget.forgive_us = 0;
    start(s, CONTAIN_SUBREAPER);
    for (int i = 0; i < 9; i++) {
        buf_clear(&s->seen);
        wait_for(s, "a:backing-off ");
        CHECK_EQ(direct_status(s->direct, 0)->failures, 1);
    }
    scene_free(s);
}

TEST(a_program_that_is_not_there_is_told)
{
    struct scene *s = scene_new();
    (void)add(s, "");
    s->words[0][0] = "/nowhere/at/all";
    s->services[0].budget.burst = 1;
    const struct service_status *a = play(s, "a:failed ");
    CHECK_STR(a->reason, "cannot run '/nowhere/at/all': No such file or directory");
    scene_free(s);
}

/* ---- the protocol ---- */

TEST(who_gives_no_sign_of_life_is_ended)
{
    struct scene *s = scene_new();
    add(s, "ready wait")->watchdog_us = 150 * MS;
    add(s, "ready beat")->watchdog_us = 2 * S;
    const struct service_status *a = play(s, "a:backing-off ");
    CHECK_STR(a->reason, "it gave no sign of life for 150ms");
    CHECK_EQ(a->last_exit, 137);
    buf_clear(&s->seen);
    wait_for(s, "a:failed "); /* three times 150 ms */
    CHECK_EQ(direct_status(s->direct, 1)->state, SERVICE_READY);
    scene_free(s);
}

/* SIGSTOP and SIGCONT, or a machine that had no time for us. */
TEST(who_was_not_heard_since_we_were_stopped_is_not_ended)
{
    struct scene *s = scene_new();
    char words[400], gate[256];
    (void)snprintf(gate, sizeof(gate), "%s/gate", tap_dir());
    (void)snprintf(words, sizeof(words), "gate=%s exit=64", gate);
    REQUIRE(mkfifo(gate, 0600) == 0);
    add(s, "ready beat")->watchdog_us = 500 * MS;
    (void)add(s, words);
    const struct service_status *a = play(s, "a:ready ");
    (void)poll(NULL, 0, 600);
    open_gate(gate);
    wait_for(s, "b:failed ");
    direct_stop_all(s->direct);
    wait_for(s, NULL);
    CHECK_EQ(a->last_exit, 0);
    CHECK_STR(a->reason, "");
    scene_free(s);
}

TEST(a_start_takes_as_long_as_it_may_and_longer_when_it_asks)
{
    struct scene *s = scene_new();
    add(s, "status=loading wait")->budget.start_us = 150 * MS;
    add(s, "extend=600000 wait")->budget.start_us = 150 * MS;
    s->services[0].budget.burst = 2;
    const struct service_status *a = play(s, "a:failed ");
    CHECK_STR(a->reason, "it did not become ready in the time that it asked for");
    CHECK_EQ(direct_status(s->direct, 1)->state, SERVICE_STARTING);
    scene_free(s);
}

TEST(asking_for_a_moment_does_not_shorten_a_start)
{
    struct scene *s = scene_new();
    (void)add(s, "extend=1 wait");
    add(s, "wait")->budget.start_us = 100 * MS;
    (void)play(s, "b:failed ");
    CHECK_EQ(direct_status(s->direct, 0)->state, SERVICE_STARTING);
    scene_free(s);
}

/* ---- stopping ---- */

TEST(who_does_not_end_is_killed)
{
    struct scene *s = scene_new();
    add(s, "deaf ready wait")->stop_us = 50 * MS;
    (void)play(s, "a:ready ");
    direct_stop_all(s->direct);
    wait_for(s, NULL);
    CHECK_STR(s->seen.data, "a:starting a:ready a:stopping a:stopped ");
    CHECK_EQ(direct_status(s->direct, 0)->last_exit, 137);
    scene_free(s);
}

TEST(at_once_means_at_once)
{
    struct scene *s = scene_new();
    struct service *a = add(s, "deaf ready wait");
    struct service *b = add(s, "deaf ready wait");
    a->stop_us = b->stop_us = 3600 * S;
    b->after[b->after_count++] = a->name;
    (void)play(s, "b:ready ");
    direct_stop_all(s->direct);
    CHECK_EQ(direct_status(s->direct, 0)->state, SERVICE_READY);
    direct_kill_all(s->direct);
    wait_for(s, NULL);
    CHECK(s->ended);
    CHECK_EQ(direct_status(s->direct, 0)->state, SERVICE_STOPPED);
    scene_free(s);
}

/* ---- logs ---- */

TEST(last_words_are_in_the_log)
{
    struct scene *s = scene_new();
    _cleanup_buf_ struct buf text = BUF_INIT(64 * KIB);
    (void)add(s, "say=first part=cut exit=64");
    (void)play(s, "a:failed ");
    CHECK_EQ(log_file_tail(s->logs[0], 10, &text, NULL), 0);
    CHECK(strstr(text.data, " first\n"));
    CHECK(strstr(text.data, " cut\n"));
    scene_free(s);
}

/* ---- nothing is left ---- */

static bool
is_possible(enum contain_kind kind)
{
    struct contain c;
    if (contain_open(&c, kind, tap_dir(), NULL) < 0)
        return false;
    contain_close(&c);
    return true;
}

/* kin_signal() sees our descendants, and whoever loses a parent below us is one. */
static void
check_strays(enum contain_kind kind, const char *words, const char *until)
{
    struct scene *s = scene_new();
    tap_note("%s, %s", contain_word(kind), words);
    (void)add(s, words);
    start(s, kind);
    wait_for(s, until);
    if (!strstr(s->seen.data, "failed"))
        CHECK(kin_signal(0, 0, 0) >= 2);
    direct_stop_all(s->direct);
    wait_for(s, NULL);
    CHECK_EQ(kin_signal(0, 0, 0), 0);
    scene_free(s);
}

TEST(what_a_service_left_behind_ends_with_it)
{
    static const enum contain_kind kinds[] = {CONTAIN_CGROUP, CONTAIN_NAMESPACE, CONTAIN_SUBREAPER};
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        if (!is_possible(kinds[i]))
            continue;
        check_strays(kinds[i], "stray ready wait", "a:ready ");
        check_strays(kinds[i], "stray exit=64", "a:failed ");
        check_strays(kinds[i], "stray stray exit=1", "a:failed ");
    }
}

/* From here on SIGKILL reaches nobody, as if all hung in the kernel. */
static bool
refuse_kills(void)
{
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pidfd_send_signal, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SIGKILL, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog filter = {ARRAY_SIZE(program), program};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

/* In a process of its own, after which we end what it could not. Skips where kills cannot be refused. */
static void
play_without_kills(bool (*is_good)(struct scene *s))
{
    int status = 0;
    kin_adopt();
    pid_t pid = fork();
    if (pid == 0) {
        struct scene *s = scene_new();
        _exit(!refuse_kills() ? 77 : is_good(s) ? 0 : 1);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    while (kin_signal(0, 0, SIGKILL) > 0)
        kin_reap(NULL, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        tap_skip("no filter of system calls is possible here");
    else
        CHECK_EQ(status, 0);
}

/* The first of these cannot be ended, what the second leaves neither, the third can. */
static bool
leaves_them(struct scene *s)
{
    s->give_up_us = 50 * MS;
    add(s, "deaf stray ready wait")->stop_us = 1 * MS;
    (void)add(s, "stray exit=64");
    (void)add(s, "ready wait");
    start(s, CONTAIN_SUBREAPER);
    wait_for(s, "a:ready ");
    wait_for(s, "b:stopping ");
    wait_for(s, "b:failed ");
    wait_for(s, "c:ready ");
    direct_stop_all(s->direct);
    wait_for(s, NULL);
    return s->ended &&
           strstr(direct_status(s->direct, 0)->reason, "2 of its processes cannot be killed") &&
           strstr(direct_status(s->direct, 1)->reason, "1 of its processes cannot be killed") &&
           direct_status(s->direct, 2)->reason[0] == '\0';
}

TEST(what_cannot_be_killed_is_left_after_a_while)
{
    play_without_kills(leaves_them);
}

static bool
ends_alone(struct scene *s)
{
    s->give_up_us = 1000 * S;
    (void)add(s, "stray exit=64");
    (void)add(s, "ready wait");
    start(s, CONTAIN_SUBREAPER);
    wait_for(s, "a:stopping ");
    wait_for(s, "b:ready ");
    direct_stop_all(s->direct);
    wait_for(s, "b:stopped ");
    return direct_status(s->direct, 0)->state == SERVICE_STOPPING &&
           direct_status(s->direct, 1)->state == SERVICE_STOPPED;
}

TEST(nobody_waits_for_what_another_has_left)
{
    play_without_kills(ends_alone);
}

/* A supervisor of its own that is killed when its service runs, and the run directory after it. */
static void
leave_leftovers(enum contain_kind kind)
{
    int ends[2];
    char c;
    if (pipe2(ends, O_CLOEXEC) < 0)
        abort();
    pid_t child = fork();
    if (child == 0) {
        struct scene *s = scene_new();
        (void)add(s, "deaf stray ready wait");
        start(s, kind);
        wait_for(s, "a:ready ");
        (void)!write(ends[1], "", 1);
        for (;;)
            (void)pause();
    }
    (void)close(ends[1]);
    CHECK_EQ(read(ends[0], &c, 1), 1);
    (void)close(ends[0]);
    (void)kill(child, SIGKILL);
    (void)waitpid(child, NULL, 0);
}

TEST(the_next_supervisor_ends_what_a_killed_one_left)
{
    static const enum contain_kind kinds[] = {CONTAIN_CGROUP, CONTAIN_NAMESPACE, CONTAIN_SUBREAPER};
    kin_adopt();
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        if (!is_possible(kinds[i]))
            continue;
        tap_note("%s", contain_word(kinds[i]));
        leave_leftovers(kinds[i]);
        CHECK_EQ(kin_signal(0, 0, 0), 2); /* it heard that its supervisor has gone, and stays */
        struct scene *s = scene_new();
        (void)add(s, "ready wait");
        (void)play(s, "a:ready "); /* whatever holds it, also another kind */
        CHECK_EQ(kin_signal(0, 0, 0), 1);
        scene_free(s);
        CHECK_EQ(kin_signal(0, 0, 0), 0);
    }
}

static bool
starts_all_the_same(struct scene *s)
{
    leave_leftovers(CONTAIN_SUBREAPER);
    (void)add(s, "ready wait");
    start(s, CONTAIN_SUBREAPER);
    wait_for(s, "a:ready ");
    return direct_stuck(s->direct)->id == ERR_PROC_STUCK &&
           strstr(direct_stuck(s->direct)->what, "2 processes ");
}

TEST(a_leftover_that_cannot_be_killed_keeps_nobody_from_starting)
{
    play_without_kills(starts_all_the_same);
}

TEST(one_supervisor_a_run_directory)
{
    struct scene *s = scene_new(), *second = scene_new();
    struct err err = {0};
    char want[100];
    (void)add(s, "ready wait");
    (void)play(s, "a:ready ");
    (void)add(second, "ready wait");
    CHECK_EQ(scene_open(second, CONTAIN_SUBREAPER, &err), -EBUSY);
    (void)snprintf(want, sizeof(want), "citadel up runs here already, as process %d", getpid());
    CHECK_STR(err.what, want);
    scene_free(second);
    CHECK_EQ(direct_status(s->direct, 0)->state, SERVICE_READY);
    scene_free(s);
}
