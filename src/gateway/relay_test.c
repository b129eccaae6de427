/* The relay between a real client and fake engines, all in one loop: whatever happens at either end in
 * whatever state, each request gets one end, and nothing stays taken. */

#include "gateway/relay.h"

#include "config/config.h"
#include "config/problems.h"
#include "gateway/backend.h"
#include "gateway/reply.h"
#include "gateway/route.h"
#include "server_rig.h"
#include "sys/files.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

/* An engine: says what the test wants, byte by byte. */
struct engine {
    int listener, fd;
    struct buf got;
    bool ended;
};

static struct engine first, second, remote;
static struct relay *relay;
static struct config *config;

static void
take_request(struct http_request *r)
{
    struct route_found found;
    reply_id id;
    struct err err;
    reply_read_id(r, id);
    if (route_find(r->head.method, r->head.bytes + r->head.path.at, r->head.path.len, &found,
                   &err) < 0)
        http_answer(r, 404, NULL, "", 0);
    else
        relay_take(relay, r, &found, id);
}

static bool
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

static void
engine_hang_up(struct engine *e)
{
    if (e->fd >= 0)
        (void)close(e->fd);
    e->fd = -1;
    e->ended = false;
    buf_clear(&e->got);
}

static void
engine_close(struct engine *e)
{
    engine_hang_up(e);
    if (e->listener >= 0)
        (void)close(e->listener);
    e->listener = -1;
    buf_finish(&e->got);
}

static bool
engine_accept(struct engine *e)
{
    return WAIT(e->fd >= 0 || (e->fd = sock_accept(e->listener, NULL)) >= 0);
}

static bool
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
static struct engine *
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

