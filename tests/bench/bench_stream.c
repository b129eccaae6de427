/* How late the parts of a stream come, through a proxy or without one. Both ends are here: an
 * engine that streams, and the client that asks for it, so that one clock sees each event leave
 * and arrive; an engine's own timers are coarser than what a proxy adds. One stream at a time,
 * on a connection that is kept.
 *
 *     bench_stream                     without a proxy: what the rig itself takes
 *     bench_stream PORT ENGINE [KEY]   through the proxy at PORT of 127.0.0.1, which asks ENGINE there
 *
 * Prints a line for each: its name, then microseconds at 50 and 99 of 100 and at the worst, then
 * of how many.
 *
 *     first   from the request to the first event
 *     later   from an event's leaving to its arrival
 *     gap     by how much the time between two events grew on the way
 *     slow    (one number) events that took 35 ms and more: Nagle's algorithm and delayed acknowledgements
 *             make 40 of these together */

#include "base/buf.h"
#include "sys/clock.h"
#include "sys/sock.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum {
    SHORT_STREAMS = 1000, /* of one event: for `first` */
    LONG_STREAMS = 5,     /* for the rest */
    LONG_EVENTS = 200,
    WARM_STREAMS = 20,
    SPACING_US = 2000,
    SLOW_US = 35000,
    PATIENCE_MS = 5000,
    LINKS = 8, /* that a proxy may have open */
};

static const char answer_head[] = "HTTP/1.1 200 OK\r\n"
                                  "Content-Type: text/event-stream; charset=utf-8\r\n"
                                  "Transfer-Encoding: chunked\r\n\r\n";
static const char event[] =
    "data: {\"id\":\"chatcmpl-1f0c2f4f2a6b4c0e\",\"object\":\"chat.completion.chunk\",\"created\":"
    "1763700000,\"model\":\"s\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" word\"},"
    "\"logprobs\":null,\"finish_reason\":null}]}\n\n";
static const char done[] = "data: [DONE]\n\n";

struct samples {
    const char *name;
    double *us;
    size_t count, room;
};

struct link {
    int fd;
    struct buf in;
};

struct rig {
    int listener, timer, client;
    struct link links[LINKS];
    struct link *streams; /* the link whose request is being answered */

    unsigned events, sent, came; /* of this stream */
    uint64_t asked_us, sent_us[LONG_EVENTS], came_us[LONG_EVENTS];
    char tail[5]; /* the last bytes that came */
};

static void
fail(const char *what)
{
    (void)fprintf(stderr, "bench_stream: %s: %s\n", what, errno ? strerror(errno) : "it ended");
    exit(1);
}

/* ---- what was measured ---- */

static void
add(struct samples *s, double us)
{
    assert(s->count < s->room);
    s->us[s->count++] = us;
}

