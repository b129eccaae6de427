/* What who waits for a stream is told, and what becomes of an answer that was begun so. */

#include "gateway/peer.h"
#include "gateway/relay.h"

#include "relay_rig.h"

#define TELLS "  progress_after: 100ms\n"
#define BUSY ": one is busy with 1 requests; at most 0 of the 1 that wait go before\n\n"

/* a: the model's one slot is his; b: waits behind him, and is told so. */
static bool
wait_behind(struct client *a, struct client *b, const char *path)
{
    client_open(a);
    client_open(b);
    post(a, ONE);
    if (!engine_accept(&first) || !HEARS(&first, ONE))
        return false;
    buf_clear(&first.got);
    post_n(b, path, STREAM_ONE, strlen(STREAM_ONE));
    return SEES(b, BUSY);
}

static bool
comes_next(struct client *a)
{
    engine_answer(&first, "{}");
    return ENDS(a) && HEARS(&first, "\"stream\":true");
}

TEST(progress_goes_before_a_stream)
{
    RELAY(TELLS);
    _cleanup_client_ struct client a, b;
    REQUIRE(wait_behind(&a, &b, "/v1/chat/completions"));
    CHECK(strstr(b.got.data, "HTTP/1.1 200 OK\r\n") == b.got.data);
    CHECK(strstr(b.got.data, "Content-Type: text/event-stream\r\n"));
    REQUIRE(comes_next(&a));
    REQUIRE(SEES(&b, ": one works on it\n\n")); /* it says nothing yet */
    engine_say(&first, OK_STREAM);
    engine_say_chunk(&first, "data: {}\n\n");
    engine_say_chunk(&first, "data: [DONE]\n\n");
    engine_say(&first, "0\r\n\r\n");
    REQUIRE(ENDS(&b));
    CHECK(strstr(b.got.data, "data: {}\n\n") && strstr(b.got.data, "data: [DONE]\n\n"));
    CHECK(!strstr(b.got.data + 1, "HTTP/1.1") && !strstr(b.got.data, "error"));
    CHECK_EQ(backend_counts(relay_backend(relay, 0))->answered, 2);
}

