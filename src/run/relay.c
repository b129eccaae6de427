#include "run/relay.h"

#include "sys/log.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#define RETRY_US UINT64_C(50000)
#define LAST_WAIT_MS 200

/* The descriptor may block, and it is not ours to change that. But a pipe that poll() calls writable
 * has room for PIPE_BUF bytes, and a socket or terminal for no less. */
static ssize_t
write_some(struct relay *relay, const char *bytes, size_t len, int wait_ms)
{
    struct pollfd fd = {.fd = relay->fd, .events = POLLOUT};
    if (poll(&fd, 1, wait_ms) != 1)
        return 0;
    if (fd.revents & (POLLERR | POLLNVAL))
        return -1; /* nobody will ever read it */
    ssize_t n = write(relay->fd, bytes, MIN(len, (size_t)PIPE_BUF));
    if (n >= 0)
        return n;
    return errno == EAGAIN || errno == EINTR ? 0 : -1;
}

static size_t
kept(const struct relay *relay)
{
    return relay->kept.len - relay->kept_at;
}

static void
forget(struct relay *relay)
{
    buf_finish(&relay->kept);
    buf_init(&relay->kept, RELAY_KEPT_BYTES);
    relay->kept_at = 0;
}

static void
tell_lost(struct relay *relay)
{
    if (relay->lost && kept(relay) == 0)
        buf_printf(&relay->kept, "(%llu lines were lost here: nobody read them in time)\n",
                   (unsigned long long)relay->lost);
    relay->lost = 0;
}

/* False while there is more than is taken. */
static bool
flush(struct relay *relay, int wait_ms)
{
    while (kept(relay) > 0) {
        ssize_t n = write_some(relay, relay->kept.data + relay->kept_at, kept(relay), wait_ms);
        if (n == 0)
            return false;
        relay->kept_at += n < 0 ? kept(relay) : (size_t)n;
        if (kept(relay) > 0)
            continue;
        forget(relay);
        tell_lost(relay);
    }
    return true;
}

static void
on_retry(struct loop_timer *timer)
{
    struct relay *relay = container_of(timer, struct relay, retry);
    if (!flush(relay, 0))
        loop_timer_start(relay->loop, timer, RETRY_US, 0);
}

/* All of it or nothing. */
static void
keep(struct relay *relay, const char *text, size_t len)
{
    buf_consume(&relay->kept, relay->kept_at);
    relay->kept_at = 0;
    if (relay->lost || relay->kept.len + len > RELAY_KEPT_BYTES)
        relay->lost++;
    else
        buf_add(&relay->kept, text, len);
    if (!loop_timer_is_set(&relay->retry))
        loop_timer_start(relay->loop, &relay->retry, RETRY_US, 0);
}

static void
pass_on(struct relay *relay, const char *text, size_t len)
{
    ssize_t n = kept(relay) ? 0 : write_some(relay, text, len, 0);
    if (n >= 0 && (size_t)n < len)
        keep(relay, text + n, len - (size_t)n);
}

void
relay_line(struct relay *relay, const char *line, size_t len)
{
    char text[PIPE_BUF];
    len = MIN(len, sizeof(text) - 1);
    memcpy(text, line, len);
    text[len] = '\n';
    pass_on(relay, text, len + 1);
}

void
relay_text(struct relay *relay, const char *text, size_t len)
{
    pass_on(relay, text, len);
}

bool
relay_is_behind(const struct relay *relay)
{
    return kept(relay) > 0;
}

static void
on_own_line(const char *line, size_t len, void *arg)
{
    pass_on(arg, line, len);
}

void
relay_init(struct relay *relay, struct loop *loop, int fd)
{
    *relay = (struct relay){.loop = loop, .fd = fd, .kept = BUF_INIT(RELAY_KEPT_BYTES)};
    relay->retry.expired = on_retry;
    log_divert(on_own_line, relay);
}

void
relay_finish(struct relay *relay)
{
    if (!relay->loop)
        return;
    log_divert(NULL, NULL);
    (void)flush(relay, LAST_WAIT_MS);
    loop_timer_stop(&relay->retry);
    buf_finish(&relay->kept);
}
