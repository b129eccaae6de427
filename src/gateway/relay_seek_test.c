/* Where the relay sends a request, and what it puts into it. */

#include "gateway/relay.h"

#include "fmt/json.h"
#include "gateway/breaker.h"
#include "gateway/ledger.h"
#include "relay_rig.h"

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

/* As the peer has it from now on: its file has another value, and the
 * configuration is as it was. */
TEST(relay_reads_the_key_of_a_peer_anew)
{
    RELAY("");
    _cleanup_client_ struct client c;
    _cleanup_free_ char *key = mem_printf("%s/key", tap_dir());
    _cleanup_free_ char *text =
        mem_printf("models: {one: {}}\ngateway:\n  keys_file: %s/keys.db\n"
                   "  peers: {there: {url: 'http://127.0.0.1:%u/llm/v1', models: [far, both],"
                   " key: {file: %s}}}",
                   tap_dir(), ports[2], key);
    struct config *next;
    REQUIRE((next = parse(text)) && take_up(next, NULL) == 0);
    const struct backend *before = relay_backend(relay, 1);
    REQUIRE((next = parse(text)) && take_up(next, NULL) == 0);
    CHECK(relay_backend(relay, 1) == before);
    REQUIRE(file_write(key, "renewed\n", 8, 0600, NULL) == 0);
    REQUIRE((next = parse(text)) && take_up(next, NULL) == 0);
    client_open(&c);
    post(&c, "{\"model\":\"far\"}");
    REQUIRE(engine_accept(&remote) && HEARS(&remote, "{\"model\":\"far\"}"));
    CHECK(strstr(remote.got.data, "Authorization: Bearer renewed\r\n"));
    engine_answer(&remote, "{}");
    CHECK(SEES(&c, "HTTP/1.1 200 "));
}

TEST(relay_reads_the_authorities_of_a_peer_anew)
{
    RELAY("");
    _cleanup_free_ char *ca = mem_printf("%s/ca", tap_dir());
    _cleanup_free_ char *text =
        mem_printf("models: {one: {}}\ngateway:\n  keys_file: %s/keys.db\n"
                   "  peers: {there: {url: 'http://127.0.0.1:%u', models: [far], ca: %s}}",
                   tap_dir(), ports[2], ca);
    struct config *next;
    REQUIRE(file_write(ca, "old", 3, 0600, NULL) == 0);
    REQUIRE((next = parse(text)) && take_up(next, NULL) == 0);
    const struct backend *before = relay_backend(relay, 1);
    REQUIRE((next = parse(text)) && take_up(next, NULL) == 0);
    CHECK(relay_backend(relay, 1) == before);
    REQUIRE(file_write(ca, "new", 3, 0600, NULL) == 0);
    REQUIRE((next = parse(text)) && take_up(next, NULL) == 0);
    CHECK(relay_backend(relay, 1) != before);
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
    CHECK(strstr(c.got.data, "this host does not serve far itself"));
    CHECK(sock_accept(remote.listener, NULL) == -EAGAIN);
}

TEST(relay_says_that_the_address_of_a_peer_is_not_known)
{
    RELAY("");
    _cleanup_client_ struct client c;
    client_open(&c);
    struct config *next = parse("models: {one: {}}\n"
                                "gateway: {peers: {p: {url: 'http://nowhere.invalid', "
                                "models: [far]}}}");
    REQUIRE(next && take_up(next, NULL) == 0);
    post(&c, "{\"model\":\"far\"}");
    REQUIRE(SEES(&c, "the address of the host p is not known yet"));
    CHECK(strstr(c.got.data, "HTTP/1.1 503 ") == c.got.data);
    CHECK(strstr(c.got.data, "\r\nRetry-After: "));
}

