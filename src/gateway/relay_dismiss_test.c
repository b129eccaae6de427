/* The gateway ends, and does not wait for answers any longer. */

#include "base/mem.h"
#include "fmt/json.h"
#include "relay_rig.h"

static struct ledger_row told[8];
static unsigned tellings;

static void
on_over(const struct ledger_row *row, const struct reply *reply unused_arg, void *arg unused_arg)
{
    told[tellings++] = *row;
}

static void
dismiss(void)
{
    tellings = 0;
    relay_tell_of_ends(relay, on_over, NULL);
    http_server_drain(rig->server);
    http_server_dismiss(rig->server);
}

static bool
is_busy(unsigned requests)
{
    return WAIT(relay_counts(relay)->requests == requests);
}

#define STOPPED "the gateway was stopped before "

/* By an error of its API that says when to come again; and it costs nothing. */
static void
check_refused(struct client *c)
{
    REQUIRE(WAIT(c->ended));
    CHECK(strstr(c->got.data, "HTTP/1.1 503 ") == c->got.data);
    CHECK(strstr(c->got.data, "\r\nRetry-After: 5\r\n"));
    CHECK(strstr(c->got.data, "\r\nConnection: close\r\n"));
    CHECK(strstr(c->got.data, STOPPED "the request was answered"));
    CHECK(is_whole(c));
}

static void
check_rows(unsigned count)
{
    REQUIRE(WAIT(tellings == count));
    for (unsigned i = 0; i < count; i++) {
        CHECK_EQ(told[i].end, LEDGER_GATEWAY);
        CHECK_EQ(told[i].status, 503);
        CHECK_EQ(told[i].tokens_in + told[i].tokens_out, 0);
    }
}

TEST(relay_tells_who_waits_that_the_gateway_ends)
{
    RELAY("");
    _cleanup_client_ struct client asked, queued, sends;
    struct allowance_level level;
    REQUIRE(open_keys());
    caller = make_key("alice", "{\"tokens_per_day\":100000,\"requests_per_minute\":10}");
    REQUIRE(caller);
    client_open(&asked);
    client_open(&queued);
    client_open(&sends);
    post(&asked, ONE);
    REQUIRE(engine_accept(&first) && HEARS(&first, ONE));
    post(&queued, "{\"model\":\"one\",\"user\":\"queued\"}");
    REQUIRE(WAIT(backend_queue(relay_backend(relay, 0))->waiting == 1));
    CHECK(client_send(&sends,
                      "POST /v1/chat/completions HTTP/1.1\r\n" HOST "Content-Length: 99\r\n\r\n{"));
    REQUIRE(is_busy(3));
    dismiss();
    check_refused(&asked);
    CHECK(strstr(asked.got.data, "\"code\":\"gateway.stopped\""));
    check_refused(&queued);
    check_refused(&sends);
    check_rows(3);
    REQUIRE(holder_level(caller, ALLOWANCE_TOKENS_DAY, &level));
    CHECK_EQ(level.left, 100000);
    REQUIRE(WAIT((engine_read(&first), first.ended)));
    CHECK(!strstr(first.got.data, "queued"));
    CHECK(sock_accept(first.listener, NULL) < 0); /* nor has the engine heard of it otherwise */
    CHECK_EQ(relay_counts(relay)->cut, 0);
}

TEST(relay_tells_in_the_shape_of_the_api_that_the_gateway_ends)
{
    static const char body[] = "{\"model\":\"one\",\"max_tokens\":9}";
    RELAY("");
    _cleanup_client_ struct client c;
    client_open(&c);
    post_n(&c, "/v1/messages", body, sizeof(body) - 1);
    REQUIRE(engine_accept(&first) && HEARS(&first, body));
    dismiss();
    check_refused(&c);
    CHECK(strstr(c.got.data, "{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\""));
    check_rows(1);
}

/* What went through is what it took. */
TEST(relay_ends_a_stream_with_an_error_when_the_gateway_ends)
{
    RELAY("");
    _cleanup_client_ struct client c;
    client_open(&c);
    post(&c, STREAM_ONE);
    REQUIRE(engine_accept(&first) && HEARS(&first, "stream"));
    engine_say(&first, OK_STREAM "a\r\ndata: {}\n\n\r\na\r\ndata: {}\n\n\r\n5\r\ndata:\r\n");
    REQUIRE(SEES(&c, "data: {}\n\n\r\na\r\ndata: {}"));
    dismiss();
    REQUIRE(WAIT(c.ended));
    CHECK(strstr(c.got.data, "data: {\"error\":{\"message\":\"" STOPPED "the answer was complete"));
    CHECK(strstr(c.got.data, "\r\n0\r\n\r\n"));
    CHECK(!strstr(c.got.data, "[DONE]"));
    REQUIRE(WAIT(tellings == 1));
    CHECK_EQ(told[0].end, LEDGER_GATEWAY);
    CHECK_EQ(told[0].tokens_out, 2);
    CHECK_EQ(relay_counts(relay)->cut, 0);
}

/* Whose stream has begun before anybody has answered. */
TEST(relay_ends_a_wait_with_an_error_when_the_gateway_ends)
{
    RELAY("  progress_after: 100ms\n");
    _cleanup_client_ struct client asked, queued;
    client_open(&asked);
    client_open(&queued);
    post(&asked, ONE);
    REQUIRE(engine_accept(&first) && HEARS(&first, ONE));
    post(&queued, STREAM_ONE);
    REQUIRE(SEES(&queued, ": one is busy"));
    dismiss();
    REQUIRE(WAIT(queued.ended));
    CHECK(strstr(queued.got.data, "data: {\"error\":{\"message\":\"" STOPPED));
    CHECK(strstr(queued.got.data, "\r\n0\r\n\r\n"));
    check_refused(&asked);
    check_rows(2);
}

/* It never looks complete. */
TEST(relay_cuts_a_document_when_the_gateway_ends)
{
    RELAY("");
    _cleanup_client_ struct client c;
    client_open(&c);
    post(&c, ONE);
    REQUIRE(engine_accept(&first) && HEARS(&first, ONE));
    engine_say(&first, BEGIN_JSON "{");
    REQUIRE(SEES(&c, "HTTP/1.1 200 "));
    dismiss();
    REQUIRE(WAIT(c.ended));
    CHECK(!is_whole(&c));
    REQUIRE(WAIT(tellings == 1));
    CHECK_EQ(told[0].end, LEDGER_GATEWAY);
    CHECK_EQ(told[0].tokens_out, 0);
}