static int
by_size(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static void
show(struct samples *s)
{
    qsort(s->us, s->count, sizeof(s->us[0]), by_size);
    (void)printf("%-6s %.0f %.0f %.0f %zu\n", s->name, s->us[s->count / 2],
                 s->us[s->count * 99 / 100], s->us[s->count - 1], s->count);
    free(s->us);
}

static struct samples
samples_of(const char *name, size_t room)
{
    double *us = calloc(room, sizeof(*us));
    if (!us)
        fail("memory");
    return (struct samples){name, us, 0, room};
}

/* ---- the engine ---- */

static void
say(int fd, const void *bytes, size_t len)
{
    if (send(fd, bytes, len, MSG_NOSIGNAL) != (ssize_t)len)
        fail("cannot send");
}

static void
add_chunk(struct buf *out, const char *text)
{
    buf_printf(out, "%zx\r\n%s\r\n", strlen(text), text);
}

static void
set_timer(struct rig *rig, bool on)
{
    const struct timespec every = {.tv_nsec = on ? SPACING_US * 1000 : 0};
    const struct itimerspec times = {every, every};
    if (timerfd_settime(rig->timer, 0, &times, NULL) < 0)
        fail("cannot set a timer");
}

/* The first one goes with the head, as engines have it at once. */
static void
send_event(struct rig *rig)
{
    _cleanup_buf_ struct buf out = BUF_INIT(4 * KIB);
    if (rig->sent == 0)
        buf_add_str(&out, answer_head);
    add_chunk(&out, event);
    rig->sent_us[rig->sent++] = clock_now_us();
    say(rig->streams->fd, out.data, out.len);
}

static void
end_stream(struct rig *rig)
{
    _cleanup_buf_ struct buf out = BUF_INIT(4 * KIB);
    add_chunk(&out, done);
    buf_add_str(&out, "0\r\n\r\n");
    say(rig->streams->fd, out.data, out.len);
    rig->streams = NULL;
    set_timer(rig, false);
}

static void
on_timer(struct rig *rig)
{
    uint64_t beats;
    if (read(rig->timer, &beats, sizeof(beats)) != (ssize_t)sizeof(beats) || !rig->streams)
        return;
    if (rig->sent < rig->events)
        send_event(rig);
    else
        end_stream(rig);
}

/* A request, with its body, as the proxy writes it. */
static bool
is_whole(const struct buf *in)
{
    const char *end = strstr(in->data, "\r\n\r\n"),
               *length = strcasestr(in->data, "content-length:");
    return end && length && length < end &&
           in->len >=
               (size_t)(end + 4 - in->data) + strtoul(length + strlen("content-length:"), NULL, 10);
}

static void
on_engine(struct rig *rig, struct link *link)
{
    void *to = buf_reserve(&link->in, 4 * KIB);
    ssize_t n = to ? recv(link->fd, to, 4 * KIB, 0) : -1;
    if (n <= 0) {
        (void)close(link->fd);
        link->fd = -1;
        buf_clear(&link->in);
        return;
    }
    buf_commit(&link->in, (size_t)n);
    if (!is_whole(&link->in))
        return;
    buf_clear(&link->in);
    rig->streams = link;
    send_event(rig);
    if (rig->events == 1)
        end_stream(rig);
    else
        set_timer(rig, true);
}

static void
on_listener(struct rig *rig)
{
    struct sockaddr_storage from;
    socklen_t len = sizeof(from);
    int fd = accept4(rig->listener, (struct sockaddr *)&from, &len, SOCK_CLOEXEC), one = 1;
    for (size_t i = 0; i < LINKS && fd >= 0; i++) {
        if (rig->links[i].fd >= 0)
            continue;
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        rig->links[i].fd = fd;
        return;
    }
    fail("more connections than are expected");
}

/* ---- the client ---- */

static void
ask(struct rig *rig, const char *key)
{
    static const char body[] = "{\"model\":\"s\",\"stream\":true,\"messages\":[{\"role\":\"user\","
                               "\"content\":\"Tell me a story.\"}]}";
    _cleanup_buf_ struct buf out = BUF_INIT(4 * KIB);
    buf_printf(&out, "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n");
    if (key)
        buf_printf(&out, "Authorization: Bearer %s\r\n", key);
    buf_printf(&out, "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
               strlen(body), body);
    rig->asked_us = clock_now_us();
    say(rig->client, out.data, out.len);
}

/* Events end with an empty line of two bytes, heads and chunks with others. */
static void
on_client(struct rig *rig)
{
    char bytes[16 * KIB];
    ssize_t n = recv(rig->client, bytes, sizeof(bytes), 0);
    uint64_t now_us = clock_now_us();
    if (n <= 0)
        fail("the answer broke off");
    for (ssize_t i = 0; i < n; i++) {
        memmove(rig->tail, rig->tail + 1, sizeof(rig->tail) - 1);
        rig->tail[sizeof(rig->tail) - 1] = bytes[i];
        bool ends = rig->tail[3] == '\n' && rig->tail[4] == '\n';
        if (ends && rig->came < rig->events)
            rig->came_us[rig->came++] = now_us;
    }
}

static bool
has_ended(const struct rig *rig)
{
    return memcmp(rig->tail, "0\r\n\r\n", sizeof(rig->tail)) == 0;
}

/* ---- both ---- */

static void
turn(struct rig *rig)
{
    struct pollfd fds[3 + LINKS] = {{.fd = rig->client}, {.fd = rig->timer}, {.fd = rig->listener}};
    for (size_t i = 0; i < LINKS; i++)
        fds[3 + i].fd = rig->links[i].fd;
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        fds[i].events = POLLIN;
    if (poll(fds, ARRAY_SIZE(fds), PATIENCE_MS) <= 0)
        fail("nothing comes");
    if (fds[0].revents)
        on_client(rig);
    if (fds[1].revents)
        on_timer(rig);
    if (fds[2].revents)
        on_listener(rig);
    for (size_t i = 0; i < LINKS; i++)
        if (fds[3 + i].revents)
            on_engine(rig, &rig->links[i]);
}

static void
stream(struct rig *rig, unsigned events, const char *key)
{
    rig->events = events;
    rig->sent = rig->came = 0;
    memset(rig->tail, 0, sizeof(rig->tail));
    ask(rig, key);
    while (!has_ended(rig))
        turn(rig);
    if (rig->came != events || rig->sent != events)
        fail("events are missing");
}

static void
measure(struct rig *rig, const char *key)
{
    struct samples first = samples_of("first", SHORT_STREAMS);
    struct samples later = samples_of("later", LONG_STREAMS * LONG_EVENTS);
    struct samples gap = samples_of("gap", LONG_STREAMS * LONG_EVENTS);
    unsigned slow = 0;
    for (int i = 0; i < WARM_STREAMS; i++)
        stream(rig, 1, key);
    for (int i = 0; i < SHORT_STREAMS; i++) {
        stream(rig, 1, key);
        add(&first, (double)(rig->came_us[0] - rig->asked_us));
    }
    for (int i = 0; i < LONG_STREAMS; i++) {
        stream(rig, LONG_EVENTS, key);
        double before = (double)(rig->came_us[0] - rig->sent_us[0]);
        for (unsigned k = 1; k < LONG_EVENTS; k++) {
            double took = (double)(rig->came_us[k] - rig->sent_us[k]);
            add(&later, took);
            add(&gap, took - before);
            slow += took >= SLOW_US;
            before = took;
        }
    }
    show(&first);
    show(&later);
    show(&gap);
    (void)printf("slow   %u\n", slow);
}

static int
listen_at(const char *port)
{
    sock_addr_text text;
    struct sock_addr addr;
    struct err error;
    (void)snprintf(text, sizeof(text), "127.0.0.1:%s", port);
    int fd = sock_addr_parse(text, &addr, &error) < 0 ? -1 : sock_listen(&addr, 0, &error);
    if (fd < 0)
        fail(error.what);
    return fd;
}

static int
connect_to(const char *port)
{
    const struct sockaddr_in addr = {.sin_family = AF_INET,
                                     .sin_port = htons((uint16_t)strtoul(port, NULL, 10)),
                                     .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) < 0 ||
        connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0)
        fail("cannot connect");
    return fd;
}

int
main(int argc, char **argv)
{
    static struct rig rig;
    char own[16];
    rig.listener = listen_at(argc > 2 ? argv[2] : "0");
    rig.timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    (void)snprintf(own, sizeof(own), "%d", sock_bound_port(rig.listener));
    for (size_t i = 0; i < LINKS; i++) {
        rig.links[i].fd = -1;
        buf_init(&rig.links[i].in, 64 * KIB);
    }
    rig.client = connect_to(argc > 1 ? argv[1] : own);
    measure(&rig, argc > 3 ? argv[3] : NULL);
    return 0;
}