/* It is our key that they do not take, and not the client's. */
TEST(relay_tells_no_client_that_a_server_refuses_the_gateway)
{
    static const char *const statuses[] = {"401 Unauthorized", "403 Forbidden"};
    for (size_t i = 0; i < 2 * ARRAY_SIZE(statuses); i++) {
        bool falls_back = i % 2;
        RELAY(falls_back ? "  fallbacks: {far: [one]}\n" : "");
        _cleanup_client_ struct client c;
        _cleanup_free_ char *answer =
            mem_printf("HTTP/1.1 %s\r\nContent-Length: 6\r\n\r\nsecret", statuses[i / 2]);
        client_open(&c);
        post(&c, "{\"model\":\"far\"}");
        REQUIRE(engine_accept(&remote) && HEARS(&remote, "far"));
        engine_say(&remote, answer);
        if (falls_back) {
            REQUIRE(engine_accept(&first) && HEARS(&first, "one"));
            engine_answer(&first, "{}");
            REQUIRE(ENDS(&c));
            CHECK(strstr(c.got.data, "HTTP/1.1 200 ") == c.got.data);
            continue;
        }
        REQUIRE(SEES(&c, "there does not let this gateway in: it answered 40"));
        CHECK(strstr(c.got.data, "HTTP/1.1 503 ") == c.got.data);
        CHECK(!strstr(c.got.data, "secret"));
    }
}

/* Nor is it the client's limit that a server goes by. */
TEST(relay_tells_no_client_that_a_server_has_too_much_to_do)
{
    static const char *const statuses[] = {"429 Too Many Requests", "408 Request Timeout"};
    for (size_t i = 0; i < 2 * ARRAY_SIZE(statuses); i++) {
        bool falls_back = i % 2;
        RELAY(falls_back ? "  fallbacks: {far: [one]}\n" : "");
        _cleanup_client_ struct client c;
        _cleanup_free_ char *answer = mem_printf(
            "HTTP/1.1 %s\r\nRetry-After: 17\r\nContent-Length: 6\r\n\r\nsecret", statuses[i / 2]);
        client_open(&c);
        post(&c, "{\"model\":\"far\"}");
        REQUIRE(engine_accept(&remote) && HEARS(&remote, "far"));
        engine_say(&remote, answer);
        if (falls_back) {
            REQUIRE(engine_accept(&first) && HEARS(&first, "one"));
            engine_answer(&first, "{}");
            REQUIRE(ENDS(&c));
            CHECK(strstr(c.got.data, "HTTP/1.1 200 ") == c.got.data);
            continue;
        }
        REQUIRE(SEES(&c, "there takes no more from this gateway now: it answered 4"));
        CHECK(strstr(c.got.data, "HTTP/1.1 503 ") == c.got.data);
        CHECK(strstr(c.got.data, "\r\nRetry-After: 17\r\n"));
        CHECK(!strstr(c.got.data, "secret"));
    }
}

TEST(relay_asks_no_fallback_that_the_key_may_not_use)
{
    for (int may = 0; may < 2; may++) {
        RELAY("  fallbacks: {far: [one]}\n");
        _cleanup_client_ struct client c;
        const char *models = may ? "{\"models\":[\"far\",\"one\"]}" : "{\"models\":[\"far\"]}";
        REQUIRE(open_keys() && (caller = make_key(may ? "bob" : "alice", models)));
        client_open(&c);
        post(&c, "{\"model\":\"far\"}");
        REQUIRE(engine_accept(&remote) && HEARS(&remote, "far"));
        engine_say(&remote, "HTTP/1.1 503 Away\r\nContent-Length: 0\r\n\r\n");
        if (may) {
            REQUIRE(engine_accept(&first) && HEARS(&first, "one"));
            engine_answer(&first, "{}");
        }
        REQUIRE(ENDS(&c));
        CHECK(strstr(c.got.data, may ? "HTTP/1.1 200 " : "HTTP/1.1 503 ") == c.got.data);
    }
}

static bool
revoke_key(const char *name)
{
    struct made made = {.wish = {.deed = KEYRING_REVOKE, .name = name, .done = on_made}};
    return keyring_do(ring, &made.wish, NULL) == 0 && WAIT(made.holder);
}

