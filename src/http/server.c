/* Listeners, lists and deadlines; what single connections do is in server_conn.c. */

#include "http/server.h"

#include "base/mem.h"
#include "http/server_int.h"
#include "sys/sock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ACCEPT_BATCH 64
#define RETRY_US 100000

#define FRESH_US UINT64_C(1000000) /* for a first request, once others are asked to go */

const struct http_server_config http_server_config_default = {
    .head = {.target_bytes = 8192, /* RFC 9112, 3 asks for 8000 */
             .head_bytes = 32 * KIB,
             .fields = 100,
             .extension_bytes = 16 * KIB,
             .trailer_bytes = 8 * KIB},
    .body_bytes_max = 64 * MIB,
    .content_bytes_max = 1 * GIB,
    .answer_bytes_max = 64 * MIB,
    .high_bytes = 256 * KIB,
    .low_bytes = 64 * KIB,
    .connections_max = 10000,
    .handshake_us = 10 * 1000000,
    .idle_us = 75 * 1000000,
    .head_us = 10 * 1000000,
    .body_us = 30 * 1000000,
    .write_us = 30 * 1000000,
    .stall_us = 1 * 1000000,
    .linger_us = 2 * 1000000,
    .name = "citadel",
};

static void
on_expired(struct waits *waits unused_arg, struct wait *wait)
{
    conn_expire(container_of(wait, struct conn, wait));
}

/* Exchanges */

static void
free_exchange(struct exchange *x)
{
    buf_finish(&x->in);
    buf_finish(&x->out);
    buf_finish(&x->request.content);
    free(x);
}

struct exchange *
server_take_exchange(struct http_server *s)
{
    struct spare *spare = spares_take(&s->spares);
    struct exchange *x =
        spare ? container_of(spare, struct exchange, spare) : mem_new(struct exchange);
    if (!spare) {
        buf_init(&x->in, 0);
        buf_init(&x->out, 0);
        buf_init(&x->request.content, 0); /* each request brings its ceiling */
    }
    x->in.ceiling_bytes = s->config.head.head_bytes + CONN_READ_BYTES;
    x->out.ceiling_bytes = s->config.answer_bytes_max;
    return x;
}

void
server_give_exchange(struct http_server *s, struct exchange *x)
{
    spare_return(&s->room, &x->in);
    if (s->config.has_secrets && x->out.room > 0)
        explicit_bzero(x->out.data, x->out.room);
    spare_trim(&x->out);
    spare_trim(&x->request.content);
    x->in_at = x->out_at = 0;
    if (!spares_give(&s->spares, &x->spare))
        free_exchange(x);
}

/* Listeners */

static void
watch_listeners(struct http_server *s, bool watch)
{
    s->full = !watch;
    for (struct listener *l = s->listeners; l; l = l->next)
        loop_fd_change(&l->watch, watch ? LOOP_READ : 0);
}

static void
on_retry(struct loop_timer *timer)
{
    struct http_server *s = container_of(timer, struct http_server, retry);
    watch_listeners(s, true);
}

/* There may be room for one that waits. */
static void
accept_again(struct http_server *s)
{
    if (s->full && !loop_timer_is_set(&s->retry))
        watch_listeners(s, true);
}

/* He takes nothing, or asks faster than he reads; and nothing else is under way for him. */
static bool
lets_it_lie(const struct conn *c)
{
    const struct exchange *x = c->exchange;
    return (c->is_stalled || x->is_behind) && !x->in_flight;
}

/* Without room for one more, a connection that is asking for nothing makes some. */
static enum crowd_turn
find_turn(const struct conn *c)
{
    switch (c->state) {
    case CONN_IDLE:
        return c->is_fresh ? CROWD_LATER : CROWD_FIRST;
    case CONN_SKIP:
    case CONN_LINGER:
        return CROWD_FIRST;
    case CONN_HANDSHAKE:
    case CONN_HEAD:
        return CROWD_LATER;
    case CONN_WRITE:
        return lets_it_lie(c) ? CROWD_FIRST : CROWD_STAYS;
    case CONN_BODY:
    case CONN_ANSWER:
    case CONN_DEAD:
    case CONN_STATES:
        break;
    }
    return CROWD_STAYS;
}

void
server_entered(struct conn *c)
{
    struct http_server *s = c->server;
    crowd_stand(&s->crowd, &c->member, find_turn(c), loop_now_us(s->loop));
    if (crowd_any(&s->crowd))
        accept_again(s);
}