static void
engine_say(struct engine *e, const char *text)
{
    CHECK_EQ(send(e->fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* A whole answer; and a piece of one that has begun. */
static void
engine_answer(struct engine *e, const char *body)
{
    _cleanup_free_ char *text = mem_printf("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                                           "Content-Length: %zu\r\n\r\n%s",
                                           strlen(body), body);
    engine_say(e, text);
}

static void
engine_say_chunk(struct engine *e, const char *bytes)
{
    _cleanup_free_ char *text = mem_printf("%zx\r\n%s\r\n", strlen(bytes), bytes);
    engine_say(e, text);
}

static struct config *
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

static bool
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
static void
close_relay(bool *began)
{
    if (rig && rig->server) {
        http_server_stop(rig->server);
        for (size_t i = 0; relay && i < relay_backend_count(relay); i++) {
            CHECK_EQ(backend_load(relay_backend(relay, i)), 0);
            const struct admit_counts *c = backend_queue(relay_backend(relay, i));
            CHECK_EQ(c->arrived, c->done + c->left + c->refused);
        }
        CHECK_EQ(relay_counts(relay)->requests, 0);
        CHECK_EQ(relay_counts(relay)->bodies_bytes, 0);
        http_server_free(rig->server);
        relay_free(relay);
        loop_rig_close(&rig->turn);
    }
    config_free(config);
    config = NULL;
    engine_close(&first);
    engine_close(&second);
    engine_close(&remote);
    *began = false;
}

static bool
open_relay(struct rig *r, const char *more)
{
    rig_config(r);
    r->service.request = take_request;
    return load(more) && rig_start(r) && relay_new(r->turn.loop, config, &relay, NULL) == 0;
}

#define RELAY(more)                                       \
    struct rig r_;                                        \
    _cleanup_(close_relay) unused_arg bool began_ = true; \
    REQUIRE(open_relay(&r_, more))

static void
post_n(struct client *c, const char *path, const char *body, size_t len)
{
    _cleanup_free_ char *head =
        mem_printf("POST %s HTTP/1.1\r\n" HOST "Content-Length: %zu\r\n\r\n", path, len);
    CHECK(client_send(c, head));
    CHECK(client_send_n(c, body, len));
}

static void
post(struct client *c, const char *body)
{
    post_n(c, "/v1/chat/completions", body, strlen(body));
}

#define SEES(c, text) WAIT(strstr((c)->got.data, text))

/* The one answer that is there, by its length or its last chunk. */
static bool
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

TEST(relay_passes_a_request_and_its_answer)
{
    RELAY("");
    _cleanup_client_ struct client c;
    client_open(&c);
    CHECK(client_send(
        &c, "POST /v1/chat/completions HTTP/1.1\r\n" HOST
            "Authorization: Bearer s\r\nX-Request-Id: mine\r\nUser-Agent: me\r\n"
            "Content-Type: text/plain\r\nContent-Length: 16\r\n\r\n{\"model\": \"one\"}"));
    REQUIRE(engine_accept(&first) && HEARS(&first, "{\"model\": \"one\"}"));
    CHECK(strstr(first.got.data, "POST /v1/chat/completions HTTP/1.1\r\n") == first.got.data);
    CHECK(strstr(first.got.data, "X-Request-Id: mine\r\n"));
    CHECK(strstr(first.got.data, "User-Agent: me\r\n"));
    CHECK(strstr(first.got.data, "Content-Type: application/json\r\n"));
    CHECK(!strstr(first.got.data, "Bearer"));
    engine_say(&first, "HTTP/1.1 201 Created\r\nServer: uvicorn\r\nSet-Cookie: a=b\r\n"
                       "openai-processing-ms: 7\r\nContent-Length: 2\r\n\r\n{}");
    REQUIRE(ENDS(&c));
    CHECK(strstr(c.got.data, "HTTP/1.1 201 Created\r\n") == c.got.data);
    CHECK(strstr(c.got.data, "X-Request-Id: mine\r\n"));
    CHECK(strstr(c.got.data, "openai-processing-ms: 7\r\n"));
    CHECK(strstr(c.got.data, "Content-Length: 2\r\n") && strstr(c.got.data, "\r\n\r\n{}"));
    CHECK(!strstr(c.got.data, "uvicorn") && !strstr(c.got.data, "Cookie"));
}

TEST(relay_changes_only_the_name_that_another_is_asked_by)
{
    RELAY("");
    _cleanup_client_ struct client c;
    client_open(&c);
    post(&c, "{ \"a\": [1,  2], \"model\": \"gpt\" }");
    REQUIRE(engine_accept(&first));
    CHECK(HEARS(&first, "{ \"a\": [1,  2], \"model\": \"one\" }"));
}

TEST(relay_counts_what_an_answer_cost)
{
    RELAY("");
    _cleanup_client_ struct client c;
    client_open(&c);
    post(&c, ONE);
    REQUIRE(engine_accept(&first) && HEARS(&first, ONE));
    engine_answer(&first, "{\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":9}}");
    REQUIRE(ENDS(&c));
    const struct backend_counts *n = backend_counts(relay_backend(relay, 0));
    CHECK_EQ(n->tokens_in, 7);
    CHECK_EQ(n->tokens_out, 9);
    CHECK_EQ(n->answered, 1);
}

TEST(relay_passes_each_event_when_it_comes_and_hides_what_it_asked_for)
{
    RELAY("");
    _cleanup_client_ struct client c;
    client_open(&c);
    post(&c, STREAM_ONE);
    REQUIRE(engine_accept(&first) && HEARS(&first, "\"include_usage\":true"));
    engine_say(&first, OK_STREAM);
    engine_say_chunk(&first, "data: {}\n\n");
    REQUIRE(SEES(&c, "data: {}\n\n"));
    engine_say_chunk(&first, "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,"
                             "\"completion_tokens\":4}}\n\n");
    engine_say_chunk(&first, "data: [DONE]\n\n");
    engine_say(&first, "0\r\n\r\n");
    REQUIRE(ENDS(&c));
    CHECK(strstr(c.got.data, "data: [DONE]\n\n"));
    CHECK(!strstr(c.got.data, "usage") && !strstr(c.got.data, "error"));
    CHECK_EQ(backend_counts(relay_backend(relay, 0))->tokens_out, 4);
}

TEST(relay_says_in_the_stream_that_an_engine_died)
{
    static const char *const ends[] = {"", "7\r\ndata: {\r\n", "0\r\n\r\n"};
    for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
        RELAY("");
        _cleanup_client_ struct client c;
        tap_note("%s", ends[i]);
        client_open(&c);
        post(&c, STREAM_ONE);
        REQUIRE(engine_accept(&first) && HEARS(&first, "stream"));
        engine_say(&first, OK_STREAM "a\r\ndata: {}\n\n\r\n");
        REQUIRE(SEES(&c, "data: {}\n\n"));
        engine_say(&first, ends[i]);
        engine_hang_up(&first);
        REQUIRE(ENDS(&c));
        CHECK(strstr(c.got.data, "data: {\"error\":{"));
        CHECK(strstr(c.got.data, "gateway.engine-lost"));
        CHECK(!strstr(c.got.data, "[DONE]"));
        CHECK_EQ(relay_counts(relay)->cut, 1);
    }
}

TEST(relay_cuts_an_answer_that_an_engine_did_not_complete)
{
    RELAY("");
    _cleanup_client_ struct client c;
    client_open(&c);
    post(&c, ONE);
    REQUIRE(engine_accept(&first) && HEARS(&first, ONE));
    engine_say(&first, BEGIN_JSON "{\"a\":");
    REQUIRE(SEES(&c, "{\"a\":"));
    engine_hang_up(&first);
    CHECK(WAIT(c.ended));
    CHECK(!strstr(c.got.data, "\r\n0\r\n\r\n"));
}

TEST(relay_says_that_a_model_is_not_there)
{
    RELAY("");
    _cleanup_client_ struct client c;
    client_open(&c);
    (void)close(take_fd(&first.listener));
    post(&c, ONE);
    REQUIRE(SEES(&c, "model-away"));
    CHECK(strstr(c.got.data, "HTTP/1.1 503 ") == c.got.data);
    CHECK(strstr(c.got.data, "one does not run"));
    CHECK(!strstr(c.got.data, "127.0.0.1"));
}

TEST(relay_asks_a_fallback_before_the_first_byte)
{
    static const char *const answers[] = {"", "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy",
                                          "HTTP/1.1 20"};
    for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
        RELAY("  fallbacks: {one: [two]}\n");
        _cleanup_client_ struct client c;
        tap_note("%s", answers[i]);
        client_open(&c);
        post(&c, ONE);
        REQUIRE(engine_accept(&first) && HEARS(&first, ONE));
        engine_say(&first, answers[i]);
        if (i != 1)
            engine_hang_up(&first);
        REQUIRE(engine_accept(&second) && HEARS(&second, "{\"model\":\"two\"}"));
        engine_answer(&second, "{}");
        REQUIRE(ENDS(&c));
        CHECK(strstr(c.got.data, "X-Citadel-Fallback: two\r\n"));
        CHECK(!strstr(c.got.data, "busy"));
        CHECK_EQ(relay_counts(relay)->fallbacks, 1);
    }
}