/* What waited for its turn does not begin. */
TEST(relay_asks_nobody_for_a_key_that_was_revoked)
{
    RELAY("");
    _cleanup_client_ struct client c, d;
    REQUIRE(open_keys() && (caller = make_key("alice", NULL)));
    client_open(&c);
    client_open(&d);
    post(&c, ONE);
    REQUIRE(engine_accept(&first) && HEARS(&first, ONE));
    post(&d, ONE);
    REQUIRE(WAIT(backend_queue(relay_backend(relay, 0))->waiting == 1));
    REQUIRE(revoke_key("alice"));
    engine_answer(&first, "{}");
    REQUIRE(ENDS(&c) && ENDS(&d));
    CHECK(strstr(c.got.data, "HTTP/1.1 200 ") == c.got.data);
    CHECK(strstr(d.got.data, "HTTP/1.1 401 ") == d.got.data);
    CHECK(strstr(d.got.data, "the key 'alice' was revoked"));
    REQUIRE(WAIT(relay_counts(relay)->requests == 0));
}

static struct ledger_row told;

static void
on_over(const struct ledger_row *row, const struct reply *reply unused_arg, void *arg unused_arg)
{
    told = *row;
}

/* Though one was asked before, which said that another should be. */
TEST(relay_blames_no_engine_for_a_key_that_was_revoked)
{
    RELAY("");
    _cleanup_client_ struct client c;
    struct engine *e;
    relay_tell_of_ends(relay, on_over, NULL);
    REQUIRE(open_keys() && (caller = make_key("alice", NULL)));
    client_open(&c);
    post(&c, "{\"model\":\"both\"}");
    REQUIRE(WAIT(e = engine_that_hears("both")));
    REQUIRE(revoke_key("alice"));
    engine_say(e, "HTTP/1.1 503 Away\r\nContent-Length: 0\r\n\r\n");
    REQUIRE(ENDS(&c) && WAIT(relay_counts(relay)->requests == 0));
    CHECK(strstr(c.got.data, "HTTP/1.1 401 ") == c.got.data);
    CHECK_EQ(told.status, 401);
    CHECK(told.backend[0]);
    CHECK_EQ(told.end, LEDGER_REFUSED);
}

/* Begins an answer, and is gone, until it is asked no more. */
static bool
fail_repeatedly(struct engine *e)
{
    for (unsigned i = 0; i < BREAKER_FAILURES; i++) {
        _cleanup_client_ struct client c;
        client_open(&c);
        post(&c, ONE);
        if (!engine_accept(e) || !HEARS(e, ONE))
            return false;
        engine_say(e, BEGIN_JSON "{");
        if (!SEES(&c, "HTTP/1.1 200 "))
            return false;
        engine_hang_up(e);
        if (!WAIT(c.ended))
            return false;
    }
    return true;
}

/* It was to find out whether the engine is there again, and did not. */
TEST(relay_tries_an_engine_again_after_a_key_that_was_revoked)
{
    RELAY("");
    _cleanup_client_ struct client c, d;
    struct holder *alice;
    REQUIRE(open_keys() && (alice = make_key("alice", NULL)));
    REQUIRE(fail_repeatedly(&first));
    CHECK(!backend_is_usable(relay_backend(relay, 0)));
    client_open(&c);
    client_open(&d);
    caller = alice;
    CHECK(client_send(&c, "POST /v1/chat/completions HTTP/1.1\r\n" HOST
                          "Content-Length: 15\r\n\r\n{\"model\""));
    REQUIRE(WAIT(relay_counts(relay)->bodies_bytes == 15));
    REQUIRE(revoke_key("alice") && WAIT(backend_is_usable(relay_backend(relay, 0))));
    CHECK(client_send(&c, ":\"one\"}"));
    REQUIRE(ENDS(&c));
    CHECK(strstr(c.got.data, "HTTP/1.1 401 ") == c.got.data);
    caller = NULL;
    post(&d, ONE);
    REQUIRE(engine_accept(&first) && HEARS(&first, ONE));
    engine_answer(&first, "{}");
    CHECK(ENDS(&d));
}

