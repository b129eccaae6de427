#include "role/losses.h"

#include "sys/clock.h"
#include "sys/log.h"

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define TELL_US UINT64_C(60000000)

/* Half of a pipe that nobody reads is left to the log, whose lines wait for room. */
static bool
is_half_full(int fd)
{
    int unread, size = fcntl(fd, F_GETPIPE_SZ);
    return size > 0 && ioctl(fd, FIONREAD, &unread) == 0 && unread > size / 2;
}

bool
losses_has_room(int fd)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLOUT};
    return poll(&poll_fd, 1, 0) == 1 && (poll_fd.revents & POLLOUT) && !is_half_full(fd);
}

uint64_t
losses_take(struct losses *l, uint64_t lost)
{
    uint64_t count = lost - l->told;
    if (count > 0 && !losses_has_room(STDERR_FILENO))
        return 0;
    l->told = lost;
    return count;
}

void
losses_tell(struct losses *l, uint64_t lost, const char *of, const char *why)
{
    uint64_t now_us = lost == l->told ? 0 : clock_now_us();
    bool is_early = l->told_us && now_us - l->told_us < TELL_US;
    uint64_t count = is_early ? 0 : losses_take(l, lost);
    if (count == 0)
        return;
    log_warning("%s lacks %" PRIu64 " request%s: %s", of, count, count == 1 ? "" : "s", why);
    l->told_us = now_us;
}