/* Some requests end whoever takes them. */
TEST(relay_lets_a_request_end_no_more_than_two_engines)
{
    RELAY("  fallbacks: {one: [two], two: [far]}\n");
    _cleanup_client_ struct client c;
    client_open(&c);
    post(&c, ONE);
    REQUIRE(engine_accept(&first) && HEARS(&first, ONE));
    engine_hang_up(&first);
    REQUIRE(engine_accept(&second) && HEARS(&second, "two"));
    engine_hang_up(&second);
    REQUIRE(SEES(&c, "gateway.engine-lost"));
    CHECK(strstr(c.got.data, "HTTP/1.1 502 ") == c.got.data);
    CHECK(sock_accept(remote.listener, NULL) == -EAGAIN);
}

TEST(relay_asks_nobody_else_while_an_engine_may_be_at_it)
{
    RELAY("  fallbacks: {one: [two]}\n  limits: {first_byte_timeout: 1s}\n");
    _cleanup_client_ struct client c;
    client_open(&c);
    post(&c, ONE);
    REQUIRE(engine_accept(&first) && HEARS(&first, ONE));
    REQUIRE(SEES(&c, "gateway.engine-late"));
    CHECK(strstr(c.got.data, "HTTP/1.1 504 ") == c.got.data);
    CHECK(sock_accept(second.listener, NULL) == -EAGAIN);
}

/* ---- peers ---- */

TEST(relay_asks_a_peer_with_our_key_and_below_its_base)
{
    RELAY("");
    _cleanup_client_ struct client c;
    client_open(&c);
    CHECK(client_send(&c, "POST /v1/chat/completions HTTP/1.1\r\n" HOST
                          "Authorization: Bearer mine\r\nX-Api-Key: mine\r\n"
                          "Content-Length: 15\r\n\r\n{\"model\":\"far\"}"));
    REQUIRE(engine_accept(&remote) && HEARS(&remote, "{\"model\":\"far\"}"));
    CHECK(strstr(remote.got.data, "POST /llm/v1/chat/completions HTTP/1.1\r\n"));
    CHECK(strstr(remote.got.data, "Authorization: Bearer peer-key\r\n"));
    CHECK(strstr(remote.got.data, "X-Citadel-Peer: 1\r\n"));
    CHECK(!strstr(remote.got.data, "mine"));
    engine_answer(&remote, "{}");
    CHECK(SEES(&c, "HTTP/1.1 200 "));
}

TEST(relay_goes_on_to_a_peer_that_serves_the_same)
{
    RELAY("");
    _cleanup_client_ struct client c;
    client_open(&c);
    (void)close(take_fd(&second.listener));
    for (int i = 0; i < 2; i++) {
        post(&c, "{\"model\":\"both\"}");
        REQUIRE(remote.fd >= 0 || engine_accept(&remote));
        REQUIRE(HEARS(&remote, "both"));
        engine_answer(&remote, "{}");
        REQUIRE(ENDS(&c));
        CHECK(!strstr(c.got.data, "X-Citadel-Fallback"));
        buf_clear(&c.got);
        buf_clear(&remote.got);
    }
}

TEST(relay_passes_no_request_of_a_peer_on_to_a_third)
{
    RELAY("");
    _cleanup_client_ struct client c;
    client_open(&c);
    CHECK(client_send(&c, "POST /v1/chat/completions HTTP/1.1\r\n" HOST "X-Citadel-Peer: 1\r\n"
                          "Content-Length: 15\r\n\r\n{\"model\":\"far\"}"));
    REQUIRE(SEES(&c, "model-away"));
    CHECK(sock_accept(remote.listener, NULL) == -EAGAIN);
}

TEST(relay_passes_an_engines_own_refusal)
{
    RELAY("  fallbacks: {one: [two]}\n");
    _cleanup_client_ struct client c;
    client_open(&c);
    post(&c, ONE);
    REQUIRE(engine_accept(&first) && HEARS(&first, ONE));
    engine_say(&first, "HTTP/1.1 400 Bad Request\r\nContent-Length: 4\r\n\r\nlong");
    REQUIRE(SEES(&c, "Content-Length: 4\r\n") && SEES(&c, "\r\n\r\nlong"));
    CHECK(strstr(c.got.data, "HTTP/1.1 400 ") == c.got.data);
}

TEST(relay_lets_wait_and_refuses_when_the_queue_is_full)
{
    RELAY("");
    _cleanup_client_ struct client a, b, c;
    client_open(&a);
    client_open(&b);
    client_open(&c);
    post(&a, ONE);
    REQUIRE(engine_accept(&first) && HEARS(&first, ONE));
    post(&b, "{\"model\":\"one\",\"n\":1}");
    REQUIRE(WAIT(backend_queue(relay_backend(relay, 0))->waiting == 1));
    post(&c, ONE);
    REQUIRE(SEES(&c, "rate_limit_exceeded"));
    CHECK(strstr(c.got.data, "HTTP/1.1 429 ") == c.got.data);
    engine_answer(&first, "{}");
    REQUIRE(ENDS(&a));
    buf_clear(&first.got);
    REQUIRE(HEARS(&first, "\"n\":1")); /* on the same connection */
    engine_answer(&first, "{}");
    CHECK(ENDS(&b));
}

TEST(relay_refuses_who_has_waited_as_long_as_it_may)
{
    RELAY("");
    _cleanup_client_ struct client a, b;
    client_open(&a);
    client_open(&b);
    post(&a, ONE);
    REQUIRE(engine_accept(&first) && HEARS(&first, ONE));
    post(&b, ONE);
    REQUIRE(SEES(&b, "gateway.waited"));
    CHECK(strstr(b.got.data, "HTTP/1.1 503 ") == b.got.data);
}

