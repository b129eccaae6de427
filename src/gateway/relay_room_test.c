/* What one caller may have of what all have together. */

#include "base/text.h"
#include "fmt/json.h"
#include "relay_rig.h"

static bool
begin_body(struct client *c, size_t len)
{
    _cleanup_free_ char *head = mem_printf(
        "POST /v1/chat/completions HTTP/1.1\r\n" HOST "Content-Length: %zu\r\n\r\n{", len);
    unsigned before = relay_counts(relay)->requests;
    client_open(c);
    return client_send(c, head) && WAIT(relay_counts(relay)->requests > before || c->got.len > 0);
}

static void
close_all(struct client *c, size_t count)
{
    for (size_t i = 0; i < count; i++)
        client_close(&c[i]);
}

TEST(relay_lets_no_caller_have_the_connections_of_the_others)
{
    RELAY("  limits: {connections: 16}\n");
    struct client c[10];
    REQUIRE(open_keys());
    struct holder *alice = make_key("alice", NULL), *bob = make_key("bob", NULL);
    REQUIRE(alice && bob);
    caller = alice;
    for (size_t i = 0; i < 9; i++)
        REQUIRE(begin_body(&c[i], 50));
    REQUIRE(SEES(&c[8], "gateway.share-taken"));
    CHECK(strstr(c[8].got.data, "HTTP/1.1 429 ") == c[8].got.data);
    CHECK(strstr(c[8].got.data, "Retry-After: 1\r\n"));
    CHECK(strstr(c[8].got.data, "the key 'alice' has 8 requests at a time here"));
    CHECK_EQ(c[7].got.len, 0);
    CHECK(WAIT(relay_counts(relay)->requests == 8)); /* whatever else comes of a refused one */
    caller = bob;
    REQUIRE(begin_body(&c[9], 15));
    CHECK(client_send(&c[9], "\"model\":\"one\"}"));
    REQUIRE(engine_accept(&first) && HEARS(&first, "\"one\""));
    close_all(c, ARRAY_SIZE(c));
    CHECK(WAIT(relay_counts(relay)->requests == 0));
}

/* Nor where there are fewer than the configuration says. */
TEST(relay_divides_the_connections_that_there_can_be)
{
    RELAY("  limits: {connections: 1000}\n");
    struct client c[9];
    REQUIRE(open_keys() && (caller = make_key("alice", NULL)));
    relay_bound_connections(relay, 16);
    for (size_t i = 0; i < 9; i++)
        REQUIRE(begin_body(&c[i], 50));
    REQUIRE(SEES(&c[8], "gateway.share-taken"));
    CHECK_EQ(c[7].got.len, 0);
    close_all(c, ARRAY_SIZE(c));
}

/* Room for a body is taken at its head: who sends it slowly keeps it that long. */
TEST(relay_lets_no_caller_have_the_room_for_bodies)
{
    RELAY("  limits: {body: 1MiB, bodies: 4MiB}\n");
    struct client c[4];
    REQUIRE(open_keys());
    struct holder *alice = make_key("alice", NULL);
    REQUIRE(alice);
    for (size_t i = 0; i < 2; i++)
        REQUIRE(begin_body(&c[i], MIB));
    CHECK_EQ(relay_counts(relay)->bodies_bytes, 2 * MIB);
    REQUIRE(begin_body(&c[2], MIB)); /* all of them from one address */
    REQUIRE(SEES(&c[2], "gateway.share-taken"));
    CHECK(strstr(c[2].got.data, "your address has bodies of 2097152 bytes here"));
    CHECK(strstr(c[2].got.data, "HTTP/1.1 429 ") == c[2].got.data);
    caller = alice;
    REQUIRE(begin_body(&c[3], MIB));
    CHECK_EQ(relay_counts(relay)->bodies_bytes, 3 * MIB);
    CHECK_EQ(c[3].got.len, 0);
    close_all(c, ARRAY_SIZE(c));
    CHECK(WAIT(relay_counts(relay)->requests == 0));
}

/* Before its body has come: else one key could send any number of these. */
TEST(relay_refuses_by_the_head_who_is_over_a_limit)
{
    static const char *const members[] = {"{\"concurrent\":1}", "{\"requests_per_minute\":1}"};
    for (size_t i = 0; i < ARRAY_SIZE(members); i++) {
        RELAY("");
        struct client c[2];
        char name[] = {(char)('a' + i), '\0'};
        REQUIRE(open_keys() && (caller = make_key(name, members[i])));
        for (size_t k = 0; k < ARRAY_SIZE(c); k++)
            REQUIRE(begin_body(&c[k], 50));
        REQUIRE(SEES(&c[1], "rate_limit_exceeded"));
        CHECK(strstr(c[1].got.data, "HTTP/1.1 429 ") == c[1].got.data);
        CHECK_EQ(c[0].got.len, 0);
        close_all(c, ARRAY_SIZE(c));
        CHECK(WAIT(relay_counts(relay)->requests == 0));
    }
}

