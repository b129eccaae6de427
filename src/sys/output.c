#include "sys/output.h"

#include "base/quantity.h"
#include "sys/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

struct running {
    struct proc proc;
    int out, words; /* its 1 and 2 */
};

static int
start(const struct output_wish *wish, struct running *ret_running, struct err *reterr)
{
    int out[2] = {-1, -1}, words[2] = {-1, -1};
    int r = pipe2(out, O_CLOEXEC) < 0 || pipe2(words, O_CLOEXEC) < 0
                ? err_set_errno(reterr, errno, "a pipe to %s", wish->argv[0])
                : 0;
    const struct proc_wish child = {
        .argv = wish->argv, .fds = {wish->in, out[1], words[1]}, .death_signal = SIGKILL};
    if (r == 0)
        r = proc_start(&child, &ret_running->proc, reterr);
    cleanup_close(&out[1]);
    cleanup_close(&words[1]);
    ret_running->out = out[0];
    ret_running->words = words[0];
    return r;
}

/* What is there now. False: nothing more comes. */
static bool
read_some(int fd, struct buf *to)
{
    char spill[512];
    size_t room = to->ceiling_bytes - to->len;
    char *at = room && !to->failed ? buf_reserve(to, MIN(room, (size_t)(64 * KIB))) : NULL;
    ssize_t n = read(fd, at ? at : spill, at ? MIN(room, (size_t)(64 * KIB)) : sizeof(spill));
    if (n > 0 && at)
        buf_commit(to, (size_t)n);
    to->failed |= n > 0 && !at;
    return n > 0 || (n < 0 && errno == EINTR);
}

/* To the end of both. */
static int
listen_to(const struct running *running, uint64_t until, struct buf *out, struct buf *words)
{
    struct pollfd fds[] = {{.fd = running->out, .events = POLLIN},
                           {.fd = running->words, .events = POLLIN}};
    struct buf *const to[] = {out, words};
    while (fds[0].fd >= 0 || fds[1].fd >= 0) {
        uint64_t now = clock_now_us();
        if (now >= until)
            return -ETIMEDOUT;
        int n = poll(fds, ARRAY_SIZE(fds), (int)((until - now) / 1000 + 1));
        if (n < 0 && errno != EINTR)
            return -errno;
        for (size_t i = 0; n > 0 && i < ARRAY_SIZE(fds); i++)
            if (fds[i].revents && !read_some(fds[i].fd, to[i]))
                fds[i].fd = -1;
    }
    return 0;
}

/* One that has closed its output may go on; it has until the same time. */
static int
wait_for(struct proc *proc, uint64_t until, struct proc_end *ret_end)
{
    struct pollfd fd = {.fd = proc->fd, .events = POLLIN};
    for (;;) {
        uint64_t now = clock_now_us();
        int n = now < until ? poll(&fd, 1, (int)((until - now) / 1000 + 1)) : 0;
        if (n > 0)
            return proc_wait(proc, ret_end);
        if (n == 0)
            return -ETIMEDOUT;
        if (errno != EINTR)
            return -errno;
    }
}

static int
finish(struct running *running, uint64_t limit_us, struct buf *out, struct buf *words,
       struct proc_end *ret_end)
{
    uint64_t until = clock_now_us() + limit_us;
    int r = listen_to(running, until, out, words);
    if (r == 0)
        r = wait_for(&running->proc, until, ret_end);
    if (r < 0) {
        (void)!proc_signal(&running->proc, SIGKILL);
        (void)!proc_wait(&running->proc, ret_end);
    }
    proc_close(&running->proc);
    return r;
}

int
output_read(const struct output_wish *wish, struct buf *out, struct buf *words,
            struct proc_end *ret_end, struct err *reterr)
{
    struct running running = {.proc = {.fd = -1}, .out = -1, .words = -1};
    quantity_text text;
    int r = start(wish, &running, reterr);
    if (r == 0) {
        r = finish(&running, wish->limit_us, out, words, ret_end);
        if (r == -ETIMEDOUT)
            (void)err_set_errno(reterr, ETIMEDOUT, "%s was killed after %s", wish->argv[0],
                                quantity_print_us(wish->limit_us, text));
        else if (r < 0)
            (void)err_set_errno(reterr, -r, "%s", wish->argv[0]);
    }
    cleanup_close(&running.out);
    cleanup_close(&running.words);
    return r;
}

const char *
output_last_line(struct buf *words)
{
    while (words->len && words->data[words->len - 1] == '\n')
        buf_truncate(words, words->len - 1);
    const char *newline = strrchr(words->data, '\n');
    return newline ? newline + 1 : words->data;
}