void
server_turned(struct conn *c)
{
    if (find_turn(c) != c->member.turn)
        server_entered(c);
}

static void
make_room(struct http_server *s, uint64_t address)
{
    struct crowd_member *m = crowd_choose(&s->crowd, address);
    assert(m);
    s->counts.evicted++;
    conn_break(container_of(m, struct conn, member));
}

static bool
has_room(const struct http_server *s)
{
    return s->counts.connections < s->config.connections_max;
}

/* At who does not read: by two looks those are found who have taken nothing between them. */
static void
look(struct http_server *s)
{
    for (struct wait *w = s->lists[CONN_WRITE].first, *next; w; w = next) {
        next = w->next;
        conn_look(container_of(w, struct conn, wait));
    }
}

static void
on_look(struct loop_timer *timer)
{
    struct http_server *s = container_of(timer, struct http_server, look);
    if (has_room(s))
        loop_timer_stop(timer);
    else
        look(s);
}

static void
begin_to_look(struct http_server *s)
{
    if (loop_timer_is_set(&s->look))
        return;
    look(s);
    loop_timer_start(s->loop, &s->look, s->config.stall_us, s->config.stall_us);
}

static bool
add_conn(struct http_server *s, int fd, uint64_t address)
{
    struct conn *c = conn_new(s, fd);
    if (!c)
        return false;
    crowd_come(&s->crowd, &c->member, address);
    s->counts.accepted++;
    s->counts.connections++;
    conn_enter(c, c->tls ? CONN_HANDSHAKE : CONN_IDLE);
    return true;
}

int
http_server_adopt(struct http_server *server, int fd)
{
    struct sock_addr peer = {0};
    (void)!sock_peer_addr(fd, &peer);
    return add_conn(server, fd, crowd_address(&peer)) ? 0 : -EBADF;
}

static void
on_connection(struct loop_fd *watch, unsigned events unused_arg)
{
    struct listener *l = container_of(watch, struct listener, watch);
    struct http_server *s = l->server;
    for (int i = 0; i < ACCEPT_BATCH; i++) {
        bool at_most = !has_room(s);
        if (at_most && i > 0) /* that one waits is known for the first only */
            return;
        if (at_most)
            begin_to_look(s);
        if (at_most && !crowd_any(&s->crowd)) {
            watch_listeners(s, false);
            return;
        }
        struct sock_addr peer;
        int fd = sock_accept(l->fd, &peer);
        if (fd == -EAGAIN)
            return;
        if (fd < 0) {
            bool one_waits = i == 0 && (fd == -EMFILE || fd == -ENFILE);
            if (one_waits && crowd_any(&s->crowd))
                make_room(s, 0); /* for whoever that is */
            watch_listeners(s, false);
            loop_timer_start(s->loop, &s->retry, RETRY_US, 0);
            return;
        }
        uint64_t address = crowd_address(&peer);
        if (at_most)
            make_room(s, address);
        (void)add_conn(s, fd, address);
    }
}

int
http_server_listen(struct http_server *server, int fd, struct err *reterr)
{
    struct listener *l = mem_new(struct listener);
    l->server = server;
    l->fd = fd;
    l->watch.ready = on_connection;
    int r = loop_fd_start(server->loop, &l->watch, fd, LOOP_READ);
    if (r < 0) {
        free(l);
        return err_set_errno(reterr, -r, "cannot watch a listening socket");
    }
    l->next = server->listeners;
    server->listeners = l;
    return 0;
}

void
http_server_speak_tls(struct http_server *server, struct tls_context *context)
{
    tls_context_free(server->tls);
    server->tls = context;
}

void
http_server_unlisten(struct http_server *s)
{
    while (s->listeners) {
        struct listener *l = s->listeners;
        s->listeners = l->next;
        loop_fd_stop(&l->watch);
        (void)close(l->fd);
        free(l);
    }
    loop_timer_stop(&s->retry);
    loop_timer_stop(&s->look);
}

/* The server as a whole */

static void
on_drained(struct loop_defer *defer)
{
    struct http_server *s = container_of(defer, struct http_server, drained);
    if (s->service.drained)
        s->service.drained(s->service.arg);
}