/* It makes a response, which is about to be asked for. */
static bool
make_response(struct engine *e, const char *model, const char *id)
{
    _cleanup_client_ struct client maker;
    _cleanup_free_ char *ask = mem_printf("{\"model\":\"%s\"}", model);
    _cleanup_free_ char *answer = mem_printf("{\"id\":\"%s\",\"output\":[]}", id);
    client_open(&maker);
    post_n(&maker, "/v1/responses", ask, strlen(ask));
    if (!engine_accept(e) || !HEARS(e, model))
        return false;
    engine_answer(e, answer);
    return ENDS(&maker);
}

/* True: it is on its way; false: it was answered. */
static bool
asks_for_response(struct client *c, const struct backend *b, const char *id)
{
    unsigned before = backend_asides(b);
    _cleanup_free_ char *head =
        mem_printf("GET /v1/responses/%s?stream=true HTTP/1.1\r\n" HOST "\r\n", id);
    client_open(c);
    CHECK(client_send(c, head));
    CHECK(WAIT(backend_asides(b) > before || c->got.len > 0));
    return backend_asides(b) > before;
}

/* They take no slot, and have connections of their own: of these a caller has his share at each. */
TEST(relay_asks_for_so_many_responses_at_a_time)
{
    enum { SHARE = BACKEND_ASIDES_MAX / 2 };
    RELAY("");
    static struct client at_two[SHARE], at_peer[SHARE];
    struct client last;
    const struct backend *two = relay_backend(relay, 1), *peer = relay_backend(relay, 2);
    REQUIRE(make_response(&second, "two", "resp_1") && make_response(&remote, "far", "resp_2"));
    for (size_t i = 0; i < SHARE; i++) {
        REQUIRE(asks_for_response(&at_two[i], two, "resp_1"));
        REQUIRE(asks_for_response(&at_peer[i], peer, "resp_2"));
    }
    CHECK(!asks_for_response(&last, two, "resp_1"));
    REQUIRE(SEES(&last, "gateway.share-taken"));
    CHECK(strstr(last.got.data, "HTTP/1.1 429 ") == last.got.data);
    CHECK(strstr(last.got.data, "has 128 requests about responses under way at two"));
    CHECK_EQ(backend_asides(two), SHARE);
    CHECK_EQ(backend_state(two), BACKEND_ANSWERS);
    close_all(at_two, SHARE);
    close_all(at_peer, SHARE);
    close_all(&last, 1);
    CHECK(WAIT(backend_asides(two) == 0 && backend_asides(peer) == 0));
}

/* Else who asks for what is not there, or breaks off what he begins, could go on for ever. */
TEST(relay_counts_a_request_that_was_wrong_and_none_that_nobody_could_answer)
{
    static const struct {
        const char *text, *status;
        bool counts;
    } rows[] = {
        {"POST /v1/chat/completions HTTP/1.1\r\n" HOST "Content-Length: 18\r\n\r\n"
         "{\"model\":\"nobody\"}",
         "HTTP/1.1 404 ", true},
        {"POST /v1/chat/completions HTTP/1.1\r\n" HOST "Content-Length: 1\r\n\r\n}",
         "HTTP/1.1 400 ", true},
        {"POST /v1/chat/completions HTTP/1.1\r\n" HOST "Content-Length: 99999999999\r\n\r\n",
         "HTTP/1.1 413 ", true},
        {"POST /v1/audio/transcriptions HTTP/1.1\r\n" HOST "Content-Length: 1\r\n\r\nx",
         "HTTP/1.1 400 ", true},
        {"POST /v1/chat/completions HTTP/1.1\r\n" HOST "Content-Length: 90\r\n\r\n{\"model\"", NULL,
         true},
        {"GET /v1/responses/resp_0 HTTP/1.1\r\n" HOST "\r\n", "HTTP/1.1 404 ", true},
        {"POST /v1/chat/completions HTTP/1.1\r\n" HOST "Content-Length: 15\r\n\r\n"
         "{\"model\":\"one\"}",
         "HTTP/1.1 503 ", false},
    };
    RELAY("");
    (void)close(take_fd(&first.listener));
    REQUIRE(open_keys());
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_client_ struct client c;
        struct allowance_level level;
        char name[] = {(char)('a' + i), '\0'};
        tap_note("%s", rows[i].text);
        REQUIRE((caller = make_key(name, "{\"requests_per_minute\":5,\"tokens_per_day\":100000}")));
        client_open(&c);
        CHECK(client_send(&c, rows[i].text));
        if (rows[i].status)
            REQUIRE(SEES(&c, rows[i].status));
        else
            REQUIRE(WAIT(relay_counts(relay)->requests == 1));
        client_close(&c);
        REQUIRE(WAIT(relay_counts(relay)->requests == 0));
        REQUIRE(holder_level(caller, ALLOWANCE_REQUESTS_MINUTE, &level));
        CHECK_EQ(level.left, rows[i].counts ? 4 : 5);
        REQUIRE(holder_level(caller, ALLOWANCE_TOKENS_DAY, &level));
        CHECK_EQ(level.left, 100000);
    }
}
