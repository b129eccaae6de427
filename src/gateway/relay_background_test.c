/* Responses that are made when the answer to their request has ended. */

#include "gateway/relay.h"

#include "relay_rig.h"

static bool
hears_of(struct client *c, const char *method, const char *path, const char *answer)
{
    _cleanup_free_ char *head =
        mem_printf("%s %s HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n", method, path);
    buf_clear(&first.got);
    buf_clear(&c->got);
    CHECK(client_send(c, head));
    if (!HEARS(&first, path))
        return false;
    engine_answer(&first, answer);
    return ENDS(c) && WAIT(relay_counts(relay)->requests == 0);
}

/* Its answer tells no usage, and nobody need come again to hear of it. */
TEST(relay_takes_what_was_reserved_for_a_response_in_the_background)
{
    static const char body[] = "{\"model\":\"one\",\"input\":\"hi\",\"background\":true,"
                               "\"max_output_tokens\":1000}";
    static const char path[] = "/v1/responses/resp_1";
    const uint64_t prompt = (sizeof(body) - 1) / 4;
    RELAY("");
    _cleanup_client_ struct client c;
    REQUIRE(open_keys() && (caller = make_key("alice", "{\"tokens_per_day\":5000}")));
    client_open(&c);
    post_n(&c, "/v1/responses", body, strlen(body));
    REQUIRE(engine_accept(&first) && HEARS(&first, body));
    engine_answer(&first, "{\"id\":\"resp_1\",\"status\":\"queued\",\"usage\":null}");
    REQUIRE(ENDS(&c) && WAIT(relay_counts(relay)->requests == 0));
    CHECK_EQ(left_today(), 4000 - prompt);
    REQUIRE(hears_of(&c, "GET", path,
                     "{\"id\":\"resp_1\",\"status\":\"in_progress\",\"usage\":"
                     "{\"input_tokens\":7,\"output_tokens\":1}}"));
    CHECK_EQ(left_today(), 4000 - prompt);
    for (int i = 0; i < 2; i++) { /* once */
        REQUIRE(hears_of(&c, "POST", "/v1/responses/resp_1/cancel",
                         "{\"id\":\"resp_1\",\"status\":\"cancelled\",\"usage\":"
                         "{\"input_tokens\":7,\"output_tokens\":9}}"));
        CHECK_EQ(left_today(), 5000 - 16);
    }
}

/* Others are counted as their engines tell, though these call them what they like. */
TEST(relay_takes_no_more_for_a_response_that_is_made)
{
    static const char body[] = "{\"model\":\"one\",\"input\":\"hi\",\"background\":true}";
    RELAY("");
    _cleanup_client_ struct client c;
    REQUIRE(open_keys() && (caller = make_key("alice", "{\"tokens_per_day\":5000}")));
    client_open(&c);
    post_n(&c, "/v1/responses", body, strlen(body));
    REQUIRE(engine_accept(&first) && HEARS(&first, body));
    engine_answer(&first, "{\"id\":\"resp_1\",\"status\":\"completed\",\"usage\":"
                          "{\"input_tokens\":7,\"output_tokens\":9}}");
    REQUIRE(ENDS(&c) && WAIT(relay_counts(relay)->requests == 0));
    CHECK_EQ(left_today(), 5000 - 16);
}

/* ---- one of its key's at a time ---- */

#define BACKGROUND "{\"model\":\"one\",\"input\":\"hi\",\"background\":true}"
#define QUEUED "{\"id\":\"resp_1\",\"status\":\"queued\",\"usage\":null}"
#define RESP "/v1/responses/resp_1"

static bool
engine_has_heard(const char *text)
{
    if (first.fd < 0)
        first.fd = sock_accept(first.listener, NULL);
    return first.fd >= 0 && engine_read(&first) && strstr(first.got.data, text);
}

static void
ask_in_background(struct client *c)
{
    buf_clear(&first.got);
    buf_clear(&c->got);
    post_n(c, "/v1/responses", BACKGROUND, sizeof(BACKGROUND) - 1);
}

static bool
is_taken_in_background(struct client *c)
{
    ask_in_background(c);
    if (!WAIT(engine_has_heard(BACKGROUND)))
        return false;
    engine_answer(&first, QUEUED);
    return ENDS(c) && WAIT(relay_counts(relay)->requests == 0);
}

static bool
is_too_many(struct client *c)
{
    ask_in_background(c);
    return WAIT(is_whole(c) || engine_has_heard(BACKGROUND)) && is_whole(c) &&
           strstr(c->got.data, " 429 ") && strstr(c->got.data, "\r\nRetry-After: 1\r\n") &&
           strstr(c->got.data, "responses in the background");
}

/* The database has those of the rows before. */
static bool
open_anew(size_t row)
{
    _cleanup_free_ char *name = mem_printf("alice%zu", row);
    return open_keys() && (caller = make_key(name, "{\"concurrent\":1}"));
}