/* ---- clients that leave ---- */

TEST(relay_cancels_what_a_client_leaves_behind_in_its_body)
{
    RELAY("");
    _cleanup_client_ struct client c;
    client_open(&c);
    CHECK(client_send(&c, "POST /v1/completions HTTP/1.1\r\n" HOST "Content-Length: 50\r\n\r\n{"));
    REQUIRE(WAIT(relay_counts(relay)->bodies_bytes == 1));
    client_close(&c);
    CHECK(WAIT(relay_counts(relay)->requests == 0));
}

TEST(relay_cancels_what_a_client_leaves_behind_in_the_queue)
{
    RELAY("");
    _cleanup_client_ struct client a, b;
    client_open(&a);
    client_open(&b);
    post(&a, ONE);
    REQUIRE(engine_accept(&first) && HEARS(&first, ONE));
    post(&b, ONE);
    REQUIRE(WAIT(backend_queue(relay_backend(relay, 0))->waiting == 1));
    client_close(&b);
    REQUIRE(WAIT(backend_queue(relay_backend(relay, 0))->waiting == 0));
    engine_answer(&first, "{}");
    CHECK(ENDS(&a));
}

TEST(relay_cancels_what_a_client_leaves_behind_before_the_answer_and_in_it)
{
    static const char *const answers[] = {"", OK_STREAM "a\r\ndata: {}\n\n\r\n",
                                          BEGIN_JSON "{\"a\""};
    for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
        RELAY("");
        _cleanup_client_ struct client c;
        tap_note("%s", answers[i]);
        client_open(&c);
        post(&c, STREAM_ONE);
        REQUIRE(engine_accept(&first) && HEARS(&first, "stream"));
        engine_say(&first, answers[i]);
        REQUIRE(i == 0 || SEES(&c, "200 OK"));
        client_close(&c);
        CHECK(WAIT(engine_read(&first) && first.ended));
        CHECK_EQ(backend_load(relay_backend(relay, 0)), 0);
        CHECK_EQ(backend_counts(relay_backend(relay, 0))->left, 1);
        CHECK_EQ(backend_counts(relay_backend(relay, 0))->failed, 0);
    }
}

/* ---- what is too much ---- */

TEST(relay_refuses_a_body_above_its_ceiling)
{
    static const char *const requests[] = {
        "POST /v1/messages HTTP/1.1\r\n" HOST "Content-Length: 1025\r\n\r\n",
        "POST /v1/messages HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
        "401\r\n{\"model\": \"one\", "};
    char rest[1025];
    memset(rest, ' ', sizeof(rest));
    for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
        RELAY("  limits: {body: 1KiB}\n");
        _cleanup_client_ struct client c;
        client_open(&c);
        CHECK(client_send(&c, requests[i]));
        if (i == 1)
            CHECK(client_send_n(&c, rest, sizeof(rest)));
        REQUIRE(SEES(&c, "request_too_large"));
        CHECK(strstr(c.got.data, "HTTP/1.1 413 ") == c.got.data);
        CHECK(strstr(c.got.data, "{\"type\":\"error\""));
    }
}

TEST(relay_sends_a_large_body_in_pieces_and_whole)
{
    RELAY("");
    static char body[3 * MIB];
    _cleanup_client_ struct client c;
    client_open(&c);
    memset(body, ' ', sizeof(body));
    memcpy(body, "{\"model\":\"gpt\"", 14);
    body[sizeof(body) - 1] = '}';
    post_n(&c, "/v1/embeddings", body, sizeof(body));
    REQUIRE(engine_accept(&first));
    REQUIRE(HEARS(&first, "Content-Length: 3145728\r\n"));
    REQUIRE(WAIT(engine_read(&first) && first.got.len > sizeof(body)));
    CHECK_EQ(first.got.data[first.got.len - 1], '}');
    engine_answer(&first, "{}");
    CHECK(ENDS(&c));
}

TEST(relay_keeps_a_large_body_on_disk_and_says_when_that_is_full)
{
    RELAY("");
    static char body[3 * MIB];
    struct rlimit old, few;
    _cleanup_client_ struct client c;
    client_open(&c);
    memset(body, ' ', sizeof(body));
    memcpy(body, "{\"model\":\"one\"", 14);
    body[sizeof(body) - 1] = '}';
    struct sigaction ignore = {.sa_handler = SIG_IGN}, before;
    REQUIRE(getrlimit(RLIMIT_FSIZE, &old) == 0 && sigaction(SIGXFSZ, &ignore, &before) == 0);
    few = (struct rlimit){2 * MIB, old.rlim_max};
    REQUIRE(setrlimit(RLIMIT_FSIZE, &few) == 0);
    post_n(&c, "/v1/embeddings", body, sizeof(body));
    bool sees = SEES(&c, "gateway.no-room-on-disk");
    REQUIRE(setrlimit(RLIMIT_FSIZE, &old) == 0 && sigaction(SIGXFSZ, &before, NULL) == 0);
    REQUIRE(sees);
    CHECK(strstr(c.got.data, "HTTP/1.1 503 ") == c.got.data);
    CHECK_EQ(relay_counts(relay)->bodies_bytes, 0);
}

