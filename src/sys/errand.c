#include "sys/errand.h"

#include "sys/clock.h"
#include "sys/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define KILL_MS 1000 /* in which one that can be killed is gone */

bool
errand_tell(int to, const void *bytes, size_t len)
{
    for (const char *from = bytes; len;) {
        ssize_t n = write(to, from, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        from += n;
        len -= (size_t)n;
    }
    return true;
}

/* To the end of what it says. */
static int
hear(int from, uint64_t end_us, struct buf *out)
{
    char piece[4 * KIB];
    for (;;) {
        uint64_t now_us = clock_now_us();
        struct pollfd p = {.fd = from, .events = POLLIN};
        if (now_us >= end_us)
            return -ETIMEDOUT;
        if (poll(&p, 1, (int)MIN((end_us - now_us) / 1000 + 1, UINT64_C(60000))) <= 0)
            continue;
        ssize_t n = read(from, piece, sizeof(piece));
        if (n > 0)
            buf_add(out, piece, (size_t)n);
        else if (n == 0 || (errno != EINTR && errno != EAGAIN))
            return n < 0 ? -errno : buf_error(out);
    }
}

/* 0: it ended by itself, and well. */
static int
end(pid_t pid, int r)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    siginfo_t info = {0};
    if (r < 0)
        (void)kill(pid, SIGKILL); /* ours, and not reaped yet */
    (void)poll(&p, 1, KILL_MS);
    int waited = waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG);
    cleanup_close(&fd);
    if (r < 0)
        return r;
    bool well = waited == 0 && info.si_pid == pid && info.si_code == CLD_EXITED && !info.si_status;
    return well ? 0 : -ECHILD;
}

int
errand_run(void (*work)(int to, const void *arg), const void *arg, uint64_t limit_us,
           struct buf *out)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    _cleanup_close_ int from = ends[0], to = ends[1];
    pid_t pid = proc_fork(&to);
    if (pid == 0) {
        work(to, arg);
        _exit(0);
    }
    if (pid < 0)
        return pid;
    cleanup_close(&to);
    return end(pid, hear(from, clock_now_us() + limit_us, out));
}
