#include "sim/cores.h"

#include "sim/nvml/fake.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

struct message {
    enum order order;
    uint64_t bytes;
};

static struct {
    char *words;
    size_t room;
} title;

void
cores_init(struct cores *c, int argc, char *argv[])
{
    *c = (struct cores){.core.fd = -1};
    title.words = argv[0];
    title.room = (size_t)(argv[argc - 1] + strlen(argv[argc - 1]) + 1 - argv[0]);
}

bool
cores_run(const struct cores *c)
{
    return c->core.fd >= 0;
}

/* ---- in the child: one thread, no loop, nothing of the parent's but numbers ---- */

#define CLAIMS_MAX 16

struct child {
    int fd, lifeline; /* lifeline: readable when the core has gone; -1: none */
    int gpu;
    uint64_t gpu_bytes, own_bytes;
    struct fake fake;
    bool has_fake, stays;
    unsigned claims[CLAIMS_MAX], claim_count;
    uint64_t first_bytes; /* of the first claim */
};

static void
set_title(const char *text)
{
    memset(title.words, 0, title.room);
    (void)snprintf(title.words, title.room, "%s", text);
    (void)prctl(PR_SET_NAME, text); /* cut at 15 bytes, as Python's would be */
}

static void
close_all_but(int a, int b)
{
    int low = MIN(a, b), high = MAX(a, b);
    if (low < 0) /* there is but one */
        low = high;
    if (low > 3)
        (void)syscall(SYS_close_range, 3u, (unsigned)low - 1, 0u);
    if (high > low + 1)
        (void)syscall(SYS_close_range, (unsigned)low + 1, (unsigned)high - 1, 0u);
    (void)syscall(SYS_close_range, (unsigned)high + 1, ~0u, 0u);
}