TEST(relay_asks_others_for_a_model_that_a_peer_does_not_have)
{
    for (int falls_back = 0; falls_back < 2; falls_back++) {
        RELAY(falls_back ? "  fallbacks: {far: [one]}\n" : "");
        _cleanup_client_ struct client c;
        client_open(&c);
        post(&c, "{\"model\":\"far\"}");
        REQUIRE(engine_accept(&remote) && HEARS(&remote, "far"));
        engine_say(&remote, "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}");
        if (falls_back) {
            REQUIRE(engine_accept(&first) && HEARS(&first, "one"));
            engine_answer(&first, "{}");
        }
        REQUIRE(ENDS(&c));
        CHECK(strstr(c.got.data, falls_back ? "HTTP/1.1 200 " : "HTTP/1.1 404 ") == c.got.data);
    }
}

/* The peer here speaks no TLS: nothing is sent to it as if it did. */
TEST(relay_sends_nothing_to_a_peer_that_is_not_trusted)
{
    RELAY("");
    _cleanup_client_ struct client c;
    client_open(&c);
    _cleanup_free_ char *text = mem_printf(
        "models: {one: {}}\ngateway: {peers: {p: {url: 'https://127.0.0.1:%u', models: [far]}}}",
        ports[2]);
    struct config *next = parse(text);
    REQUIRE(next && take_up(next, NULL) == 0);
    post(&c, "{\"model\":\"far\"}");
    REQUIRE(engine_accept(&remote) && WAIT(engine_read(&remote) && remote.got.len > 5));
    CHECK(!strstr(remote.got.data, "far"));
    engine_say(&remote, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    REQUIRE(SEES(&c, "model-away"));
    CHECK(strstr(c.got.data, "HTTP/1.1 503 ") == c.got.data);
}

TEST(relay_says_which_file_of_authorities_is_none)
{
    RELAY("");
    struct err err = {0};
    struct config *next =
        parse("models: {one: {}}\ngateway: {peers: {p: {url: 'https://127.0.0.1', "
              "models: [far], ca: /nowhere/ca}}}");
    REQUIRE(next);
    CHECK(take_up(next, &err) < 0);
    CHECK(strstr(err.what, "/nowhere/ca"));
    config_free(next);
}

/* ---- what the configuration gives ---- */

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

/* What the configuration leaves open, its engine decides; and the rest is as it was. */
TEST(relay_asks_as_much_at_a_time_as_an_engine_says)
{
    static const struct presence plain = {.state = PRESENCE_THERE},
                                 small = {.state = PRESENCE_THERE, .slots = 2};
    RELAY("");
    struct client c[3];
    struct backend *one = relay_backend_at(relay, 0), *two = relay_backend_at(relay, 1);
    CHECK_EQ(backend_slots(two), 1024);
    backend_set_presence(one, &small, NULL);
    backend_set_presence(two, &small, NULL);
    CHECK_EQ(backend_slots(one), 1);
    backend_set_presence(two, &plain, NULL); /* nobody says anything else */
    CHECK_EQ(backend_slots(two), 2);
    for (size_t i = 0; i < ARRAY_SIZE(c); i++) {
        client_open(&c[i]);
        post(&c[i], "{\"model\":\"two\"}");
    }
    CHECK(WAIT(backend_queue(two)->running == 2 && backend_queue(two)->waiting == 1));
    for (size_t i = 0; i < ARRAY_SIZE(c); i++)
        client_close(&c[i]);
}

/* ---- who shows a key ---- */

/* b comes before c, who asks for priority. */
static void
ask_with_key(const char *name, const char *members, bool c_goes_first)
{
    static const char plain[] = "\"n\":1", wish[] = "priority";
    const char *early = c_goes_first ? wish : plain, *late = c_goes_first ? plain : wish;
    RELAY("");
    _cleanup_client_ struct client a, b, c;
    REQUIRE(open_keys() && (caller = make_key(name, members)));
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
    REQUIRE(HEARS(&first, early));
    CHECK(!strstr(first.got.data, late));
    engine_answer(&first, "{}");
    REQUIRE(HEARS(&first, late));
    engine_answer(&first, "{}");
    CHECK(ENDS(&b) && ENDS(&c));
}

TEST(relay_lets_a_key_go_before_the_others_that_has_the_right)
{
    ask_with_key("plain", NULL, false);
    ask_with_key("told", "{\"priority\": false}", false);
    ask_with_key("first", "{\"priority\": true}", true);
}

TEST(relay_claims_no_more_than_a_model_can_give)
{
    RELAY("");
    _cleanup_client_ struct client c;
    REQUIRE(open_keys() && (caller = make_key("alice", "{\"tokens_per_day\":5000}")));
    REQUIRE(configure("one", ports[0], ", max_model_len: 4096"));
    client_open(&c);
    post(&c, "{\"model\":\"one\",\"max_tokens\":4294967295}");
    REQUIRE(engine_accept(&first) && HEARS(&first, "4294967295"));
    engine_answer(&first, "{}");
    CHECK(ENDS(&c));
}

/* So many answers that no sum has room for them; and nothing stays reserved. */
TEST(relay_bounds_what_two_requests_claim_together)
{
    RELAY("");
    _cleanup_client_ struct client c, other;
    REQUIRE(open_keys() && (caller = make_key("alice", "{}")));
    client_open(&c);
    client_open(&other);
    post(&c, "{\"model\":\"one\",\"n\":9223372036854775807}");
    REQUIRE(engine_accept(&first) && HEARS(&first, "9223372036854775807"));
    post(&other, "{\"model\":\"two\",\"n\":18446744073709551615}");
    REQUIRE(WAIT(engine_that_hears("18446744073709551615")));
    engine_answer(&first, "{}");
    CHECK(ENDS(&c));
    engine_answer(engine_that_hears(""), "{}");
    CHECK(ENDS(&other));
}

/* A request is not refused for a fallback that is not asked; and asks none that may take more than
 * its key has left. */
TEST(relay_claims_what_a_fallback_may_take_before_it_is_asked)
{
    static const char body[] = "{\"model\":\"small\",\"max_tokens\":30000}";
    const uint64_t limit = 40000;
    RELAY("");
    struct client c[6];
    unsigned answered = 0, refused = 0;
    REQUIRE(open_keys() && (caller = make_key("alice", "{\"tokens_per_day\":40000}")));
    _cleanup_free_ char *text = mem_printf("models:\n"
                                           "  small: {port: %u, max_model_len: 600}\n"
                                           "  large: {port: %u, max_model_len: 32768}\n"
                                           "gateway: {fallbacks: {small: [large]}}\n",
                                           ports[0], ports[1]);
    struct config *next = parse(text);
    REQUIRE(next && take_up(next, NULL) == 0);
    (void)close(take_fd(&first.listener));
    for (size_t i = 0; i < ARRAY_SIZE(c); i++) {
        client_open(&c[i]);
        post(&c[i], body);
    }
    REQUIRE(engine_accept(&second) && HEARS(&second, "30000"));
    REQUIRE(WAIT(relay_counts(relay)->requests == 1));
    CHECK(left_today() <= limit - 30000 && left_today() >= limit - 30000 - sizeof(body));
    CHECK(sock_accept(second.listener, NULL) < 0); /* no other */
    engine_answer(&second, "{\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":30000}}");
    REQUIRE(WAIT(relay_counts(relay)->requests == 0));
    for (size_t i = 0; i < ARRAY_SIZE(c); i++) {
        CHECK(ENDS(&c[i]));
        answered += strstr(c[i].got.data, "HTTP/1.1 200 ") == c[i].got.data;
        refused += strstr(c[i].got.data, "HTTP/1.1 503 ") == c[i].got.data &&
                   strstr(c[i].got.data, "small does not run");
        client_close(&c[i]);
    }
    CHECK_EQ(answered, 1);
    CHECK_EQ(refused, ARRAY_SIZE(c) - 1);
    CHECK_EQ(left_today(), limit - 30010);
}