/* ... of which the engine need not read all. */
TEST(relay_passes_an_answer_that_comes_before_the_body_has_gone)
{
    RELAY("");
    static char body[8 * MIB];
    _cleanup_client_ struct client c;
    client_open(&c);
    memset(body, ' ', sizeof(body));
    memcpy(body, "{\"model\":\"one\"", 14);
    body[sizeof(body) - 1] = '}';
    post_n(&c, "/v1/embeddings", body, sizeof(body));
    REQUIRE(engine_accept(&first));
    engine_say(&first, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 4\r\n\r\nlong");
    REQUIRE(SEES(&c, "Content-Length: 4\r\n") && SEES(&c, "\r\n\r\nlong"));
    CHECK(strstr(c.got.data, "HTTP/1.1 413 ") == c.got.data);
    CHECK(WAIT(relay_counts(relay)->bodies_bytes == 0));
}

TEST(relay_asks_no_more_of_an_engine_that_keeps_failing)
{
    RELAY("");
    _cleanup_client_ struct client c;
    client_open(&c);
    for (unsigned i = 0; i < BREAKER_FAILURES; i++) {
        post(&c, ONE);
        REQUIRE(engine_accept(&first) && HEARS(&first, ONE));
        engine_hang_up(&first);
        REQUIRE(SEES(&c, "gateway.engine-lost"));
        CHECK(strstr(c.got.data, "HTTP/1.1 502 ") == c.got.data);
        buf_clear(&c.got);
    }
    CHECK(!backend_is_usable(relay_backend(relay, 0)));
    post(&c, ONE);
    REQUIRE(SEES(&c, "has failed repeatedly"));
    CHECK(sock_accept(first.listener, NULL) == -EAGAIN);
    buf_clear(&c.got);
    REQUIRE(WAIT(backend_is_usable(relay_backend(relay, 0))));
    post(&c, ONE);
    REQUIRE(engine_accept(&first) && HEARS(&first, ONE));
    engine_answer(&first, "{}");
    REQUIRE(SEES(&c, "HTTP/1.1 200 "));
    CHECK(backend_is_usable(relay_backend(relay, 0)));
}

TEST(relay_holds_an_engine_back_for_a_slow_client)
{
    RELAY("");
    static char block[65536];
    _cleanup_client_ struct client c;
    size_t sent = 0, before;
    client_open(&c);
    loop_fd_stop(&c.watch);
    post(&c, ONE);
    REQUIRE(engine_accept(&first) && HEARS(&first, ONE));
    engine_say(&first, "HTTP/1.1 200 OK\r\nContent-Type: audio/wav\r\n\r\n");
    do {
        before = sent;
        for (ssize_t n;
             (n = send(first.fd, block, sizeof(block), MSG_DONTWAIT | MSG_NOSIGNAL)) > 0;)
            sent += (size_t)n;
        run_for(20000);
    } while (sent > before);
    CHECK(sent < 64 * MIB);
    engine_hang_up(&first);
    client_hear(&c);
    REQUIRE(WAIT(c.got.len > sent && strstr(c.got.data + c.got.len - 5, "0\r\n\r\n")));
}

TEST(relay_answers_pipelined_requests_in_order)
{
    RELAY("");
    _cleanup_client_ struct client c;
    client_open(&c);
    post(&c, "{\"model\":\"two\",\"n\":1}");
    post(&c, "{\"model\":\"nobody\"}");
    REQUIRE(engine_accept(&second) && HEARS(&second, "\"n\":1"));
    CHECK_EQ(c.got.len, 0);
    engine_answer(&second, "{}");
    REQUIRE(SEES(&c, "model_not_found"));
    CHECK(strstr(c.got.data, "HTTP/1.1 200 ") == c.got.data);
}

TEST(relay_finds_the_model_of_a_form)
{
    RELAY("");
    static const char form[] = "--x\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\ngpt"
                               "\r\n--x--\r\n";
    _cleanup_client_ struct client c;
    client_open(&c);
    _cleanup_free_ char *head =
        mem_printf("POST /v1/audio/transcriptions HTTP/1.1\r\n" HOST
                   "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: %zu\r\n\r\n%s",
                   sizeof(form) - 1, form);
    CHECK(client_send(&c, head));
    REQUIRE(engine_accept(&first) && HEARS(&first, "\r\n\r\none\r\n--x--\r\n"));
    CHECK(strstr(first.got.data, "boundary=x\r\n"));
}

TEST(relay_asks_once_more_when_a_kept_connection_was_closed)
{
    RELAY("");
    _cleanup_client_ struct client c;
    client_open(&c);
    post(&c, ONE);
    REQUIRE(engine_accept(&first) && HEARS(&first, ONE));
    engine_answer(&first, "{}");
    REQUIRE(ENDS(&c));
    buf_clear(&c.got);
    buf_clear(&first.got);
    post(&c, ONE);
    REQUIRE(HEARS(&first, ONE));
    engine_hang_up(&first);
    REQUIRE(engine_accept(&first) && HEARS(&first, ONE));
    engine_answer(&first, "{}");
    REQUIRE(ENDS(&c));
    CHECK(strstr(c.got.data, "HTTP/1.1 200 ") == c.got.data);
}

/* ---- what the configuration gives ---- */

static bool
configure(const char *name, unsigned port, const char *more)
{
    _cleanup_free_ char *text = mem_printf("models: {%s: {port: %u%s}}", name, port, more);
    struct config *next = parse(text);
    return next && relay_configure(relay, next, NULL) == 0;
}

TEST(relay_gives_parameters_to_what_generates_text)
{
    RELAY("defaults: {parameters: {seed: 1}, forced_parameters: {top_k: 5}}\n");
    static const struct {
        const char *path, *body, *want;
    } rows[] = {
        {"/v1/chat/completions", "{\"model\":\"one\",\"top_k\":9}",
         "{\"seed\":1,\"model\":\"one\",\"top_k\":5}"},
        {"/v1/messages", "{\"model\":\"one\",\"seed\":2}",
         "{\"top_k\":5,\"model\":\"one\",\"seed\":2}"},
        {"/v1/embeddings", "{\"model\":\"one\",\"top_k\":9}",
         "\r\n\r\n{\"model\":\"one\",\"top_k\":9}"},
    };
    _cleanup_client_ struct client c;
    client_open(&c);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        buf_clear(&c.got);
        buf_clear(&first.got);
        post_n(&c, rows[i].path, rows[i].body, strlen(rows[i].body));
        REQUIRE(first.fd >= 0 || engine_accept(&first));
        CHECK(HEARS(&first, rows[i].want));
        engine_answer(&first, "{}");
        REQUIRE(ENDS(&c));
    }
}