TEST(progress_ends_with_an_event_where_nobody_answers)
{
    static const struct {
        const char *path, *event;
    } rows[] = {
        {"/v1/chat/completions",
         "\ndata: {\"error\":{\"message\":\"one had no free place within 1s"},
        {"/v1/responses", "event: error\ndata: {\"message\":\"one had no free place within 1s"},
        {"/v1/messages",
         "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        RELAY(TELLS);
        _cleanup_client_ struct client a, b;
        tap_note("%s", rows[i].path);
        REQUIRE(wait_behind(&a, &b, rows[i].path));
        REQUIRE(ENDS(&b));
        CHECK(strstr(b.got.data, rows[i].event));
        CHECK(!strstr(b.got.data, "[DONE]") && !strstr(b.got.data, "HTTP/1.1 503"));
    }
}

TEST(progress_is_told_to_nobody_else)
{
    static const char stream[] = STREAM_ONE;
    static const struct {
        const char *options, *path, *body, *field;
    } rows[] = {
        {"", "/v1/chat/completions", stream, ""},
        {TELLS, "/v1/chat/completions", ONE, ""},
        {TELLS, "/v1/audio/speech", stream, ""},
        {TELLS, "/v1/chat/completions", stream, PEER_FIELD ": 1\r\n"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        RELAY(rows[i].options);
        _cleanup_client_ struct client a, b;
        char text[512];
        tap_note("%zu", i);
        client_open(&a);
        client_open(&b);
        post(&a, ONE);
        REQUIRE(engine_accept(&first) && HEARS(&first, ONE));
        (void)snprintf(text, sizeof(text),
                       "POST %s HTTP/1.1\r\n" HOST "%sContent-Length: %zu\r\n\r\n%s", rows[i].path,
                       rows[i].field, strlen(rows[i].body), rows[i].body);
        CHECK(client_send(&b, text));
        REQUIRE(ENDS(&b));
        CHECK(strstr(b.got.data, "HTTP/1.1 503 ") == b.got.data);
    }
}

TEST(progress_names_a_fallback_that_answers)
{
    RELAY(TELLS "  fallbacks: {one: [two]}\n");
    _cleanup_client_ struct client a, b;
    REQUIRE(wait_behind(&a, &b, "/v1/chat/completions"));
    REQUIRE(engine_accept(&second) && HEARS(&second, "\"two\"")); /* one had no place in time */
    engine_say(&second, OK_STREAM);
    engine_say_chunk(&second, "data: [DONE]\n\n");
    engine_say(&second, "0\r\n\r\n");
    REQUIRE(ENDS(&b));
    CHECK(strstr(b.got.data, "\n: X-Citadel-Fallback: two\n\n"));
    CHECK(strstr(b.got.data, "data: [DONE]\n\n"));
    CHECK_EQ(relay_counts(relay)->fallbacks, 1);
}

/* An answer that is no stream: the engine's own words where they are an error, else ours. */
TEST(progress_ends_with_what_an_engine_refuses)
{
    static const char lost[] = "and no stream",
                      own[] = "data: {\"error\":{\ndata: \"message\":\"long\"}}\n\n";
    static const struct {
        const char *status, *body, *told;
    } rows[] = {
        {"400 Bad Request", "{\"error\":{\n\"message\":\"long\"}}", own},
        {"400 Bad Request", "{\"detail\":\"long\"}", lost},
        {"500 Oh", "", lost},
        {"500 Oh", "{\"error\":", lost},
        {"200 OK", "{\"id\":\"x\"}", lost},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        RELAY(TELLS);
        _cleanup_client_ struct client a, b;
        char text[256];
        tap_note("%s: %s", rows[i].status, rows[i].body);
        REQUIRE(wait_behind(&a, &b, "/v1/chat/completions") && comes_next(&a));
        (void)snprintf(
            text, sizeof(text),
            "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
            rows[i].status, strlen(rows[i].body), rows[i].body);
        engine_say(&first, text);
        REQUIRE(ENDS(&b));
        CHECK(strstr(b.got.data, rows[i].told));
    }
}

TEST(progress_ends_when_an_engine_dies)
{
    RELAY(TELLS);
    _cleanup_client_ struct client a, b;
    REQUIRE(wait_behind(&a, &b, "/v1/chat/completions") && comes_next(&a));
    engine_say(&first, BEGIN_JSON "{");
    engine_hang_up(&first);
    REQUIRE(ENDS(&b));
    CHECK(strstr(b.got.data, "gateway.engine-lost") && strstr(b.got.data, "before its answer"));
}

TEST(progress_ends_with_a_client_that_leaves)
{
    RELAY(TELLS);
    _cleanup_client_ struct client a, b;
    REQUIRE(wait_behind(&a, &b, "/v1/chat/completions"));
    client_close(&b);
    CHECK(WAIT(backend_queue(relay_backend(relay, 0))->waiting == 0));
    CHECK(WAIT(relay_counts(relay)->requests == 1));
}

/* ---- a model that comes ---- */

static void
ask(void *arg unused_arg, const char *name unused_arg)
{
}

TEST(progress_tells_how_a_model_comes)
{
    static const struct presence_asker asker = {ask, NULL};
    static const struct presence cold = {PRESENCE_COLD, "it was never started"},
                                 coming = {PRESENCE_COMING, "weights 45 %\r\ndata: 1\n"},
                                 there = {PRESENCE_THERE, ""};
    RELAY(TELLS);
    _cleanup_client_ struct client c;
    struct backend *two = relay_backend_at(relay, 1);
    client_open(&c);
    backend_set_presence(two, &cold, &asker);
    post(&c, "{\"model\":\"two\",\"stream\":true}");
    REQUIRE(SEES(&c, ": two is stopped: it was asked for\n\n"));
    backend_was_asked(two, NULL);
    backend_set_presence(two, &coming, &asker);
    REQUIRE(SEES(&c, ": two is starting: weights 45 %??data: 1?\n\n"));
    CHECK(!strstr(c.got.data, "\ndata:"));
    backend_set_presence(two, &there, &asker);
    REQUIRE(engine_accept(&second) && HEARS(&second, "two"));
}
