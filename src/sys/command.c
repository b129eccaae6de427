#include "sys/command.h"

#include "base/quantity.h"
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
    struct pollfd polls[3]; /* what it says, twice, and its end */
    struct buf *to[2];
    uint64_t end_us;
};

/* false: there is no more. */
static bool
take_some(int fd, struct buf *to)
{
    char piece[4 * KIB];
    ssize_t n = read(fd, piece, sizeof(piece));
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return true;
    size_t room = to->ceiling_bytes - to->len, len = n > 0 ? (size_t)n : 0;
    buf_add(to, piece, MIN(len, room));
    to->failed |= len > room;
    return n > 0;
}

/* Whether something was said, or was the last of it. */
static bool
listen_to(struct run *run)
{
    bool heard = false;
    for (size_t i = 0; i < ARRAY_SIZE(run->to); i++) {
        if (!run->polls[i].revents)
            continue;
        heard = true;
        if (!take_some(run->polls[i].fd, run->to[i]))
            run->polls[i].fd = -1;
    }
    return heard;
}

/* Until it has ended; what it started may go on, and keep the pipe. -ETIMEDOUT. */
static int
follow(struct run *run, struct proc_end *ret_end)
{
    for (;;) {
        uint64_t now_us = clock_now_us();
        if (now_us >= run->end_us)
            return -ETIMEDOUT;
        int left_ms = (int)MIN((run->end_us - now_us) / 1000 + 1, UINT64_C(60000));
        int n = poll(run->polls, ARRAY_SIZE(run->polls), left_ms);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0 && !listen_to(run) && run->polls[2].revents)
            return proc_reap(&run->proc, ret_end);
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

/* With the reading ends of its output. */
static int
start(const struct command *c, struct run *run, struct err *reterr)
{
    int out[2] = {-1, -1}, words[2] = {-1, -1};
    int r = pipe2(out, O_CLOEXEC) < 0 || (c->words && pipe2(words, O_CLOEXEC) < 0)
                ? err_set_errno(reterr, errno, "a pipe to %s", c->argv[0])
                : 0;
    const struct proc_wish wish = {.argv = c->argv,
                                   .fds = {c->in, out[1], c->words ? words[1] : out[1]},
                                   .new_session = true,
                                   .death_signal = SIGKILL};
    if (r == 0)
        r = proc_start(&wish, &run->proc, reterr);
    cleanup_close(&out[1]);
    cleanup_close(&words[1]);
    run->polls[0] = (struct pollfd){.fd = out[0], .events = POLLIN};
    run->polls[1] = (struct pollfd){.fd = words[0], .events = POLLIN};
    run->polls[2] = (struct pollfd){.fd = run->proc.fd, .events = POLLIN};
    return r;
}

int
command_run(const struct command *command, struct proc_end *ret_end, struct err *reterr)
{
    struct run run = {.proc = {.fd = -1},
                      .to = {command->out, command->words},
                      .end_us = clock_now_us() + command->limit_us};
    int r = start(command, &run, reterr);
    int ends[] = {run.polls[0].fd, run.polls[1].fd};
    if (r == 0) {
        r = follow(&run, ret_end);
        if (r == -ETIMEDOUT)
            r = give_up(&run, command->argv[0], command->limit_us, reterr);
        else if (r < 0)
            r = err_set_errno(reterr, -r, "waiting for '%s'", command->argv[0]);
        proc_close(&run.proc);
    }
    cleanup_close(&ends[0]);
    cleanup_close(&ends[1]);
    return r;
}

const char *
command_last_line(struct buf *said)
{
    while (said->len && strchr("\n\r ", said->data[said->len - 1]))
        buf_truncate(said, said->len - 1);
    const char *newline = strrchr(said->data, '\n');
    return newline ? newline + 1 : said->data;
}

int
command_insist(const char *const *argv, uint64_t limit_us, struct err *reterr)
{
    _cleanup_buf_ struct buf out = BUF_INIT(OUTPUT_MAX);
    const struct command command = {.argv = argv, .in = -1, .limit_us = limit_us, .out = &out};
    struct proc_end end = {0};
    char text[64];
    int r = command_run(&command, &end, reterr);
    if (r < 0 || (!end.killed && end.status == 0))
        return r;
    const char *said = command_last_line(&out);
    return err_set(reterr, ERR_COMMAND_FAILED, "%s ended with %s%s%s", argv[0],
                   proc_end_print(&end, text), *said ? ": " : "", said);
}
