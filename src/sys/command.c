#include "sys/command.h"

#include "base/quantity.h"
#include "base/text.h"
#include "sys/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#define KILL_MS 1000          /* in which one that can be killed is gone */
#define OUTPUT_MAX (64 * KIB) /* of one whose output only matters when it fails */

struct run {
    struct proc proc;
    int pipe;
    uint64_t end_us;
    struct buf *out;
};

/* false: there is no more. */
static bool
take_some(struct run *run)
{
    char piece[4 * KIB];
    ssize_t n = read(run->pipe, piece, sizeof(piece));
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return true;
    if (n > 0)
        buf_add(run->out, piece, MIN((size_t)n, run->out->ceiling_bytes - run->out->len));
    return n > 0;
}

/* Until it has ended; what it started may go on, and keep the pipe. -ETIMEDOUT. */
static int
follow(struct run *run, struct proc_end *ret_end)
{
    struct pollfd polls[] = {{.fd = run->pipe, .events = POLLIN},
                             {.fd = run->proc.fd, .events = POLLIN}};
    for (;;) {
        uint64_t now_us = clock_now_us();
        if (now_us >= run->end_us)
            return -ETIMEDOUT;
        int left_ms = (int)MIN((run->end_us - now_us) / 1000 + 1, UINT64_C(60000));
        if (poll(polls, ARRAY_SIZE(polls), left_ms) < 0 && errno != EINTR)
            return -errno;
        if (polls[0].revents && !take_some(run))
            polls[0].fd = -1;
        else if (!polls[0].revents && polls[1].revents)
            return proc_reap(&run->proc, ret_end);
        polls[0].revents = polls[1].revents = 0;
    }
}

static int
give_up(struct run *run, const char *program, uint64_t limit_us, struct err *reterr)
{
    quantity_text text;
    struct proc_end end;
    struct pollfd ended = {.fd = run->proc.fd, .events = POLLIN};
    (void)!proc_signal(&run->proc, SIGKILL);
    /* One that hangs in the kernel cannot be killed: nobody waits for it. */
    if (poll(&ended, 1, KILL_MS) == 1)
        (void)!proc_reap(&run->proc, &end);
    int r = err_set(reterr, ERR_COMMAND_SLOW, "%s has not ended after %s", program,
                    quantity_print_us(limit_us, text));
    err_fix(reterr, "run it by hand, and see `dmesg`");
    return r;
}

int
command_run(const char *const *argv, uint64_t limit_us, struct buf *out, struct proc_end *ret_end,
            struct err *reterr)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return err_set_errno(reterr, errno, "cannot run '%s'", argv[0]);
    _cleanup_close_ int hear = ends[0], tell = ends[1];
    const struct proc_wish wish = {
        .argv = argv, .fds = {-1, tell, tell}, .new_session = true, .death_signal = SIGKILL};
    struct run run = {.pipe = hear, .end_us = clock_now_us() + limit_us, .out = out};
    int r = proc_start(&wish, &run.proc, reterr);
    cleanup_close(&tell);
    if (r < 0)
        return r;
    r = follow(&run, ret_end);
    if (r == -ETIMEDOUT)
        r = give_up(&run, argv[0], limit_us, reterr);
    else if (r < 0)
        r = err_set_errno(reterr, -r, "waiting for '%s'", argv[0]);
    proc_close(&run.proc);
    return r;
}

/* The last that is not empty. */
static const char *
last_line(struct buf *out)
{
    while (out->len && strchr("\n\r ", out->data[out->len - 1]))
        buf_truncate(out, out->len - 1);
    const char *newline = strrchr(out->data, '\n');
    return newline ? newline + 1 : out->data;
}

int
command_insist(const char *const *argv, uint64_t limit_us, struct err *reterr)
{
    _cleanup_buf_ struct buf out = BUF_INIT(OUTPUT_MAX);
    struct proc_end end = {0};
    char text[64];
    int r = command_run(argv, limit_us, &out, &end, reterr);
    if (r < 0 || (!end.killed && end.status == 0))
        return r;
    const char *said = last_line(&out);
    return err_set(reterr, ERR_COMMAND_FAILED, "%s ended with %s%s%s", argv[0],
                   proc_end_print(&end, text), *said ? ": " : "", said);
}