static void
reset_signals(void)
{
    sigset_t none;
    (void)sigemptyset(&none);
    for (int signo = 1; signo < NSIG; signo++)
        (void)sigaction(signo, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
    (void)sigaction(SIGPIPE, &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static void
take(struct child *c, uint64_t bytes, struct cores_answer *answer)
{
    if (c->claim_count == CLAIMS_MAX) {
        answer->r = -ENOSPC;
        return;
    }
    if (c->has_fake)
        answer->r = fake_claim(&c->fake, (unsigned)c->gpu, bytes, &c->claims[c->claim_count]);
    else if (c->own_bytes + bytes > c->gpu_bytes)
        answer->r = -ENOMEM;
    if (answer->r < 0)
        return;
    if (c->claim_count++ == 0)
        c->first_bytes = bytes;
    c->own_bytes += bytes;
}

static void
give(struct child *c)
{
    if (c->claim_count == 0)
        return;
    for (; c->claim_count > 1; c->claim_count--)
        if (c->has_fake)
            fake_release(&c->fake, c->claims[c->claim_count - 1]);
    c->own_bytes = c->first_bytes;
}

static void
measure(struct child *c, struct cores_answer *answer)
{
    struct fake_memory memory;
    answer->own_bytes = c->own_bytes;
    answer->total_bytes = c->gpu_bytes;
    answer->free_bytes = c->gpu_bytes - c->own_bytes;
    if (!c->has_fake)
        return;
    fake_memory(&c->fake, (unsigned)c->gpu, &memory);
    answer->total_bytes = memory.total_bytes;
    answer->free_bytes = memory.free_bytes;
}

static void
keep_memory(struct child *c)
{
    if (!c->has_fake)
        return;
    fake_lock(&c->fake, NULL)[c->gpu].keeps_memory = true;
    fake_unlock(&c->fake);
}

static void
end_by(int signo)
{
    (void)setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    (void)sigaction(signo, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
    (void)kill(getpid(), signo);
}

/* True: it wants an answer. */
static bool
obey(struct child *c, const struct message *m, struct cores_answer *answer)
{
    switch (m->order) {
    case ORDER_HELLO:
        break;
    case ORDER_MEMORY:
        measure(c, answer);
        break;
    case ORDER_TAKE:
        take(c, m->bytes, answer);
        measure(c, answer);
        break;
    case ORDER_GIVE:
        give(c);
        measure(c, answer);
        break;
    case ORDER_STAY:
        c->stays = true;
        return false;
    case ORDER_KEEP:
        keep_memory(c);
        return false;
    case ORDER_NO_TERM:
        (void)sigaction(SIGTERM, &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
        (void)sigaction(SIGINT, &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
        return false;
    case ORDER_CRASH:
        end_by(SIGSEGV);
        return false;
    case ORDER_KILL:
        end_by(SIGKILL);
        return false;
    }
    return true;
}

/* Until the server or the core has gone; and then for ever, when it was told to stay. */
static void
serve(struct child *c)
{
    struct pollfd polled[] = {{.fd = c->fd, .events = POLLIN},
                              {.fd = c->lifeline, .events = POLLIN}};
    struct message m;
    for (;;) {
        if (poll(polled, ARRAY_SIZE(polled), -1) < 0)
            continue;
        struct cores_answer answer = {.pid = getpid()};
        ssize_t n = polled[0].revents ? recv(c->fd, &m, sizeof(m), 0) : (ssize_t)sizeof(m);
        bool gone = n != sizeof(m) || polled[1].revents;
        if (gone && !c->stays)
            return;
        if (gone)
            polled[n != sizeof(m) ? 0 : 1].fd = -1;
        else if (obey(c, &m, &answer))
            (void)send(c->fd, &answer, sizeof(answer), MSG_NOSIGNAL);
    }
}

static _Noreturn void
work(const struct cores *c, const char *name, int fd, int lifeline, int gpu)
{
    struct child child = {.fd = fd, .lifeline = lifeline, .gpu = gpu, .gpu_bytes = c->gpu_bytes};
    const char *dir = getenv(FAKE_NVML_ENV);
    set_title(name);
    child.has_fake = gpu >= 0 && dir && fake_open(&child.fake, dir, NULL) == 0;
    serve(&child);
    _exit(0);
}

/* The core: makes the workers, and is one itself when there is but one. */
static _Noreturn void
become_core(struct cores *c, int *theirs)
{
    int lifeline[2] = {-1, -1};
    reset_signals();
    (void)prctl(PR_SET_CHILD_SUBREAPER, 0);
    if (c->ranks > 1) {
        (void)sigaction(SIGCHLD, &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
        if (pipe(lifeline) < 0)
            _exit(1);
    }
    for (unsigned i = 1; i < c->member_count; i++) {
        char name[32];
        pid_t pid = fork();
        if (pid > 0)
            continue;
        if (pid < 0)
            _exit(1);
        (void)snprintf(name, sizeof(name), "VLLM::Worker_TP%u", i - 1);
        close_all_but(theirs[i], lifeline[0]);
        work(c, name, theirs[i], lifeline[0], c->members[i].gpu);
    }
    close_all_but(theirs[0], lifeline[1]);
    work(c, "VLLM::EngineCore", theirs[0], -1, c->members[0].gpu);
}

/* ---- in the server ---- */

static void
stop_member(struct member *m)
{
    loop_fd_stop(&m->watch);
    cleanup_close(&m->fd);
    m->fd = -1;
}

static void
on_answer(struct loop_fd *watch, unsigned events unused_arg)
{
    struct member *m = container_of(watch, struct member, watch);
    struct cores *c = m->cores;
    struct cores_answer answer;
    ssize_t n = recv(m->fd, &answer, sizeof(answer), MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n != sizeof(answer)) {
        stop_member(m);
        if (c->ranks > 1 && m->rank >= 0)
            c->died(c, m->rank);
        return;
    }
    if (m->rank < 0)
        return;
    c->answers[m->rank] = answer;
    assert(c->waiting > 0);
    if (--c->waiting == 0)
        c->told(c);
}

static void
on_core_end(struct proc_watch *watch, const struct proc_end *end)
{
    struct cores *c = container_of(watch, struct cores, watch);
    c->end = *end;
    c->died(c, -1);
}

static int
make_sockets(struct cores *c, const int *gpus, int *theirs)
{
    c->member_count = c->ranks > 1 ? c->ranks + 1 : 1;
    for (unsigned i = 0; i < c->member_count; i++) {
        struct member *m = &c->members[i];
        int ends[2];
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
            return -errno;
        m->cores = c;
        m->fd = ends[0];
        theirs[i] = ends[1];
        m->rank = c->ranks > 1 ? (int)i - 1 : 0;
        m->gpu = m->rank < 0 ? -1 : gpus[m->rank];
        m->watch.ready = on_answer;
    }
    return 0;
}

static int
watch_all(struct cores *c)
{
    c->watch.ended = on_core_end;
    c->core.fd = (int)syscall(SYS_pidfd_open, c->core.pid, 0);
    int r = c->core.fd < 0 ? -errno : proc_watch_start(c->loop, &c->watch, &c->core);
    for (unsigned i = 0; i < c->member_count && r == 0; i++)
        r = loop_fd_start(c->loop, &c->members[i].watch, c->members[i].fd, LOOP_READ);
    return r;
}

int
cores_start(struct cores *c, struct loop *loop, const int *gpus, struct err *reterr)
{
    int theirs[CORES_RANKS_MAX + 1] = {0};
    sigset_t all, before;
    c->loop = loop;
    int r = make_sockets(c, gpus, theirs);
    if (r < 0)
        return err_set_errno(reterr, -r, "cannot make sockets");
    (void)sigfillset(&all);
    (void)sigprocmask(SIG_SETMASK, &all, &before);
    c->core.pid = fork();
    if (c->core.pid == 0)
        become_core(c, theirs);
    r = c->core.pid < 0 ? -errno : 0;
    (void)sigprocmask(SIG_SETMASK, &before, NULL);
    for (unsigned i = 0; i < c->member_count; i++)
        (void)close(theirs[i]);
    if (r == 0)
        r = watch_all(c);
    return r < 0 ? err_set_errno(reterr, -r, "cannot start the engine's processes") : 0;
}

void
cores_finish(struct cores *c)
{
    struct proc_end end;
    for (unsigned i = 0; i < c->member_count; i++)
        stop_member(&c->members[i]);
    proc_watch_stop(&c->watch);
    if (!cores_run(c))
        return;
    /* They end when their sockets do; one that is stopped or was told to stay does not. */
    struct pollfd polled = {.fd = c->core.fd, .events = POLLIN};
    if (poll(&polled, 1, 1000) == 0)
        (void)!proc_signal(&c->core, SIGKILL);
    (void)!proc_wait(&c->core, &end);
    proc_close(&c->core);
}

static void
send_order(const struct member *m, enum order order, uint64_t bytes)
{
    const struct message message = {order, bytes};
    if (m->fd >= 0)
        (void)send(m->fd, &message, sizeof(message), MSG_NOSIGNAL | MSG_DONTWAIT);
}

void
cores_tell(struct cores *c, enum order order, uint64_t bytes)
{
    assert(c->waiting == 0);
    c->waiting = c->ranks;
    for (unsigned i = 0; i < c->member_count; i++)
        if (c->members[i].rank >= 0)
            send_order(&c->members[i], order, bytes);
}

void
cores_tell_one(struct cores *c, int rank, enum order order)
{
    for (unsigned i = 0; i < c->member_count; i++)
        if (c->members[i].rank == rank || (rank < 0 && i == 0))
            send_order(&c->members[i], order, 0);
}
