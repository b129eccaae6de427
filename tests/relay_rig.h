#pragma once

/* The relay between a real client and fake engines, all in one loop. `one` and `two` are models of this
 * host, the first with one slot and one place to wait; `there` is a peer, which has `far`; `both` is
 * served by the second model and by the peer. */

#include "config/config.h"
#include "config/problems.h"
#include "gateway/backend.h"
#include "gateway/keyring.h"
#include "gateway/papers.h"
#include "gateway/relay.h"
#include "gateway/reply.h"
#include "gateway/route.h"
#include "server_rig.h"
#include "sys/files.h"

#include <stdio.h>
#include <stdlib.h>

/* An engine: says what the test wants, byte by byte. */
struct engine {
    int listener, fd;
    struct buf got;
    bool ended;
};

static struct engine first, second, remote;
static struct relay *relay;
static struct config *config;
static struct keyring *ring;  /* NULL: there are no keys */
static struct holder *caller; /* who asks; NULL: nobody who has shown a key */
static void (*others)(void);  /* go before a request in its pass; NULL: nobody does */

static inline void
take_request(struct http_request *r)
{
    struct route_found found;
    static const struct config_list no_origins;
    struct reply reply;
    struct err err;
    if (others)
        others();
    reply_read(r, &no_origins, &reply);
    reply.caller = caller;
    if (route_find(r->head.method, r->head.bytes + r->head.path.at, r->head.path.len, &found,
                   &err) < 0)
        http_answer(r, 404, NULL, "", 0);
    else
        relay_take(relay, r, &found, &reply);
}

static inline bool
engine_open(struct engine *e, unsigned *ret_port)
{
    struct sock_addr addr;
    *e = (struct engine){.fd = -1, .got = BUF_INIT(256 * MIB)};
    if (sock_addr_parse("127.0.0.1:0", &addr, NULL) < 0)
        return false;
    e->listener = sock_listen(&addr, 0, NULL);
    *ret_port = (unsigned)sock_bound_port(e->listener);
    return e->listener >= 0;
}

static inline void
engine_hang_up(struct engine *e)
{
    if (e->fd >= 0)
        (void)close(e->fd);
    e->fd = -1;
    e->ended = false;
    buf_clear(&e->got);
}

static inline void
engine_close(struct engine *e)
{
    engine_hang_up(e);
    if (e->listener >= 0)
        (void)close(e->listener);
    e->listener = -1;
    buf_finish(&e->got);
}

static inline bool
engine_accept(struct engine *e)
{
    return WAIT(e->fd >= 0 || (e->fd = sock_accept(e->listener, NULL)) >= 0);
}