TEST(relay_lets_who_asks_for_priority_go_first)
{
    RELAY("");
    _cleanup_client_ struct client a, b, c;
    REQUIRE(configure("one", ports[0], ", max_concurrent: 1, queue_length: 2"));
    client_open(&a);
    client_open(&b);
    client_open(&c);
    post(&a, ONE);
    REQUIRE(engine_accept(&first) && HEARS(&first, ONE));
    post(&b, "{\"model\":\"one\",\"n\":1}");
    REQUIRE(WAIT(backend_queue(relay_backend(relay, 0))->waiting == 1));
    post(&c, "{\"model\":\"one\",\"service_tier\":\"priority\"}");
    REQUIRE(WAIT(backend_queue(relay_backend(relay, 0))->waiting == 2));
    buf_clear(&first.got);
    engine_answer(&first, "{}");
    REQUIRE(HEARS(&first, "priority"));
    CHECK(!strstr(first.got.data, "\"n\":1"));
    engine_answer(&first, "{}");
    REQUIRE(ENDS(&c) && HEARS(&first, "\"n\":1"));
    engine_answer(&first, "{}");
    CHECK(ENDS(&b));
}

TEST(relay_keeps_slots_for_who_asks_for_priority)
{
    RELAY("");
    _cleanup_client_ struct client a, b, c;
    REQUIRE(configure("one", ports[0], ", max_concurrent: 2, priority_slots: 1"));
    client_open(&a);
    client_open(&b);
    client_open(&c);
    post(&a, ONE);
    post(&b, ONE);
    const struct admit_counts *queue = backend_queue(relay_backend(relay, 0));
    REQUIRE(WAIT(queue->waiting == 1));
    CHECK_EQ(queue->running, 1);
    post(&c, "{\"model\":\"one\",\"service_tier\":\"priority\"}");
    REQUIRE(WAIT(queue->running == 2));
    CHECK_EQ(queue->waiting, 1);
}

TEST(relay_passes_a_trace_on_and_begins_one_where_there_is_none)
{
    static const struct {
        const char *fields, *want, *not_wanted;
    } rows[] = {
        {"traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\ntracestate: "
         "a=b\r\n",
         "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n", "nothing"},
        {"traceparent: 00-0-0-01\r\ntracestate: a=b\r\n", "traceparent: 00-", "tracestate"},
        {"", "traceparent: 00-", "tracestate"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        RELAY("");
        _cleanup_client_ struct client c;
        client_open(&c);
        _cleanup_free_ char *text = mem_printf("POST /v1/chat/completions HTTP/1.1\r\n" HOST
                                               "%sContent-Length: 15\r\n\r\n" ONE,
                                               rows[i].fields);
        CHECK(client_send(&c, text));
        REQUIRE(engine_accept(&first) && HEARS(&first, ONE));
        CHECK(strstr(first.got.data, rows[i].want));
        CHECK(!strstr(first.got.data, rows[i].not_wanted));
        CHECK(!strstr(first.got.data, "00-0-0-01"));
    }
}

/* Two models of this host that clients take for one. */
TEST(relay_shares_a_name_among_models_by_their_weight)
{
    RELAY("");
    struct client c[4];
    _cleanup_free_ char *text =
        mem_printf("models:\n  a: {port: %u, served_names: [m], weight: 300}\n"
                   "  b: {port: %u, served_names: [m], weight: 100}\n",
                   ports[0], ports[1]);
    struct config *next = parse(text);
    REQUIRE(next && relay_configure(relay, next, NULL) == 0);
    for (size_t i = 0; i < ARRAY_SIZE(c); i++)
        client_open(&c[i]);
    for (size_t i = 0; i < ARRAY_SIZE(c); i++)
        post(&c[i], "{\"model\":\"m\"}");
    REQUIRE(WAIT(relay_counts(relay)->requests == ARRAY_SIZE(c)));
    REQUIRE(WAIT(backend_load(relay_backend(relay, 0)) + backend_load(relay_backend(relay, 1)) ==
                 ARRAY_SIZE(c)));
    CHECK_EQ(backend_load(relay_backend(relay, 0)), 3);
    CHECK_EQ(backend_load(relay_backend(relay, 1)), 1);
    for (size_t i = 0; i < ARRAY_SIZE(c); i++)
        client_close(&c[i]);
}

/* ---- whatever happens ---- */

static uint64_t dice_state;

static unsigned
dice(unsigned sides)
{
    dice_state = dice_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)(dice_state >> 33) % sides;
}

/* A request, whole or only begun, on a connection of its own: of what a client has sent behind one that
 * is under way, only so much is taken that its end of file may never come. */