/* While draining only those are idle who have just connected. */
static uint64_t
idle_limit(const struct http_server *s)
{
    uint64_t limit = s->config.idle_us;
    if (!s->draining)
        return limit;
    return limit ? MIN(limit, FRESH_US) : FRESH_US;
}

void
http_server_configure(struct http_server *s, const struct http_server_config *config)
{
    assert(config->low_bytes <= config->high_bytes && config->connections_max > 0);
    s->config = *config;
    s->lists[CONN_HANDSHAKE].limit_us = config->handshake_us;
    s->lists[CONN_IDLE].limit_us = idle_limit(s);
    s->lists[CONN_HEAD].limit_us = config->head_us;
    s->lists[CONN_BODY].limit_us = config->body_us;
    s->lists[CONN_WRITE].limit_us = config->write_us;
    s->lists[CONN_SKIP].limit_us = config->linger_us;
    s->lists[CONN_LINGER].limit_us = config->linger_us;
    accept_again(s);
    waits_limits_changed(&s->waits);
}

struct http_server *
http_server_new(struct loop *loop, const struct http_server_config *config,
                const struct http_service *service)
{
    struct http_server *s = mem_new(struct http_server);
    s->loop = loop;
    buf_init(&s->room, BUF_CEILING_MAX);
    s->service = *service;
    waits_init(&s->waits, loop, s->lists, CONN_STATES, on_expired);
    s->retry.expired = on_retry;
    s->look.expired = on_look;
    s->drained.run = on_drained;
    http_server_configure(s, config);
    return s;
}

void
server_bury(struct conn *c)
{
    struct http_server *s = c->server;
    conn_enter(c, CONN_DEAD);
    crowd_leave(&s->crowd, &c->member);
    loop_defer(s->loop, &c->defer);
    s->counts.connections--;
    accept_again(s);
    if (s->draining && s->counts.connections == 0)
        loop_defer(s->loop, &s->drained);
}

void
server_free_conn(struct conn *c)
{
    wait_end(&c->server->waits, &c->wait);
    free(c);
}

/* One that runs now is on the list of its former state: drained, it finds out for itself. */
static void
break_list(struct http_server *s, enum conn_state state, bool also_running)
{
    for (struct wait *w = s->lists[state].first, *next; w; w = next) {
        struct conn *c = container_of(w, struct conn, wait);
        next = w->next;
        if (also_running || !c->running)
            conn_break(c);
    }
}

/* Who has just connected is about to ask, and only an answer can tell him to go elsewhere. */
static void
break_stale(struct http_server *s)
{
    struct wait_list *idle = &s->lists[CONN_IDLE];
    for (struct wait *w = idle->first, *next; w; w = next) {
        struct conn *c = container_of(w, struct conn, wait);
        next = w->next;
        if (!c->is_fresh && !c->running)
            conn_break(c);
    }
    idle->limit_us = idle_limit(s);
    waits_limits_changed(&s->waits);
}

void
http_server_drain(struct http_server *server)
{
    http_server_unlisten(server);
    server->draining = true;
    break_stale(server);
    if (server->counts.connections == 0)
        loop_defer(server->loop, &server->drained);
}

void
http_server_dismiss(struct http_server *server)
{
    assert(server->draining);
    server->dismisses = true;
    for (int state = 0; state < CONN_DEAD; state++)
        for (struct wait *w = server->lists[state].first; w; w = w->next)
            conn_schedule(container_of(w, struct conn, wait));
}

void
http_server_stop(struct http_server *server)
{
    http_server_unlisten(server);
    for (int state = 0; state < CONN_DEAD; state++)
        break_list(server, (enum conn_state)state, true);
}

void
http_server_free(struct http_server *server)
{
    if (!server)
        return;
    http_server_stop(server);
    while (server->lists[CONN_DEAD].first) {
        struct conn *c = container_of(server->lists[CONN_DEAD].first, struct conn, wait);
        loop_defer_cancel(server->loop, &c->defer);
        server_free_conn(c);
    }
    loop_defer_cancel(server->loop, &server->drained);
    waits_finish(&server->waits);
    crowd_finish(&server->crowd);
    tls_context_free(server->tls);
    for (struct spare *spare; (spare = spares_take(&server->spares));)
        free_exchange(container_of(spare, struct exchange, spare));
    buf_finish(&server->room);
    free(server);
}

const struct http_server_counts *
http_server_counts(const struct http_server *server)
{
    return &server->counts;
}