/* Whoever has not so many left for it hears what the engine itself has said. */
TEST(relay_passes_on_a_refusal_where_no_fallback_can_be_paid)
{
    static const char body[] = "{\"model\":\"small\",\"max_tokens\":30000}";
    RELAY("");
    _cleanup_client_ struct client c;
    REQUIRE(open_keys() && (caller = make_key("alice", "{\"tokens_per_day\":20000}")));
    _cleanup_free_ char *text = mem_printf("models:\n"
                                           "  small: {port: %u, max_model_len: 600}\n"
                                           "  large: {port: %u, max_model_len: 32768}\n"
                                           "gateway: {fallbacks: {small: [large]}}\n",
                                           ports[0], ports[1]);
    struct config *next = parse(text);
    REQUIRE(next && take_up(next, NULL) == 0);
    client_open(&c);
    post(&c, body);
    REQUIRE(engine_accept(&first) && HEARS(&first, body));
    engine_say(&first, "HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 8\r\n\r\nits own!");
    REQUIRE(ENDS(&c));
    CHECK(strstr(c.got.data, "HTTP/1.1 503 ") == c.got.data && strstr(c.got.data, "its own!"));
    CHECK(strstr(c.got.data, "\r\nRetry-After: 7\r\n"));
    REQUIRE(WAIT(relay_counts(relay)->requests == 0));
    CHECK_EQ(left_today(), 20000);
    caller = make_key("bob", "{\"tokens_per_day\":40000}"); /* he has */
    buf_clear(&c.got);
    buf_clear(&first.got);
    post(&c, body);
    REQUIRE(HEARS(&first, body));
    engine_say(&first, "HTTP/1.1 503 Busy\r\nContent-Length: 8\r\n\r\nits own!");
    REQUIRE(engine_accept(&second) && HEARS(&second, "30000"));
    engine_answer(&second, "{}");
    REQUIRE(ENDS(&c));
    CHECK(strstr(c.got.data, "HTTP/1.1 200 ") == c.got.data);
}