static bool
hears_status(struct client *c, const char *method, const char *path, const char *status,
             const char *body)
{
    _cleanup_free_ char *head =
        mem_printf("%s %s HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n", method, path);
    _cleanup_free_ char *answer = mem_printf("HTTP/1.1 %s\r\nContent-Type: application/json\r\n"
                                             "Content-Length: %zu\r\n\r\n%s",
                                             status, strlen(body), body);
    buf_clear(&first.got);
    buf_clear(&c->got);
    CHECK(client_send(c, head));
    if (!HEARS(&first, path))
        return false;
    engine_say(&first, answer);
    return ENDS(c) && WAIT(relay_counts(relay)->requests == 0);
}

/* Whoever asks after it is no other, and is let in. */
TEST(relay_counts_a_response_in_the_background_until_it_is_over)
{
    static const struct {
        const char *method, *path, *status, *body;
        bool is_over;
    } rows[] = {
        {"GET", RESP, "200 OK", "{\"status\":\"in_progress\"}", false},
        {"GET", RESP, "500 Oh", "{}", false},
        {"POST", RESP "/cancel", "409 No", "{}", false},
        {"POST", RESP "/cancel", "404 None", "{}", false}, /* that engine cancels none */
        {"GET", RESP, "200 OK",
         "{\"status\":\"completed\",\"usage\":{\"input_tokens\":7,"
         "\"output_tokens\":9}}",
         true},
        {"GET", RESP, "200 OK", "{\"status\":\"failed\"}", true},
        {"GET", RESP, "404 None", "{}", true},
        {"POST", RESP "/cancel", "200 OK", "{\"status\":\"cancelled\"}", true},
        {"DELETE", RESP, "200 OK", "{\"deleted\":true}", true},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        RELAY("");
        _cleanup_client_ struct client c;
        REQUIRE(open_anew(i));
        client_open(&c);
        REQUIRE(is_taken_in_background(&c));
        CHECK(is_too_many(&c));
        tap_note("%s %s: %s %s", rows[i].method, rows[i].path, rows[i].status, rows[i].body);
        REQUIRE(hears_status(&c, rows[i].method, rows[i].path, rows[i].status, rows[i].body));
        if (rows[i].is_over)
            REQUIRE(is_taken_in_background(&c));
        CHECK(is_too_many(&c));
    }
}

/* Nobody has to come again for it; nor can who never heard of it. */
TEST(relay_counts_no_response_in_the_background_for_ever)
{
    RELAY("  limits: {request_timeout: 1s}\n");
    _cleanup_client_ struct client c;
    struct allowance_level level;
    REQUIRE(open_keys() && (caller = make_key("alice", "{\"concurrent\":2}")));
    client_open(&c);
    REQUIRE(is_taken_in_background(&c));
    ask_in_background(&c);
    REQUIRE(WAIT(engine_has_heard(BACKGROUND)));
    client_close(&c);
    client_open(&c);
    REQUIRE(WAIT(relay_counts(relay)->requests == 0));
    CHECK(is_too_many(&c));
    REQUIRE(WAIT(holder_level(caller, ALLOWANCE_CONCURRENT, &level) && level.left == 2));
}

/* Some engines let clients say what an id is to be: another of that name ends none. */
TEST(relay_counts_each_response_in_the_background_of_one_name)
{
    RELAY("");
    _cleanup_client_ struct client c;
    REQUIRE(open_keys() && (caller = make_key("alice", "{\"concurrent\":2}")));
    client_open(&c);
    REQUIRE(is_taken_in_background(&c) && is_taken_in_background(&c));
    CHECK(is_too_many(&c));
    REQUIRE(hears_status(&c, "GET", RESP, "200 OK", "{\"status\":\"failed\"}"));
    REQUIRE(is_taken_in_background(&c));
    CHECK(is_too_many(&c));
}

/* Of a stream likewise, whose client leaves it. */
TEST(relay_counts_a_stream_of_a_response_in_the_background)
{
    static const char body[] =
        "{\"model\":\"one\",\"input\":\"hi\",\"background\":true,\"stream\":true}";
    static const char *const ends[] = {"response.completed", "response.failed", NULL};
    for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
        RELAY("");
        _cleanup_client_ struct client c;
        REQUIRE(open_anew(i));
        client_open(&c);
        post_n(&c, "/v1/responses", body, sizeof(body) - 1);
        REQUIRE(WAIT(engine_has_heard(body)));
        engine_say(&first, OK_STREAM);
        engine_say_chunk(&first, "event: response.created\ndata: {\"type\":\"response.created\","
                                 "\"response\":{\"id\":\"resp_1\"}}\n\n");
        REQUIRE(SEES(&c, "resp_1"));
        if (ends[i]) {
            _cleanup_free_ char *event = mem_printf(
                "event: %s\ndata: {\"type\":\"%s\",\"response\":{}}\n\n", ends[i], ends[i]);
            engine_say_chunk(&first, event);
            engine_say(&first, "0\r\n\r\n");
            REQUIRE(ENDS(&c) && WAIT(relay_counts(relay)->requests == 0));
            CHECK(is_taken_in_background(&c));
        } else {
            client_close(&c);
            REQUIRE(WAIT(relay_counts(relay)->requests == 0));
            engine_hang_up(&first);
            client_open(&c);
        }
        CHECK(is_too_many(&c));
    }
}
