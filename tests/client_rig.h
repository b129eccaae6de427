#pragma once

/* The client against a server that does exactly what a test says, byte by byte. All share a loop. */

#include "http/client.h"
#include "loop_rig.h"
#include "sys/sock.h"
#include "tap.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

struct rig {
    struct loop_rig turn;
    struct http_client *client;
    struct http_client_config config;
    sock_addr_text address;
    int listener;
};

static struct rig *rig;

/* Runs the loop until something holds. */
#define WAIT(condition) LOOP_WAIT(&rig->turn, condition)

static inline void
run_for(uint64_t us)
{
    loop_rig_run(&rig->turn, us);
}

static inline bool
rig_start(struct rig *r, const char *where)
{
    struct sock_addr addr;
    rig = r;
    if (!loop_rig_open(&r->turn) || sock_addr_parse(where, &addr, NULL) < 0)
        return false;
    r->listener = sock_listen(&addr, 0600, NULL);
    if (r->listener < 0)
        return false;
    if (addr.family == AF_INET)
        addr.port = (uint16_t)sock_bound_port(r->listener);
    (void)sock_addr_print(&addr, r->address);
    return http_client_new(r->turn.loop, r->address, "h", &r->config, &r->client, NULL) == 0;
}

static inline void
finish_rig(struct rig **rp)
{
    struct rig *r = *rp;
    if (r->client)
        CHECK_EQ(http_client_counts(r->client)->in_flight, 0);
    http_client_free(r->client);
    loop_rig_close(&r->turn);
    if (r->listener >= 0)
        (void)close(r->listener);
}

#define RIG_AT(where, ...)                                      \
    struct rig r_ = {.config = http_client_config_default};     \
    __VA_ARGS__;                                                \
    _cleanup_(finish_rig) struct rig *finish_ unused_arg = &r_; \
    REQUIRE(rig_start(&r_, where))
#define RIG(...) RIG_AT("127.0.0.1:0", __VA_ARGS__)

static inline const struct http_client_counts *
counts(void)
{
    return http_client_counts(rig->client);
}

/* The server's end of a connection */

struct server_end {
    int fd;
    struct buf got;
    bool ended;
};

static inline void
end_close(struct server_end *e)
{
    if (e->fd >= 0)
        (void)close(e->fd);
    e->fd = -1;
    buf_finish(&e->got);
}

#define _cleanup_end_ _cleanup_(end_close)
#define END_INIT                             \
    {                                        \
        .fd = -1, .got = BUF_INIT(256 * MIB) \
    }

static inline bool
end_accept(struct server_end *e)
{
    return WAIT(e->fd >= 0 || (e->fd = sock_accept(rig->listener, NULL)) >= 0);
}

static inline void
end_read(struct server_end *e)
{
    char bytes[65536];
    ssize_t n;
    while ((n = recv(e->fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
        buf_add(&e->got, bytes, (size_t)n);
    e->ended |= n == 0 || errno != EAGAIN;
}

static inline bool
end_expect(struct server_end *e, const char *text)
{
    bool got = WAIT((end_read(e), e->got.len) >= strlen(text) || e->ended);
    CHECK_STR(e->got.data, text);
    buf_clear(&e->got);
    return got;
}

static inline void
end_send(struct server_end *e, const char *text)
{
    CHECK_EQ(send(e->fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static inline void
end_reset(struct server_end *e)
{
    struct linger now = {.l_onoff = 1};
    (void)setsockopt(e->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    end_close(e);
}

/* Calls */

struct told {
    struct http_call *call;
    unsigned status;
    unsigned heads, writables, finished;
    struct buf body;
    enum http_phase phase;
    struct err error;
    bool cancel_at_head, cancel_at_body, pause_at_body;
};

static inline void
on_head(struct http_call *call)
{
    struct told *t = call->user;
    t->heads++;
    t->status = call->head.status;
    if (t->cancel_at_head)
        http_call_cancel(call);
}

static inline void
on_body(struct http_call *call, const char *bytes, size_t len)
{
    struct told *t = call->user;
    buf_add(&t->body, bytes, len);
    if (t->pause_at_body)
        http_call_pause(call);
    if (t->cancel_at_body)
        http_call_cancel(call);
}

static inline void
on_writable(struct http_call *call)
{
    struct told *t = call->user;
    t->writables++;
}

static inline void
on_finished(struct http_call *call, const struct err *error)
{
    struct told *t = call->user;
    t->finished++;
    t->phase = call->phase;
    t->call = NULL;
    if (error)
        t->error = *error;
    http_call_cancel(call); /* allowed, and without meaning */
    loop_stop(rig->turn.loop);
}

static const struct http_call_ops ops = {
    .head = on_head, .body = on_body, .writable = on_writable, .finished = on_finished};

static inline void
told_finish(struct told *t)
{
    buf_finish(&t->body);
}

#define TOLD _cleanup_(told_finish) struct told
#define TOLD_INIT                   \
    {                               \
        .body = BUF_INIT(256 * MIB) \
    }

static inline void
get(struct told *t, const char *method, const char *target)
{
    t->call = http_call_new(rig->client, method, target, &ops, t);
    http_call_whole(t->call, "", 0);
}

#define EXPECT_ERROR(told, wanted_id, wanted_phase) \
    do {                                            \
        CHECK(WAIT((told)->finished));              \
        CHECK_EQ((told)->error.id, wanted_id);      \
        CHECK_EQ((told)->phase, wanted_phase);      \
        CHECK((told)->error.what[0]);               \
    } while (0)

#define EXPECT_WHOLE(told, wanted_status, wanted_body) \
    do {                                               \
        CHECK(WAIT((told)->finished));                 \
        CHECK_STR((told)->error.what, "");             \
        CHECK_EQ((told)->status, wanted_status);       \
        CHECK_STR((told)->body.data, wanted_body);     \
    } while (0)

#define GET(target) "GET " target " HTTP/1.1\r\nHost: h\r\n\r\n"
#define OK(length, body) "HTTP/1.1 200 OK\r\nContent-Length: " length "\r\n\r\n" body