static inline bool
engine_read(struct engine *e)
{
    char bytes[65536];
    ssize_t n;
    while ((n = recv(e->fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
        buf_add(&e->got, bytes, (size_t)n);
    e->ended |= n == 0 || errno != EAGAIN;
    return true;
}

/* The one of those that serve `both` that has heard it; NULL: none has yet. */
static inline struct engine *
engine_that_hears(const char *text)
{
    struct engine *const both[] = {&second, &remote};
    for (size_t i = 0; i < ARRAY_SIZE(both); i++) {
        if (both[i]->fd < 0 && (both[i]->fd = sock_accept(both[i]->listener, NULL)) < 0)
            continue;
        if (engine_read(both[i]) && strstr(both[i]->got.data, text))
            return both[i];
    }
    return NULL;
}

#define HEARS(e, text) WAIT(engine_read(e) && strstr((e)->got.data, text))

static inline void
engine_say(struct engine *e, const char *text)
{
    CHECK_EQ(send(e->fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* A whole answer; and a piece of one that has begun. */
static inline void
engine_answer(struct engine *e, const char *body)
{
    _cleanup_free_ char *text = mem_printf("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                                           "Content-Length: %zu\r\n\r\n%s",
                                           strlen(body), body);
    engine_say(e, text);
}

static inline void
engine_say_chunk(struct engine *e, const char *bytes)
{
    _cleanup_free_ char *text = mem_printf("%zx\r\n%s\r\n", strlen(bytes), bytes);
    engine_say(e, text);
}

static inline struct config *
parse(const char *text)
{
    struct config_problems problems;
    struct config *parsed = NULL;
    config_problems_init(&problems);
    CHECK_EQ(config_parse(text, strlen(text), "t.yaml", &parsed, &problems, NULL), 0);
    config_problems_finish(&problems);
    return parsed;
}

static unsigned ports[3]; /* of the engines */

static inline bool
load(const char *more)
{
    if (!engine_open(&first, &ports[0]) || !engine_open(&second, &ports[1]) ||
        !engine_open(&remote, &ports[2]))
        return false;
    _cleanup_free_ char *key = mem_printf("%s/key", tap_dir());
    if (file_write(key, "peer-key\n", 9, 0600, NULL) < 0)
        return false;
    _cleanup_free_ char *text =
        mem_printf("models:\n"
                   "  one: {port: %u, max_concurrent: 1, queue_length: 1, queue_timeout: 1s}\n"
                   "  two: {port: %u, served_names: [two, both]}\n"
                   "gateway:\n  aliases: {gpt: one}\n  keys_file: %s/keys.db\n"
                   "  peers: {there: {url: 'http://127.0.0.1:%u/llm/v1', models: [far, both],"
                   " key: {file: %s}}}\n%s",
                   ports[0], ports[1], tap_dir(), ports[2], key, more);
    config = parse(text);
    return config;
}

/* Nothing stays taken, whatever happened. */
static inline void
close_relay(bool *began)
{
    if (rig && rig->server) {
        http_server_stop(rig->server);
        for (size_t i = 0; relay && i < relay_backend_count(relay); i++) {
            CHECK_EQ(backend_load(relay_backend(relay, i)), 0);
            CHECK(!backend_is_tried(relay_backend(relay, i)));
            const struct admit_counts *c = backend_queue(relay_backend(relay, i));
            CHECK_EQ(c->arrived, c->done + c->left + c->refused);
        }
        CHECK_EQ(relay_counts(relay)->requests, 0);
        CHECK_EQ(relay_counts(relay)->bodies_bytes, 0);
        http_server_free(rig->server);
        relay_free(relay);
        if (ring) {
            CHECK(keyring_flush(ring, 600 * UINT64_C(1000000)));
            keyring_close(ring);
        }
        loop_rig_close(&rig->turn);
    }
    config_free(config);
    config = NULL;
    ring = NULL;
    caller = NULL;
    others = NULL;
    engine_close(&first);
    engine_close(&second);
    engine_close(&remote);
    *began = false;
}

static inline bool
open_relay(struct rig *r, const char *more)
{
    rig_config(r);
    r->service.request = take_request;
    struct papers *papers = NULL;
    if (!load(more) || !rig_start(r) || papers_read_peers(config, &papers, NULL) < 0)
        return false;
    int e = relay_new(r->turn.loop, config, papers, &relay, NULL);
    papers_free_peers(config, papers);
    return e == 0;
}

#define RELAY(more)                                       \
    struct rig r_;                                        \
    _cleanup_(close_relay) unused_arg bool began_ = true; \
    REQUIRE(open_relay(&r_, more))

static inline void
post_n(struct client *c, const char *path, const char *body, size_t len)
{
    _cleanup_free_ char *head =
        mem_printf("POST %s HTTP/1.1\r\n" HOST "Content-Length: %zu\r\n\r\n", path, len);
    CHECK(client_send(c, head));
    CHECK(client_send_n(c, body, len));
}

static inline void
post(struct client *c, const char *body)
{
    post_n(c, "/v1/chat/completions", body, strlen(body));
}

#define SEES(c, text) WAIT(strstr((c)->got.data, text))

/* The one answer that is there, by its length or its last chunk. */
static inline bool
is_whole(const struct client *c)
{
    const char *body = strstr(c->got.data, "\r\n\r\n");
    const char *length = strstr(c->got.data, "Content-Length: ");
    size_t have = body ? c->got.len - (size_t)(body + 4 - c->got.data) : 0;
    if (!body || !length || length > body)
        return body && strstr(body, "\r\n0\r\n\r\n");
    return have >= strtoul(length + 16, NULL, 10);
}

#define ENDS(c) WAIT(is_whole(c))
#define ONE "{\"model\":\"one\"}"
#define STREAM_ONE "{\"model\":\"one\",\"stream\":true}"
#define BEGIN_JSON "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n"
#define OK_STREAM                                            \
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n" \
    "Transfer-Encoding: chunked\r\n\r\n"

/* Another configuration, which is the relay's then. */
static inline int
take_up(struct config *next, struct err *reterr)
{
    struct papers *papers = NULL;
    int e = papers_read_peers(next, &papers, reterr);
    if (e == 0)
        e = relay_configure(relay, next, papers, reterr);
    papers_free_peers(next, papers);
    return e;
}

/* And one of one model. */
static inline bool
configure(const char *name, unsigned port, const char *more)
{
    _cleanup_free_ char *text = mem_printf("models: {%s: {port: %u%s}}", name, port, more);
    struct config *next = parse(text);
    return next && take_up(next, NULL) == 0;
}

/* ---- who shows a key ---- */

struct made {
    struct keyring_wish wish;
    struct holder *holder;
};

static inline void
on_made(struct keyring_wish *wish, struct holder *holder, const char *token unused_arg,
        const struct err *error unused_arg)
{
    container_of(wish, struct made, wish)->holder = holder;
}

/* members: JSON, or NULL. NULL: it could not be made. */
static inline struct holder *
make_key(const char *name, const char *members)
{
    _cleanup_arena_ struct arena arena;
    struct value *v = NULL;
    struct made made = {.wish = {.deed = KEYRING_CREATE, .name = name, .done = on_made}};
    arena_init(&arena, MIB);
    if (members)
        CHECK_EQ(json_parse(&arena, members, strlen(members), JSON_STRICT, &v, NULL, NULL), 0);
    made.wish.members = v;
    if (keyring_do(ring, &made.wish, NULL) < 0)
        return NULL;
    return WAIT(made.holder) ? made.holder : NULL;
}

static inline bool
open_keys(void)
{
    _cleanup_free_ char *path = mem_printf("%s/keys.db", tap_dir());
    return keyring_open(rig->turn.loop, path, &ring, NULL) == 0;
}

static inline uint64_t
left_today(void)
{
    struct allowance_level level = {0};
    CHECK(holder_level(caller, ALLOWANCE_TOKENS_DAY, &level));
    return level.left;
}
