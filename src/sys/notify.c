#include "sys/notify.h"

#include "base/quantity.h"
#include "base/text.h"
#include "sys/clock.h"
#include "sys/root.h"
#include "sys/sock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* systemd refuses larger messages too. */
#define MESSAGE_MAX 4096
#define INSIST_US UINT64_C(2000000)

/* Abstract names have no file: '@' stands for a NUL. */
static int
connect_abstract(const char *name)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    size_t len = strlen(name);
    if (len > sizeof(addr.sun_path))
        return -ENAMETOOLONG;
    memcpy(addr.sun_path + 1, name + 1, len - 1);
    len += offsetof(struct sockaddr_un, sun_path);
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&addr, (socklen_t)len) < 0)
        return -errno;
    return take_fd(&fd);
}

static int
refuse_name(const char *name, struct err *reterr)
{
    int r = err_set(reterr, ERR_VALUE, "$NOTIFY_SOCKET is '%s', which names no socket", name);
    err_fix(reterr, "an absolute path, or @ and a name of at most 107 bytes; or unset it");
    return r;
}

/* What is well formed and leads nowhere is no mistake in the configuration, and the model has not
 * failed: what lacks is the supervisor, and it may come. To run unheard would be worse: one that has
 * heard no READY=1 kills what was loaded for minutes. */
static int
refuse_silence(const char *name, int r, struct err *reterr)
{
    int result = err_set(reterr, ERR_NO_SUPERVISOR, "nobody hears at $NOTIFY_SOCKET, '%s': %s",
                         name, strerror(-r));
    err_fix(reterr, "let the supervisor start it; or unset NOTIFY_SOCKET, to run without one");
    return result;
}

int
notify_open(struct notify *ret_notify, struct err *reterr)
{
    const char *name = getenv("NOTIFY_SOCKET");
    *ret_notify = (struct notify){.fd = -1};
    if (!name || !*name) /* scripts say so that there is none */
        return 0;
    int fd = -ENAMETOOLONG;
    if (name[0] == '/')
        fd = sock_connect_path(name, SOCK_DGRAM);
    else if (name[0] == '@' && name[1])
        fd = connect_abstract(name);
    if (fd == -ENAMETOOLONG)
        return refuse_name(name, reterr);
    if (fd < 0)
        return refuse_silence(name, fd, reterr);
    (void)unsetenv("NOTIFY_SOCKET");
    ret_notify->fd = fd;
    return 0;
}

void
notify_close(struct notify *notify)
{
    cleanup_close(&notify->fd);
}

int
notify_send(struct notify *notify, const char *fmt, ...)
{
    char text[MESSAGE_MAX];
    va_list args;
    if (notify->fd < 0)
        return 0;
    va_start(args, fmt);
    int len = vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    if (len < 0 || len >= (int)sizeof(text))
        return -EMSGSIZE;
    return send(notify->fd, text, (size_t)len, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* In one message: a state that is heard comes with its reason. */
static int
send_unheard(struct notify *notify)
{
    const char *state = notify->state ? notify->state : "";
    int r = 0;
    if (notify->status_unheard)
        r = notify_send(notify, "%s%sSTATUS=%s", state, *state ? "\n" : "", notify->status);
    else if (*state)
        r = notify_send(notify, "%s", state);
    if (r == 0) {
        notify->state = NULL;
        notify->status_unheard = false;
    }
    return r;
}

void
notify_again(struct notify *notify)
{
    (void)send_unheard(notify);
}

void
notify_state(struct notify *notify, const char *state)
{
    notify->state = state;
    notify_again(notify);
}

void
notify_status(struct notify *notify, const char *status)
{
    (void)snprintf(notify->status, sizeof(notify->status), "%s", status);
    notify->status_unheard = true;
    notify_again(notify);
}

/* systemd takes READY=1 for the end of a reload only with the time of its beginning. */
void
notify_reloading(struct notify *notify)
{
    (void)notify_send(notify, "RELOADING=1\nMONOTONIC_USEC=%llu",
                      (unsigned long long)clock_now_us());
}

void
notify_insist(struct notify *notify)
{
    struct pollfd fd = {.fd = notify->fd, .events = POLLOUT};
    uint64_t now, until = clock_now_us() + INSIST_US;
    while (send_unheard(notify) == -EAGAIN && (now = clock_now_us()) < until)
        (void)poll(&fd, 1, (int)((until - now) / 1000) + 1); /* others may be quicker */
}

int
notify_listen(const char *path, struct err *reterr)
{
    const int on = 1;
    _cleanup_close_ int fd = sock_bind_path(path, SOCK_DGRAM, 0600);
    int r = fd;
    if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0)
        r = -errno;
    if (r < 0)
        return root_err(reterr, r, "cannot listen for notifications at '%s'", path);
    return take_fd(&fd);
}

/* The sender as the kernel saw it; descriptors that came along are closed. */
static pid_t
take_sender(struct msghdr *message)
{
    pid_t pid = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
        if (c->cmsg_level != SOL_SOCKET)
            continue;
        if (c->cmsg_type == SCM_CREDENTIALS && c->cmsg_len == CMSG_LEN(sizeof(struct ucred))) {
            struct ucred cred;
            memcpy(&cred, CMSG_DATA(c), sizeof(cred));
            pid = cred.pid;
        } else if (c->cmsg_type == SCM_RIGHTS) {
            size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            for (size_t i = 0; i < count; i++) {
                int fd;
                memcpy(&fd, CMSG_DATA(c) + i * sizeof(fd), sizeof(fd));
                (void)close(fd);
            }
        }
    }
    return pid;
}