static void
ask_something(struct client *c, const char *large)
{
    static const char *const models[] = {"one", "two", "both", "far", "nobody"};
    const char *model = models[dice(ARRAY_SIZE(models))];
    size_t pad = dice(8) ? 0 : 3 * MIB / 2;
    _cleanup_free_ char *body = mem_printf("{\"model\":\"%s\",\"stream\":%s%.*s}", model,
                                           dice(2) ? "true" : "false", (int)pad, large);
    size_t len = strlen(body);
    _cleanup_free_ char *head =
        mem_printf("POST /v1/%s HTTP/1.1\r\n" HOST "Content-Length: %zu\r\n\r\n",
                   dice(2) ? "chat/completions" : "responses", len);
    client_close(c);
    client_open(c);
    if (client_send(c, head))
        (void)client_send_n(c, body, dice(4) ? len : len / 2);
}

static void
say_something(struct engine *e)
{
    static const char *const words[] = {
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
        OK_STREAM "a\r\ndata: {}\n\n\r\n",
        "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n",
        "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy",
        "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n",
        "5\r\ndata:\r\n",
        "this is not HTTP\r\n\r\n",
        BEGIN_JSON "{",
    };
    if (e->fd < 0)
        e->fd = sock_accept(e->listener, NULL);
    else if (dice(4) == 0)
        engine_hang_up(e);
    if (e->fd >= 0) {
        const char *word = words[dice(2) ? 0 : dice(ARRAY_SIZE(words))];
        (void)engine_read(e);
        (void)!send(e->fd, word, strlen(word), MSG_NOSIGNAL | MSG_DONTWAIT);
        buf_clear(&e->got);
    }
}

/* close_relay() looks at the counts. */
TEST(relay_takes_nothing_for_good_whatever_happens)
{
    static char large[2 * MIB];
    uint64_t answered = 0, left = 0, failed = 0;
    memset(large, ' ', sizeof(large) - 1);
    for (uint64_t seed = 1; seed <= 3; seed++) {
        RELAY("  fallbacks: {one: [two], two: [far]}\n");
        struct engine *const engines[] = {&first, &second, &remote};
        struct client c[6];
        tap_note("seed %d", (int)seed);
        dice_state = seed;
        for (size_t i = 0; i < ARRAY_SIZE(c); i++)
            client_open(&c[i]);
        for (unsigned step = 0; step < 400; step++) {
            struct client *one = &c[dice(ARRAY_SIZE(c))];
            if (dice(6) == 0) {
                client_close(one);
                client_open(one);
            } else if (dice(3) == 0) {
                ask_something(one, large);
            } else {
                say_something(engines[dice(ARRAY_SIZE(engines))]);
            }
            run_for(500);
        }
        for (size_t i = 0; i < relay_backend_count(relay); i++) {
            const struct backend_counts *n = backend_counts(relay_backend(relay, i));
            answered += n->answered;
            left += n->left;
            failed += n->failed;
        }
        for (size_t i = 0; i < ARRAY_SIZE(c); i++)
            client_close(&c[i]);
        CHECK(WAIT(relay_counts(relay)->requests == 0));
    }
    tap_note("%u %u %u", (unsigned)answered, (unsigned)left, (unsigned)failed);
    CHECK(answered > 5 && left > 5 && failed > 5);
}

/* ---- responses that are there ---- */