/* It does not put who asked for it behind everybody else. */
TEST(relay_takes_nothing_for_what_an_engine_refuses)
{
    RELAY("");
    _cleanup_client_ struct client a, b, c;
    REQUIRE(open_keys());
    struct holder *alice = make_key("alice", NULL), *bob = make_key("bob", NULL);
    REQUIRE(alice && bob && configure("one", ports[0], ", max_concurrent: 1, queue_length: 2"));
    client_open(&a);
    client_open(&b);
    client_open(&c);
    caller = alice;
    post(&a, "{\"model\":\"one\",\"max_tokens\":100000}");
    REQUIRE(engine_accept(&first) && HEARS(&first, "100000"));
    engine_say(&first, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    REQUIRE(SEES(&a, "HTTP/1.1 400 ") && WAIT(relay_counts(relay)->requests == 0));
    caller = bob;
    post(&b, ONE);
    REQUIRE(HEARS(&first, ONE));
    post(&c, "{\"model\":\"one\",\"n\":1}");
    REQUIRE(WAIT(backend_queue(relay_backend(relay, 0))->waiting == 1));
    caller = alice;
    post(&a, "{\"model\":\"one\",\"n\":2}");
    REQUIRE(WAIT(backend_queue(relay_backend(relay, 0))->waiting == 2));
    engine_answer(&first, "{}");
    REQUIRE(HEARS(&first, "\"n\":2"));
    engine_answer(&first, "{}");
    REQUIRE(HEARS(&first, "\"n\":1"));
    engine_answer(&first, "{}");
    CHECK(ENDS(&c));
}

/* Whatever an engine tells: a day is not gone by one answer. */
TEST(relay_believes_no_usage_that_cannot_be)
{
    static const struct {
        const char *usage;
        uint64_t took;
    } rows[] = {
        {"{\"prompt_tokens\":4096,\"completion_tokens\":8192}", 12288}, /* of two answers */
        {"{\"prompt_tokens\":4097,\"completion_tokens\":1}", 6},
        {"{\"prompt_tokens\":1,\"completion_tokens\":8193}", 6},
        {"{\"prompt_tokens\":1,\"completion_tokens\":18446744073709551615}", 6},
    };
    static const char body[] = "{\"model\":\"one\",\"n\":2}";
    uint64_t left = 50000;
    RELAY("");
    _cleanup_client_ struct client c;
    REQUIRE(configure("one", ports[0], ", max_model_len: 4096"));
    REQUIRE(open_keys() && (caller = make_key("alice", "{\"tokens_per_day\":50000}")));
    client_open(&c);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        buf_clear(&c.got);
        buf_clear(&first.got);
        post(&c, body);
        REQUIRE((i > 0 || engine_accept(&first)) && HEARS(&first, body));
        _cleanup_free_ char *answer =
            mem_printf("{\"choices\":[{\"text\":\"one\"}],\"usage\":%s}", rows[i].usage);
        tap_note("%s", answer);
        engine_answer(&first, answer);
        REQUIRE(ENDS(&c) && WAIT(relay_counts(relay)->requests == 0));
        left -= rows[i].took;
        CHECK_EQ(left_today(), left);
    }
}

