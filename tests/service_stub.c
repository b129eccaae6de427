/* A service that does what its arguments say, one after the other: for tests of supervisors.
 *
 *   ready, status=TEXT, extend=MS   tell it to $NOTIFY_SOCKET
 *   say=TEXT      a line on stdout; part=TEXT: without its end
 *   beat          a sign of life as often as $WATCHDOG_USEC asks for one, until SIGTERM
 *   wait          until SIGTERM; deaf: from here on SIGTERM is not heard
 *   gate=FIFO     until somebody writes to it
 *   stray         leaves a process behind, in a session of its own, which hears no SIGTERM
 *   once=FILE     only the first time that this is reached, the rest; else the rest is passed over up
 *                 to the word `then`
 *   exit=N, kill=SIGNO   the end; without one it is exit=0 */

#include "base/text.h"
#include "sys/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

static struct notify notify;
static int terminate_fd;

static void
wait_for_end(int beat_ms)
{
    struct pollfd fd = {.fd = terminate_fd, .events = POLLIN};
    struct signalfd_siginfo info;
    while (poll(&fd, 1, beat_ms) <= 0)
        (void)notify_send(&notify, "WATCHDOG=1");
    (void)!read(terminate_fd, &info, sizeof(info));
}

/* A tenth of what may pass between two; nobody wants one: none. */
static int
beat_ms(void)
{
    const char *usec = getenv("WATCHDOG_USEC");
    return usec ? (int)(strtoll(usec, NULL, 10) / 10000) : -1;
}

/* The first child ends at once, so that the second loses its parent. */
static void
leave_stray(void)
{
    int ends[2];
    char c;
    if (pipe(ends) < 0)
        abort();
    pid_t child = fork();
    if (child == 0 && fork() == 0) {
        (void)setsid();
        (void)close(ends[0]);
        (void)close(ends[1]);
        for (;;)
            (void)pause(); /* SIGTERM is blocked */
    }
    if (child == 0)
        _exit(0);
    (void)close(ends[1]);
    while (read(ends[0], &c, 1) < 0 && errno == EINTR)
        ;
    (void)close(ends[0]);
}

static void
wait_at(const char *fifo)
{
    char c;
    int fd = open(fifo, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, &c, 1) < 0)
        abort();
    (void)close(fd);
}

static bool
is_first_time(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd >= 0)
        (void)close(fd);
    return fd >= 0;
}

static void
take(const char *word, const char *value)
{
    int n = (int)strtol(value, NULL, 10);
    if (text_eq(word, "ready"))
        (void)notify_send(&notify, "READY=1");
    else if (text_starts(word, "status="))
        (void)notify_send(&notify, "STATUS=%s", value);
    else if (text_starts(word, "extend="))
        (void)notify_send(&notify, "EXTEND_TIMEOUT_USEC=%d", n * 1000);
    else if (text_starts(word, "say="))
        (void)dprintf(STDOUT_FILENO, "%s\n", value);
    else if (text_starts(word, "part="))
        (void)dprintf(STDOUT_FILENO, "%s", value);
    else if (text_eq(word, "beat"))
        wait_for_end(beat_ms());
    else if (text_eq(word, "wait"))
        wait_for_end(-1);
    else if (text_eq(word, "deaf"))
        terminate_fd = -1;
    else if (text_starts(word, "gate="))
        wait_at(value);
    else if (text_eq(word, "stray"))
        leave_stray();
    else if (text_starts(word, "exit="))
        _exit(n);
    else if (text_starts(word, "kill="))
        (void)raise(n);
    else if (!text_eq(word, "then"))
        abort();
}

int
main(int argc, char **argv)
{
    sigset_t terminate;
    (void)sigemptyset(&terminate);
    (void)sigaddset(&terminate, SIGTERM);
    (void)sigprocmask(SIG_BLOCK, &terminate, NULL);
    terminate_fd = signalfd(-1, &terminate, SFD_CLOEXEC);
    if (notify_open(&notify, NULL) < 0 || terminate_fd < 0)
        abort();
    for (int i = 1; i < argc; i++) {
        const char *equals = strchr(argv[i], '=');
        if (!text_starts(argv[i], "once="))
            take(argv[i], equals ? equals + 1 : "");
        else if (!is_first_time(equals + 1))
            while (i + 1 < argc && !text_eq(argv[i], "then"))
                i++;
    }
    return 0;
}
