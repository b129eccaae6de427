/* The relay between a real client and fake engines, all in one loop: whatever happens at either end
 * in whatever state, each request gets one end, and nothing stays taken. */

#include "gateway/relay.h"

#include "base/text.h"
#include "relay_rig.h"

#include <signal.h>
#include <sys/resource.h>

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
    CHECK(strstr(first.got.data, "X-Request-Id: req_"));
    CHECK(!strstr(first.got.data, "mine"));
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

/* In either direction, whatever else would be passed on. */
TEST(relay_passes_no_field_that_connection_names)
{
    RELAY("");
    _cleanup_client_ struct client c;
    client_open(&c);
    CHECK(client_send(&c,
                      "POST /v1/chat/completions HTTP/1.1\r\n" HOST
                      "Connection: keep-alive, ,User-agent\r\nUser-Agent: me\r\n"
                      "anthropic-beta: x\r\nConnection: Anthropic-Version\r\n"
                      "anthropic-version: 1\r\nContent-Length: 16\r\n\r\n{\"model\": \"one\"}"));
    REQUIRE(engine_accept(&first) && HEARS(&first, "{\"model\": \"one\"}"));
    CHECK(strstr(first.got.data, "anthropic-beta: x\r\n"));
    CHECK(!strstr(first.got.data, "User-Agent") && !strstr(first.got.data, "anthropic-version"));
    engine_say(&first, "HTTP/1.1 200 OK\r\nConnection: openai-x\r\nopenai-x: 7\r\nopenai-y: 8\r\n"
                       "Content-Length: 2\r\n\r\n{}");
    REQUIRE(ENDS(&c));
    CHECK(!strstr(c.got.data, "openai-x") && strstr(c.got.data, "openai-y: 8\r\n"));
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

/* It is read as it comes, so that no large one is work at its end. */
TEST(relay_refuses_what_is_no_json_before_it_is_whole)
{
    RELAY("");
    _cleanup_client_ struct client c;
    client_open(&c);
    CHECK(client_send(&c, "POST /v1/chat/completions HTTP/1.1\r\n" HOST
                          "Content-Length: 1000000\r\n\r\n{\"model\":\"one\",\"stream\":tru!"));
    REQUIRE(SEES(&c, "at byte 24 of the JSON"));
    CHECK(strstr(c.got.data, "HTTP/1.1 400 ") == c.got.data);
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
    static const char *const answers[] = {"", "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy"};
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

/* Whoever has begun to answer, or has had a second for it, has worked on the request. */
TEST(relay_asks_nobody_else_where_somebody_has_worked_on_it)
{
    static const char *const answers[] = {"HTTP/1.1 20", ""};
    for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
        RELAY("  fallbacks: {one: [two]}\n");
        _cleanup_client_ struct client c;
        tap_note("%s", answers[i]);
        client_open(&c);
        post(&c, ONE);
        REQUIRE(engine_accept(&first) && HEARS(&first, ONE));
        engine_say(&first, answers[i]);
        if (!answers[i][0])
            run_for(HTTP_LOST_US + 100000);
        engine_hang_up(&first);
        REQUIRE(ENDS(&c));
        CHECK(strstr(c.got.data, "HTTP/1.1 502 ") == c.got.data);
        CHECK(sock_accept(second.listener, NULL) == -EAGAIN);
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

/* Those that know each other already: a connection that was kept may be lost without a fault. */
TEST(relay_counts_engines_that_end_on_a_kept_connection)
{
    static const char *const names[] = {"one", "two", "far"};
    struct engine *const engines[] = {&first, &second, &remote};
    RELAY("  fallbacks: {one: [two, far]}\n");
    _cleanup_client_ struct client c;
    client_open(&c);
    for (size_t i = 0; i < ARRAY_SIZE(engines); i++) {
        char body[64];
        (void)snprintf(body, sizeof(body), "{\"model\":\"%s\"}", names[i]);
        post(&c, body);
        REQUIRE(engine_accept(engines[i]) && HEARS(engines[i], body));
        engine_answer(engines[i], "{}");
        REQUIRE(ENDS(&c));
        buf_clear(&c.got);
        buf_clear(&engines[i]->got);
    }
    post(&c, ONE);
    for (size_t i = 0; i < 2; i++) {
        REQUIRE(HEARS(engines[i], names[i]));
        (void)close(take_fd(&engines[i]->listener));
        engine_hang_up(engines[i]);
    }
    REQUIRE(ENDS(&c));
    CHECK(strstr(c.got.data, "HTTP/1.1 50") == c.got.data);
    CHECK(engine_read(&remote) && remote.got.len == 0);
}

/* It has got the request twice, and each time it was its end. */
TEST(relay_counts_an_engine_that_ends_twice)
{
    RELAY("  fallbacks: {one: [two]}\n");
    _cleanup_client_ struct client c;
    client_open(&c);
    post(&c, ONE);
    REQUIRE(engine_accept(&first) && HEARS(&first, ONE));
    engine_answer(&first, "{}");
    REQUIRE(ENDS(&c));
    buf_clear(&c.got);
    buf_clear(&first.got);
    post(&c, ONE);
    for (int i = 0; i < 2; i++) {
        REQUIRE(engine_accept(&first) && HEARS(&first, ONE));
        engine_hang_up(&first);
    }
    REQUIRE(ENDS(&c));
    CHECK(strstr(c.got.data, "HTTP/1.1 502 ") == c.got.data);
    CHECK(sock_accept(second.listener, NULL) == -EAGAIN);
}

/* What an answer says about whether anybody has worked on the request, or works on it yet. */
TEST(relay_goes_on_to_another_by_what_a_server_says)
{
    static const struct {
        const char *model, *status;
        bool goes_on;
    } rows[] = {
        {"one", "503 Busy", true}, {"one", "502 Lost", true},  {"one", "504 Late", false},
        {"far", "503 Busy", true}, {"far", "502 Lost", false}, {"far", "504 Late", false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        RELAY("  fallbacks: {one: [two], far: [two]}\n");
        struct engine *e = text_eq(rows[i].model, "one") ? &first : &remote;
        _cleanup_client_ struct client c;
        char text[128];
        tap_note("%s: %s", rows[i].model, rows[i].status);
        client_open(&c);
        (void)snprintf(text, sizeof(text), "{\"model\":\"%s\"}", rows[i].model);
        post(&c, text);
        REQUIRE(engine_accept(e) && HEARS(e, text));
        (void)snprintf(text, sizeof(text), "HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n",
                       rows[i].status);
        engine_say(e, text);
        if (rows[i].goes_on) {
            REQUIRE(engine_accept(&second) && HEARS(&second, "two"));
            engine_answer(&second, "{}");
        }
        REQUIRE(ENDS(&c));
        CHECK_EQ(strncmp(c.got.data + 9, rows[i].goes_on ? "200" : rows[i].status, 3), 0);
    }
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
    REQUIRE(SEES(&c, "gateway.queue-full"));
    CHECK(strstr(c.got.data, "HTTP/1.1 503 ") == c.got.data);
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
    REQUIRE(WAIT(relay_counts(relay)->bodies_bytes == 50));
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
    CHECK(!strstr(c.got.data, tap_dir())); /* where that disk is, the log says */
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
    CHECK(strstr(c.got.data, "\r\nRetry-After: 1\r\n"));
    CHECK(sock_accept(first.listener, NULL) == -EAGAIN);
    buf_clear(&c.got);
    REQUIRE(WAIT(backend_is_usable(relay_backend(relay, 0))));
    post(&c, ONE);
    REQUIRE(engine_accept(&first) && HEARS(&first, ONE));
    engine_answer(&first, "{}");
    REQUIRE(SEES(&c, "HTTP/1.1 200 "));
    CHECK(backend_is_usable(relay_backend(relay, 0)));
}

/* Its breaker is open then. */
static bool
make_fail(struct client *c)
{
    for (unsigned i = 0; i < BREAKER_FAILURES; i++) {
        post(c, ONE);
        if (!engine_accept(&first) || !HEARS(&first, ONE))
            return false;
        engine_hang_up(&first);
        if (!SEES(c, "gateway.engine-lost"))
            return false;
        buf_clear(&c->got);
    }
    return !backend_is_usable(relay_backend(relay, 0));
}

TEST(relay_keeps_who_waits_for_an_engine_that_comes_back)
{
    const struct presence away = {PRESENCE_AWAY, "", 0}, coming = {PRESENCE_COMING, "", 0},
                          there = {PRESENCE_THERE, "", 0};
    RELAY("");
    _cleanup_client_ struct client c;
    struct client waiting[6];
    client_open(&c);
    REQUIRE(configure("one", ports[0], ", max_concurrent: 8, queue_length: 8"));
    struct backend *one = relay_backend_at(relay, 0);
    backend_set_presence(one, &there, NULL);
    REQUIRE(make_fail(&c));
    backend_set_presence(one, &away, NULL);
    CHECK(!backend_is_usable(one));
    backend_set_presence(one, &coming, NULL);
    for (size_t i = 0; i < ARRAY_SIZE(waiting); i++) {
        client_open(&waiting[i]);
        post(&waiting[i], ONE);
    }
    REQUIRE(WAIT(backend_queue(one)->waiting == ARRAY_SIZE(waiting)));
    backend_set_presence(one, &there, NULL);
    CHECK_EQ(backend_queue(one)->running, ARRAY_SIZE(waiting));
    CHECK_EQ(backend_queue(one)->refused, 0);
    REQUIRE(engine_accept(&first) && HEARS(&first, ONE));
    for (size_t i = 0; i < ARRAY_SIZE(waiting); i++) {
        CHECK_EQ(waiting[i].got.len, 0);
        client_close(&waiting[i]);
    }
}

/* Two get a slot at a time; the first one finds out for both, or leaves the other to. */
TEST(relay_refuses_nobody_who_waits_while_an_engine_is_tried)
{
    for (int leaves = 0; leaves < 2; leaves++) {
        RELAY("");
        _cleanup_client_ struct client c, a, b;
        _cleanup_(engine_hang_up) struct engine held = {.fd = -1, .got = BUF_INIT(MIB)};
        struct client *const waiting[] = {&a, &b};
        client_open(&c);
        client_open(&a);
        client_open(&b);
        REQUIRE(configure("one", ports[0], ", max_concurrent: 2, queue_length: 2"));
        const struct backend *one = relay_backend(relay, 0);
        held.listener = first.listener;
        _cleanup_client_ struct client slow;
        client_open(&slow);
        post(&slow, STREAM_ONE);
        REQUIRE(engine_accept(&held) && HEARS(&held, "stream"));
        REQUIRE(make_fail(&c));
        REQUIRE(configure("one", ports[0], ", max_concurrent: 1, queue_length: 2"));
        REQUIRE(WAIT(backend_is_usable(one)));
        for (unsigned k = 0; k < ARRAY_SIZE(waiting); k++) {
            post(waiting[k], ONE);
            REQUIRE(WAIT(backend_queue(one)->waiting == k + 1));
        }
        REQUIRE(configure("one", ports[0], ", max_concurrent: 3, queue_length: 2"));
        CHECK_EQ(backend_queue(one)->running, 3);
        REQUIRE(engine_accept(&first) && HEARS(&first, ONE));
        CHECK_EQ(sock_accept(first.listener, NULL), -EAGAIN);
        CHECK_EQ(b.got.len, 0);
        if (leaves) {
            client_close(&a);
            engine_hang_up(&first);
            REQUIRE(engine_accept(&first) && HEARS(&first, ONE));
            engine_answer(&first, "{}");
        } else {
            engine_answer(&first, "{}");
            REQUIRE(ENDS(&a));
            buf_clear(&first.got);
            REQUIRE(HEARS(&first, ONE) || engine_accept(&first));
            engine_answer(&first, "{}");
        }
        CHECK(SEES(&b, "HTTP/1.1 200 "));
        buf_finish(&held.got);
    }
}

TEST(relay_asks_an_engine_again_whose_trial_lasts)
{
    RELAY("");
    _cleanup_client_ struct client c, a, b;
    _cleanup_(engine_hang_up) struct engine other = {.fd = -1, .got = BUF_INIT(MIB)};
    client_open(&c);
    client_open(&a);
    client_open(&b);
    REQUIRE(configure("one", ports[0], ", max_concurrent: 2"));
    const struct backend *one = relay_backend(relay, 0);
    REQUIRE(make_fail(&c) && WAIT(backend_is_usable(one)));
    post(&a, ONE);
    REQUIRE(engine_accept(&first) && HEARS(&first, ONE));
    post(&b, ONE); /* and is held as who was there would be, until it has lasted */
    REQUIRE(WAIT(backend_queue(one)->running == 2));
    CHECK(!backend_is_usable(one));
    CHECK_EQ(sock_accept(first.listener, NULL), -EAGAIN);
    CHECK_EQ(b.got.len, 0);
    other.listener = first.listener;
    REQUIRE(engine_accept(&other) && HEARS(&other, ONE));
    engine_answer(&other, "{}");
    CHECK(SEES(&b, "HTTP/1.1 200 "));
    engine_answer(&first, "{}");
    CHECK(SEES(&a, "HTTP/1.1 200 "));
    buf_finish(&other.got);
}

/* Though by its weight the one that is tried would be asked. */
TEST(relay_waits_for_no_trial_where_another_can_answer)
{
    static const char M[] = "{\"model\":\"m\"}";
    RELAY("");
    _cleanup_client_ struct client c, a, b;
    client_open(&c);
    client_open(&a);
    client_open(&b);
    _cleanup_free_ char *text =
        mem_printf("models:\n  one: {port: %u, served_names: [one, m], weight: 1000}\n"
                   "  two: {port: %u, served_names: [two, m], weight: 1}\n",
                   ports[0], ports[1]);
    struct config *next = parse(text);
    REQUIRE(next && take_up(next, NULL) == 0);
    REQUIRE(make_fail(&c) && WAIT(backend_is_usable(relay_backend(relay, 0))));
    post(&a, ONE);
    REQUIRE(WAIT(backend_is_tried(relay_backend(relay, 0))));
    post(&b, M);
    REQUIRE(engine_accept(&second) && HEARS(&second, M));
    engine_answer(&second, "{}");
    CHECK(SEES(&b, "HTTP/1.1 200 "));
    REQUIRE(engine_accept(&first) && HEARS(&first, ONE));
    engine_answer(&first, "{}");
    CHECK(SEES(&a, "HTTP/1.1 200 "));
}

TEST(relay_asks_no_more_of_an_engine_that_failed_while_others_waited)
{
    RELAY("");
    _cleanup_client_ struct client c, a, b;
    struct client *const waiting[] = {&a, &b};
    client_open(&c);
    client_open(&a);
    client_open(&b);
    REQUIRE(configure("one", ports[0], ", max_concurrent: 1, queue_length: 2"));
    for (unsigned i = 0; i < BREAKER_FAILURES; i++) {
        post(&c, ONE);
        REQUIRE(engine_accept(&first) && HEARS(&first, ONE));
        for (unsigned k = 0; i == BREAKER_FAILURES - 1 && k < ARRAY_SIZE(waiting); k++) {
            post(waiting[k], ONE);
            REQUIRE(WAIT(backend_queue(relay_backend(relay, 0))->waiting == k + 1));
        }
        engine_hang_up(&first);
        REQUIRE(SEES(&c, "gateway.engine-lost"));
        buf_clear(&c.got);
    }
    for (unsigned k = 0; k < ARRAY_SIZE(waiting); k++) {
        REQUIRE(SEES(waiting[k], "has failed repeatedly"));
        CHECK(strstr(waiting[k]->got.data, "\r\nRetry-After: 1\r\n") != NULL);
    }
    CHECK(sock_accept(first.listener, NULL) == -EAGAIN);
    CHECK_EQ(backend_queue(relay_backend(relay, 0))->waiting, 0);
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
    CHECK_EQ(relay_counts(relay)->held, 1);
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

/* ---- a model that is not there ---- */

static unsigned asked;

static void
count_asked(void *arg, const char *name)
{
    CHECK_STR(name, arg);
    asked++;
}

static char wanted[] = "two";
static struct presence_asker asker = {count_asked, wanted};

#define TWO "{\"model\":\"two\"}"

/* Two clients wait for it, and it was asked for. */
static bool
await_two(struct client *a, struct client *b)
{
    const struct presence cold = {PRESENCE_COLD, "it was never started"};
    struct backend *two = relay_backend_at(relay, 1);
    asked = 0;
    client_open(a);
    client_open(b);
    backend_set_presence(two, &cold, &asker);
    post(a, TWO);
    post(b, TWO);
    return WAIT(backend_queue(two)->waiting == 2);
}

TEST(relay_asks_once_for_a_model_that_is_cold)
{
    RELAY("");
    _cleanup_client_ struct client a, b;
    REQUIRE(await_two(&a, &b));
    const struct presence cold = {PRESENCE_COLD, ""}, coming = {PRESENCE_COMING, ""},
                          there = {PRESENCE_THERE, ""};
    struct backend *two = relay_backend_at(relay, 1);
    backend_set_presence(two, &cold, &asker); /* the answer is on its way */
    CHECK_EQ(backend_queue(two)->waiting, 2);
    backend_was_asked(two, NULL);
    backend_set_presence(two, &coming, &asker);
    CHECK_EQ(backend_queue(two)->waiting, 2);
    CHECK_EQ(asked, 1);
    backend_set_presence(two, &there, &asker);
    CHECK_EQ(backend_queue(two)->running, 2);
    REQUIRE(engine_accept(&second) && HEARS(&second, TWO));
}

TEST(relay_tells_why_a_model_does_not_come)
{
    static const char *const stories[] = {"big has 40 GiB of GPU 0",
                                          "two was started, and is stopped: it crashed"};
    for (size_t i = 0; i < ARRAY_SIZE(stories); i++) {
        RELAY("");
        _cleanup_client_ struct client a, b;
        REQUIRE(await_two(&a, &b));
        const struct presence crashed = {PRESENCE_COLD, "it crashed"};
        struct backend *two = relay_backend_at(relay, 1);
        struct err no_room;
        (void)err_set(&no_room, ERR_MODEL_AWAY, "%s", stories[0]);
        backend_was_asked(two, i == 0 ? &no_room : NULL);
        if (i == 1)
            backend_set_presence(two, &crashed, &asker);
        CHECK(SEES(&a, stories[i]) && SEES(&b, stories[i]));
        CHECK(strstr(a.got.data, "HTTP/1.1 503 ") == a.got.data);
        buf_clear(&a.got);
        post(&a, TWO); /* he is not asked again so soon */
        CHECK(SEES(&a, stories[i]));
        CHECK_EQ(asked, 1);
    }
}
