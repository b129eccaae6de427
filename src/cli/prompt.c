#include "cli/prompt.h"

#include "base/text.h"
#include "secrets/store.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

/* A terminal keeps 4095 bytes of a line and drops the rest without a word; the newline is one. */
#define LINE_MAX_BYTES 4095

struct prompt {
    const char *what;
    struct termios before;
    sigset_t signals, mask; /* those that are heard here; what was blocked before */
    int heard;              /* signalfd */
};

static void
say(const char *text)
{
    (void)!write(STDERR_FILENO, text, strlen(text));
}

static int
hide(struct prompt *p)
{
    struct termios hidden;
    if (tcgetattr(STDIN_FILENO, &p->before) < 0)
        return -errno;
    hidden = p->before;
    hidden.c_lflag &= ~(tcflag_t)(ECHO | ECHOE | ECHOK | ECHONL);
    hidden.c_lflag |= ICANON | ISIG;
    /* What was typed before we asked has been seen. */
    return tcsetattr(STDIN_FILENO, TCSAFLUSH, &hidden) < 0 ? -errno : 0;
}

static void
show(const struct prompt *p)
{
    (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &p->before);
    say("\n");
}

/* The terminal is as it was, and the signal does what it would have done. Back from a stop, the
 * question is asked again. */
static int
obey(struct prompt *p)
{
    struct signalfd_siginfo info;
    sigset_t one;
    if (read(p->heard, &info, sizeof(info)) != sizeof(info))
        return -errno;
    show(p);
    (void)sigemptyset(&one);
    (void)sigaddset(&one, (int)info.ssi_signo);
    (void)raise((int)info.ssi_signo);
    (void)sigprocmask(SIG_UNBLOCK, &one, NULL);
    (void)sigprocmask(SIG_BLOCK, &one, NULL);
    int r = hide(p);
    say(p->what);
    return r;
}

/* A line, or a signal and what it does. */
static int
wait_for_line(struct prompt *p)
{
    struct pollfd fds[] = {{.fd = STDIN_FILENO, .events = POLLIN},
                           {.fd = p->heard, .events = POLLIN}};
    for (;;) {
        int n = poll(fds, ARRAY_SIZE(fds), -1);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0 && fds[1].revents) {
            int r = obey(p);
            if (r < 0)
                return r;
        } else if (n > 0 && fds[0].revents) {
            return 0;
        }
    }
}

static int
take_line(const char *line, ssize_t len, struct secret *ret_value, struct err *reterr)
{
    if (len < 0)
        return err_set_errno(reterr, errno, "reading the terminal");
    if (len == LINE_MAX_BYTES)
        return err_set(reterr, ERR_SECRET_VALUE,
                       "a terminal takes no line of more than %d bytes: give it on standard input",
                       LINE_MAX_BYTES - 2);
    return secret_take(line, (size_t)len, ret_value, reterr);
}

static int
ask(struct prompt *p, struct secret *ret_value, struct err *reterr)
{
    char line[LINE_MAX_BYTES];
    int r = hide(p);
    say(p->what);
    if (r == 0)
        r = wait_for_line(p);
    ssize_t len = r == 0 ? read(STDIN_FILENO, line, sizeof(line)) : -1;
    show(p);
    r = r < 0 ? err_set_errno(reterr, -r, "asking on the terminal")
              : take_line(line, len, ret_value, reterr);
    explicit_bzero(line, sizeof(line));
    return r;
}

static int
open_prompt(struct prompt *p)
{
    static const int signals[] = {SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGTSTP};
    (void)sigemptyset(&p->signals);
    for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
        (void)sigaddset(&p->signals, signals[i]);
    (void)sigprocmask(SIG_BLOCK, &p->signals, &p->mask);
    p->heard = signalfd(-1, &p->signals, SFD_CLOEXEC);
    return p->heard < 0 ? -errno : 0;
}

static int
ask_twice(const char *what, struct secret *ret_value, struct err *reterr)
{
    struct prompt p = {.heard = -1};
    _cleanup_secret_ struct secret again = {0};
    char question[128];
    (void)snprintf(question, sizeof(question), "%s: ", what);
    int r = open_prompt(&p);
    if (r < 0)
        (void)err_set_errno(reterr, -r, "signals");
    p.what = question;
    if (r == 0)
        r = ask(&p, ret_value, reterr);
    p.what = "The same again: ";
    if (r == 0)
        r = ask(&p, &again, reterr);
    if (r == 0 && !text_eq(secret_reveal(ret_value), secret_reveal(&again)))
        r = err_set(reterr, ERR_SECRET_VALUE, "the two values differ: nothing was changed");
    cleanup_close(&p.heard);
    (void)sigprocmask(SIG_SETMASK, &p.mask, NULL);
    return r;
}

int
cli_ask_secret(struct cli *cli, const char *what, struct secret *ret_value)
{
    return isatty(STDIN_FILENO) ? ask_twice(what, ret_value, &cli->err)
                                : secret_read(STDIN_FILENO, ret_value, &cli->err);
}