int
notify_receive(int fd, struct notify_message *ret_message, pid_t *ret_pid)
{
    char text[MESSAGE_MAX];
    /* Room for as many descriptors as one message may carry (253): those that find no room would
     * be lost, but a truncated control message could hide the credentials. */
    _Alignas(struct cmsghdr) char
        control[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(253 * sizeof(int))];
    struct iovec iov = {.iov_base = text, .iov_len = sizeof(text)};
    struct msghdr message = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof(control)};
    ssize_t len;
    do
        len = recvmsg(fd, &message, MSG_CMSG_CLOEXEC | MSG_TRUNC);
    while (len < 0 && errno == EINTR);
    if (len < 0)
        return -errno;
    pid_t pid = take_sender(&message);
    if ((size_t)len > sizeof(text) || (message.msg_flags & MSG_CTRUNC) || pid <= 0)
        return -EBADMSG;
    notify_parse(text, (size_t)len, ret_message);
    *ret_pid = pid;
    return 0;
}

static void
take_status(const char *value, struct notify_message *message)
{
    struct err told; /* cuts and disarms as every text from outside */
    (void)err_set(&told, ERR_VALUE, "%s", value);
    message->has_status = true;
    (void)snprintf(message->status, sizeof(message->status), "%.*s", NOTIFY_STATUS_MAX - 1,
                   told.what);
}

static void
take_line(const char *line, struct notify_message *message)
{
    uint64_t n;
    if (text_eq(line, "READY=1"))
        message->ready = true;
    else if (text_eq(line, "STOPPING=1"))
        message->stopping = true;
    else if (text_eq(line, "RELOADING=1"))
        message->reloading = true;
    else if (text_eq(line, "WATCHDOG=1"))
        message->watchdog = true;
    else if (text_starts(line, "STATUS="))
        take_status(line + strlen("STATUS="), message);
    else if (text_starts(line, "EXTEND_TIMEOUT_USEC=") &&
             quantity_parse_u64(line + strlen("EXTEND_TIMEOUT_USEC="), &n, NULL) == 0)
        message->extend_us = n;
    else if (text_starts(line, "MAINPID=") &&
             quantity_parse_u64(line + strlen("MAINPID="), &n, NULL) == 0 && n <= INT_MAX)
        message->main_pid = (pid_t)n;
    else if (text_starts(line, "ERRNO=") &&
             quantity_parse_u64(line + strlen("ERRNO="), &n, NULL) == 0 && n < 4096)
        message->err = (int)n;
}

void
notify_parse(const char *text, size_t len, struct notify_message *ret_message)
{
    char line[MESSAGE_MAX + 1];
    *ret_message = (struct notify_message){0};
    for (size_t at = 0; at < len;) {
        const char *end = memchr(text + at, '\n', len - at);
        size_t line_len = end ? (size_t)(end - text) - at : len - at;
        /* A line with a NUL inside is no line of this protocol. */
        if (line_len < sizeof(line) && !memchr(text + at, '\0', line_len)) {
            memcpy(line, text + at, line_len);
            line[line_len] = '\0';
            take_line(line, ret_message);
        }
        at += line_len + 1;
    }
}
