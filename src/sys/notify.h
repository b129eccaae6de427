#pragma once

/* The protocol by which a service tells its supervisor how it is: datagrams of lines NAME=value,
 * sent to the socket that $NOTIFY_SOCKET names (sd_notify(3)). systemd hears it, and so does our
 * own supervisor. */

#include "base/err.h"

#include <sys/types.h>

#define NOTIFY_STATUS_MAX 256

/* The service's side. Nothing here waits for a supervisor that is too busy to hear, but
 * notify_insist(): a socket holds ten messages, and no more are taken. */
struct notify {
    int fd;            /* -1: nobody listens, and what is told is dropped */
    const char *state; /* told, and not heard yet; NULL: heard */
    bool status_unheard;
    char status[NOTIFY_STATUS_MAX];
};

/* Takes $NOTIFY_SOCKET out of the environment, so that no child speaks for us. Unset and empty, there
 * is none. ERR_VALUE: it is no name of a socket; ERR_NO_SUPERVISOR: nobody hears there. */
int notify_open(struct notify *ret_notify, struct err *reterr) must_check;
void notify_close(struct notify *notify);

/* Lines that may be lost, since they are said again anyway: WATCHDOG=1, EXTEND_TIMEOUT_USEC. Returns 0
 * or -errno. */
int notify_send(struct notify *notify, const char *fmt, ...) printf_like(2, 3);

/* What the supervisor must know, the latest of each: a state, "READY=1" or "STOPPING=1", which is not
 * copied, and a line for people, whose control bytes must be gone. What it does not hear now is kept
 * for notify_again(). */
void notify_state(struct notify *notify, const char *state);
void notify_status(struct notify *notify, const char *status);
void notify_again(struct notify *notify);
/* That the configuration is being read anew; to be followed by the state READY=1. */
void notify_reloading(struct notify *notify);
/* The last words: likewise, but waits until they are heard, two seconds at most. */
void notify_insist(struct notify *notify);

/* The supervisor's side. */
struct notify_message {
    bool ready, stopping, reloading, watchdog;
    uint64_t extend_us; /* 0: not asked for */
    pid_t main_pid;     /* 0: not told */
    int err;            /* ERRNO= */
    bool has_status;
    char status[NOTIFY_STATUS_MAX]; /* control bytes disarmed */
};

/* A socket at path for $NOTIFY_SOCKET, for this user alone; non-blocking. One that a dead supervisor
 * left is replaced, anything else is not. */
int notify_listen(const char *path, struct err *reterr) must_check;

/* The next message and the process that the kernel says sent it; -EAGAIN when there is none.
 * Lines that are not understood are passed over, as the protocol wants it. */
int notify_receive(int fd, struct notify_message *ret_message, pid_t *ret_pid) must_check;

void notify_parse(const char *text, size_t len, struct notify_message *ret_message);
