#pragma once

/* The protocol by which a service tells its supervisor how it is: datagrams of lines NAME=value,
 * sent to the socket that $NOTIFY_SOCKET names (sd_notify(3)). systemd hears it, and so does our
 * own supervisor. */

#include "base/err.h"

#include <sys/types.h>

/* The service's side. */
struct notify {
    int fd; /* -1: nobody listens, and what is sent is dropped */
};

/* Takes $NOTIFY_SOCKET out of the environment, so that no child speaks for us. */
int notify_open(struct notify *ret_notify, struct err *reterr) must_check;
void notify_close(struct notify *notify);

/* Sends lines: notify_send(&n, "READY=1\nSTATUS=%s", text). Control bytes in arguments would be
 * lines of their own: clean them first. A supervisor that is too busy to hear loses the message.
 * Returns 0 or -errno. */
int notify_send(struct notify *notify, const char *fmt, ...) printf_like(2, 3);
/* What is said once and must arrive: waits for a busy supervisor, two seconds at most. A socket holds
 * ten messages. */
int notify_insist(struct notify *notify, const char *fmt, ...) printf_like(2, 3);

/* The supervisor's side. */
#define NOTIFY_STATUS_MAX 256

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