TEST(relay_finds_the_server_that_has_a_response)
{
    RELAY("");
    _cleanup_client_ struct client c;
    client_open(&c);
    post_n(&c, "/v1/responses", "{\"model\":\"two\"}", 15);
    REQUIRE(engine_accept(&second) && HEARS(&second, "two"));
    engine_answer(&second, "{\"id\":\"resp_1\",\"output\":[]}");
    REQUIRE(ENDS(&c));
    static const char *const lines[][2] = {
        {"GET /v1/responses/resp_1?starting_after=5 HTTP/1.1\r\n", ""},
        {"POST /v1/responses/resp_1/cancel HTTP/1.1\r\n", "Content-Length: 0\r\n"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
        buf_clear(&c.got);
        buf_clear(&second.got);
        CHECK(client_send(&c, lines[i][0]) && client_send(&c, HOST) &&
              client_send(&c, lines[i][1]) && client_send(&c, "\r\n"));
        REQUIRE(HEARS(&second, "\r\n\r\n"));
        CHECK(strstr(second.got.data, lines[i][0]) == second.got.data);
        engine_answer(&second, "{\"id\":\"resp_1\"}");
        REQUIRE(ENDS(&c));
        CHECK(strstr(c.got.data, "HTTP/1.1 200 ") == c.got.data);
    }
    buf_clear(&c.got);
    CHECK(client_send(&c, "GET /v1/responses/resp_2 HTTP/1.1\r\n" HOST "\r\n"));
    REQUIRE(ENDS(&c));
    CHECK(strstr(c.got.data, "HTTP/1.1 404 ") == c.got.data);
    CHECK(strstr(c.got.data, "there is no response 'resp_2' here"));
}

/* It does not wait where requests do: a response is cancelled that has the only slot. */
TEST(relay_cancels_a_response_that_has_the_only_slot)
{
    RELAY("");
    _cleanup_client_ struct client a, b;
    _cleanup_(engine_hang_up) struct engine other = {.fd = -1, .got = BUF_INIT(MIB)};
    client_open(&a);
    client_open(&b);
    post_n(&a, "/v1/responses", "{\"model\":\"one\",\"stream\":true}", 29);
    REQUIRE(engine_accept(&first) && HEARS(&first, "stream"));
    engine_say(&first, OK_STREAM);
    engine_say_chunk(&first,
                     "event: response.created\ndata: {\"response\":{\"id\":\"resp_7\"}}\n\n");
    REQUIRE(SEES(&a, "resp_7"));
    CHECK(client_send(&b, "POST /v1/responses/resp_7/cancel HTTP/1.1\r\n" HOST
                          "Content-Length: 0\r\n\r\n"));
    other.listener = first.listener;
    REQUIRE(engine_accept(&other) && HEARS(&other, "/v1/responses/resp_7/cancel"));
    engine_answer(&other, "{\"id\":\"resp_7\"}");
    CHECK(ENDS(&b));
    buf_finish(&other.got);
}

TEST(relay_goes_on_with_a_response_where_it_is)
{
    RELAY("");
    _cleanup_client_ struct client c;
    client_open(&c);
    for (int i = 0; i < 2; i++) { /* one there, then one here, as turns have it */
        struct engine *e = NULL;
        buf_clear(&c.got);
        post_n(&c, "/v1/responses", "{\"model\":\"both\",\"n\":1}", 22);
        REQUIRE(WAIT((e = engine_that_hears("both"))));
        buf_clear(&e->got);
        engine_answer(e, i ? "{\"id\":\"resp_b\"}" : "{\"id\":\"resp_a\"}");
        REQUIRE(ENDS(&c));
        for (int k = 0; k < 3; k++) {
            static const char *const asks[] = {
                "{\"model\":\"both\",\"previous_response_id\":\"resp_a\"}",
                "{\"model\":\"both\",\"previous_response_id\":\"resp_b\"}"};
            buf_clear(&c.got);
            post_n(&c, "/v1/responses", asks[i], strlen(asks[i]));
            REQUIRE(WAIT(engine_that_hears("previous")));
            CHECK(engine_that_hears("previous") == e);
            buf_clear(&e->got);
            engine_answer(e, "{}");
            REQUIRE(ENDS(&c));
        }
    }
}

/* ---- who has seen it before ---- */

TEST(relay_sends_a_talk_where_its_beginning_was)
{
    RELAY("");
    _cleanup_client_ struct client c;
    struct engine *seen_by[2] = {NULL, NULL};
    char text[3000], body[4000];
    client_open(&c);
    memset(text, 'x', sizeof(text));
    for (unsigned i = 0; i < 12; i++) {
        struct engine *e = NULL;
        text[0] = (char)('a' + i % 2);
        int len = snprintf(body, sizeof(body), "{\"model\":\"both\",\"messages\":[\"%.*s\"]}",
                           (int)(1000 + 100 * i), text);
        buf_clear(&c.got);
        post_n(&c, "/v1/chat/completions", body, (size_t)len);
        REQUIRE(WAIT((e = engine_that_hears("]}"))));
        CHECK(!seen_by[i % 2] || seen_by[i % 2] == e);
        seen_by[i % 2] = e;
        buf_clear(&e->got);
        engine_answer(e, "{}");
        REQUIRE(ENDS(&c));
    }
    CHECK(seen_by[0] != seen_by[1]); /* the second began where less had been done */
}

/* ---- another configuration ---- */

TEST(relay_lets_in_who_waits_when_there_may_be_more_at_a_time)
{
    RELAY("");
    _cleanup_client_ struct client a, b;
    _cleanup_(engine_hang_up) struct engine other = {.fd = -1, .got = BUF_INIT(MIB)};
    client_open(&a);
    client_open(&b);
    post(&a, STREAM_ONE);
    REQUIRE(engine_accept(&first) && HEARS(&first, "stream"));
    engine_say(&first, OK_STREAM);
    REQUIRE(SEES(&a, "200 OK"));
    post(&b, ONE);
    REQUIRE(WAIT(backend_queue(relay_backend(relay, 0))->waiting == 1));
    const struct backend *before = relay_backend(relay, 0);
    REQUIRE(configure("one", ports[0], ", max_concurrent: 2"));
    CHECK(relay_backend(relay, 0) == before);
    CHECK_EQ(relay_backend_count(relay), 1);
    CHECK_EQ(backend_queue(before)->running, 2);
    other.listener = first.listener;
    REQUIRE(engine_accept(&other) && HEARS(&other, ONE));
    engine_answer(&other, "{}");
    CHECK(SEES(&b, "HTTP/1.1 200 "));
    engine_say_chunk(&first, "data: [DONE]\n\n");
    engine_say(&first, "0\r\n\r\n");
    CHECK(SEES(&a, "[DONE]"));
    buf_finish(&other.got);
}

TEST(relay_completes_what_a_server_has_begun_that_is_none_any_more)
{
    RELAY("");
    _cleanup_client_ struct client c;
    client_open(&c);
    post(&c, "{\"model\":\"two\"}");
    REQUIRE(engine_accept(&second) && HEARS(&second, "two"));
    REQUIRE(configure("one", ports[0], ""));
    REQUIRE(configure("two", ports[0], "")); /* another one of that name */
    engine_answer(&second, "{\"n\":1}");
    REQUIRE(SEES(&c, "{\"n\":1}"));
    CHECK(WAIT(engine_read(&second) && second.ended)); /* its connections go with it */
    buf_clear(&c.got);
    post(&c, "{\"model\":\"two\"}");
    REQUIRE(engine_accept(&first) && HEARS(&first, "two"));
    engine_answer(&first, "{}");
    REQUIRE(SEES(&c, "HTTP/1.1 200 "));
    buf_clear(&c.got);
    post(&c, ONE);
    CHECK(SEES(&c, "model_not_found"));
}