/* What a stream takes beyond its claim is nobody else's meanwhile. */
TEST(relay_reserves_what_a_stream_takes_while_it_takes_it)
{
    static const char event[] = "data: {}\n\n";
    RELAY("");
    _cleanup_client_ struct client c;
    REQUIRE(open_keys() && (caller = make_key("alice", "{\"tokens_per_day\":5000}")));
    client_open(&c);
    post(&c, "{\"model\":\"one\",\"stream\":true,\"max_tokens\":1}");
    REQUIRE(engine_accept(&first) && HEARS(&first, "stream"));
    engine_say(&first, OK_STREAM);
    for (unsigned i = 0; i < 1000; i++)
        engine_say_chunk(&first, event);
    REQUIRE(WAIT(left_today() <= 4000));
    engine_say_chunk(&first, "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,"
                             "\"completion_tokens\":4000}}\n\n");
    engine_say_chunk(&first, "data: [DONE]\n\n");
    engine_say(&first, "0\r\n\r\n");
    REQUIRE(ENDS(&c) && WAIT(relay_counts(relay)->requests == 0));
    CHECK_EQ(left_today(), 5000 - 4003);
}

/* One that began here would tell an engine that nobody samples it, and so to record nothing. */
TEST(relay_passes_a_trace_on_and_begins_none)
{
    static const struct {
        const char *fields, *want, *not_wanted;
    } rows[] = {
        {"traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\ntracestate: "
         "a=b\r\n",
         "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n", "nothing"},
        {"traceparent: 00-0-0-01\r\ntracestate: a=b\r\n", "POST", "trace"},
        {"", "POST", "trace"},
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
    REQUIRE(next && take_up(next, NULL) == 0);
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

/* One that its engine keeps is still to be found. */
TEST(relay_deletes_a_response)
{
    static const char *const statuses[] = {"405 No", "200 OK"};
    static const char wish[] = "DELETE /v1/responses/resp_1 HTTP/1.1\r\n";
    RELAY("");
    _cleanup_client_ struct client c;
    char text[128];
    client_open(&c);
    post_n(&c, "/v1/responses", "{\"model\":\"two\"}", 15);
    REQUIRE(engine_accept(&second) && HEARS(&second, "two"));
    engine_answer(&second, "{\"id\":\"resp_1\",\"output\":[]}");
    REQUIRE(ENDS(&c));
    for (size_t i = 0; i < ARRAY_SIZE(statuses); i++) {
        buf_clear(&c.got);
        buf_clear(&second.got);
        CHECK(client_send(&c, wish) && client_send(&c, HOST "\r\n"));
        REQUIRE(HEARS(&second, "\r\n\r\n"));
        CHECK(strstr(second.got.data, wish) == second.got.data);
        (void)snprintf(text, sizeof(text), "HTTP/1.1 %s\r\nContent-Length: 2\r\n\r\n{}",
                       statuses[i]);
        engine_say(&second, text);
        REQUIRE(ENDS(&c));
        CHECK(strncmp(c.got.data + 9, statuses[i], 3) == 0);
    }
    buf_clear(&c.got);
    CHECK(client_send(&c, wish) && client_send(&c, HOST "\r\n"));
    REQUIRE(ENDS(&c));
    CHECK(strstr(c.got.data, "there is no response 'resp_1' here"));
}

TEST(relay_deletes_no_response_of_another_key)
{
    static const char wish[] = "DELETE /v1/responses/resp_1 HTTP/1.1\r\n" HOST "\r\n";
    RELAY("");
    _cleanup_client_ struct client c;
    struct holder *alice, *bob;
    REQUIRE(open_keys() && (alice = make_key("alice", NULL)) && (bob = make_key("bob", NULL)));
    client_open(&c);
    caller = alice;
    post_n(&c, "/v1/responses", "{\"model\":\"two\"}", 15);
    REQUIRE(engine_accept(&second) && HEARS(&second, "two"));
    engine_answer(&second, "{\"id\":\"resp_1\",\"output\":[]}");
    REQUIRE(ENDS(&c));
    buf_clear(&c.got);
    buf_clear(&second.got);
    caller = bob;
    CHECK(client_send(&c, wish));
    REQUIRE(SEES(&c, "there is no response 'resp_1' here"));
    caller = alice;
    CHECK(client_send(&c, wish));
    CHECK(HEARS(&second, "DELETE /v1/responses/resp_1 "));
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

/* No other knows what it goes on from, nor does a fallback. */
TEST(relay_goes_on_with_no_response_where_it_is_not)
{
    static const char next[] = "{\"model\":\"both\",\"previous_response_id\":\"resp_a\"}";
    RELAY("  fallbacks: {both: [one]}\n");
    _cleanup_client_ struct client c;
    struct engine *e = NULL;
    client_open(&c);
    post_n(&c, "/v1/responses", "{\"model\":\"both\"}", 16);
    REQUIRE(WAIT((e = engine_that_hears("both"))));
    struct engine *other = e == &second ? &remote : &second;
    engine_answer(e, "{\"id\":\"resp_a\"}");
    REQUIRE(ENDS(&c));
    engine_hang_up(e);
    for (unsigned i = 0; i <= BREAKER_FAILURES; i++) {
        bool is_open = i == BREAKER_FAILURES;
        buf_clear(&c.got);
        post_n(&c, "/v1/responses", next, sizeof(next) - 1);
        if (!is_open) {
            REQUIRE(engine_accept(e) && HEARS(e, "previous"));
            engine_hang_up(e);
        }
        REQUIRE(SEES(&c, is_open ? "has failed repeatedly" : "gateway.engine-lost"));
        CHECK(strstr(c.got.data, is_open ? "HTTP/1.1 503 " : "HTTP/1.1 502 ") == c.got.data);
        CHECK(strstr(c.got.data, "no other has the response that the request goes on from"));
        CHECK_EQ(strstr(c.got.data, "\r\nRetry-After: 1\r\n") != NULL, is_open);
        CHECK_EQ(sock_accept(other->listener, NULL), -EAGAIN);
        CHECK_EQ(sock_accept(first.listener, NULL), -EAGAIN);
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
