/* What engines do wrong, and what may happen at all: each request gets one end,
 * and nothing stays taken. */

#include "gateway/breaker.h"
#include "gateway/ledger.h"
#include "gateway/relay.h"

#include "relay_rig.h"
#include "sys/clock.h"

#include <inttypes.h>

/* ---- engines ---- */

#define BEGUN OK_STREAM "a\r\ndata: {}\n\n\r\n"

TEST(relay_says_in_the_stream_that_an_engine_has_stopped)
{
    RELAY("  limits: {gap_timeout: 1s}\n");
    _cleanup_client_ struct client c;
    client_open(&c);
    post(&c, STREAM_ONE);
    REQUIRE(engine_accept(&first) && HEARS(&first, "stream"));
    engine_say(&first, BEGUN);
    REQUIRE(ENDS(&c));
    CHECK(strstr(c.got.data, "data: {}\n\n"));
    CHECK(strstr(c.got.data, "gateway.engine-late"));
    CHECK(!strstr(c.got.data, "[DONE]"));
    CHECK(WAIT(engine_read(&first) && first.ended)); /* it is not left to work for nobody */
}

TEST(relay_passes_a_stream_that_comes_byte_by_byte)
{
    RELAY("");
    static const char stream[] =
        OK_STREAM "a\r\ndata: {}\n\n\r\ne\r\ndata: [DONE]\n\n\r\n0\r\n\r\n";
    _cleanup_client_ struct client c;
    client_open(&c);
    post(&c, STREAM_ONE);
    REQUIRE(engine_accept(&first) && HEARS(&first, "stream"));
    for (size_t i = 0; stream[i]; i++) {
        CHECK_EQ(send(first.fd, stream + i, 1, MSG_NOSIGNAL), 1);
        run_for(1000);
    }
    REQUIRE(ENDS(&c));
    CHECK(strstr(c.got.data, "\r\na\r\ndata: {}\n\n\r\ne\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"));
    CHECK_EQ(relay_counts(relay)->cut, 0);
}

/* Engines tell of errors with 200 when the head has gone; nothing is added to what they say. */
TEST(relay_passes_an_error_that_comes_with_200)
{
    static const struct {
        const char *ask, *answer, *body;
    } rows[] = {
        {ONE, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 14\r\n\r\n",
         "{\"error\":\"no\"}"},
        {STREAM_ONE, OK_STREAM "1c\r\n", "data: {\"error\":{\"code\":5}}\n\n"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        RELAY("");
        _cleanup_client_ struct client c;
        client_open(&c);
        post(&c, rows[i].ask);
        REQUIRE(engine_accept(&first) && HEARS(&first, "one"));
        engine_say(&first, rows[i].answer);
        engine_say(&first, rows[i].body);
        if (i == 1)
            engine_say(&first, "\r\n0\r\n\r\n");
        REQUIRE(ENDS(&c));
        CHECK(strstr(c.got.data, rows[i].body));
        CHECK(!strstr(c.got.data, "engine-lost"));
        CHECK_EQ(relay_counts(relay)->cut, 0);
    }
}

/* That one answers is no success before its answer has an end. */
TEST(relay_asks_no_more_of_an_engine_that_breaks_off_all_it_begins)
{
    RELAY("");
    for (unsigned i = 0; i <= BREAKER_FAILURES; i++) {
        _cleanup_client_ struct client c;
        client_open(&c);
        post(&c, ONE);
        if (i == BREAKER_FAILURES) {
            REQUIRE(ENDS(&c));
            CHECK(strstr(c.got.data, "HTTP/1.1 503 ") == c.got.data);
            break;
        }
        REQUIRE(engine_accept(&first) && HEARS(&first, ONE));
        engine_say(&first, BEGIN_JSON "{");
        REQUIRE(SEES(&c, "HTTP/1.1 200 "));
        engine_hang_up(&first);
        REQUIRE(WAIT(c.ended));
    }
}

TEST(relay_asks_an_engine_again_as_soon_as_it_listens)
{
    RELAY("");
    _cleanup_client_ struct client c;
    struct sock_addr addr;
    sock_addr_text text;
    client_open(&c);
    (void)close(take_fd(&first.listener));
    for (unsigned i = 0; i < 2 * BREAKER_FAILURES; i++) {
        post(&c, ONE);
        REQUIRE(ENDS(&c));
        CHECK(strstr(c.got.data, "HTTP/1.1 503 ") == c.got.data);
        buf_clear(&c.got);
    }
    (void)snprintf(text, sizeof(text), "127.0.0.1:%u", ports[0]);
    REQUIRE(sock_addr_parse(text, &addr, NULL) == 0);
    first.listener = sock_listen(&addr, 0, NULL);
    REQUIRE(first.listener >= 0);
    post(&c, ONE);
    REQUIRE(engine_accept(&first) && HEARS(&first, ONE));
    engine_answer(&first, "{}");
    REQUIRE(ENDS(&c));
    CHECK(strstr(c.got.data, "HTTP/1.1 200 ") == c.got.data);
}

TEST(relay_passes_on_what_an_engine_says_that_is_not_ready)
{
    RELAY("");
    _cleanup_client_ struct client c;
    client_open(&c);
    post(&c, ONE);
    REQUIRE(engine_accept(&first) && HEARS(&first, ONE));
    engine_say(&first, "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 7\r\n"
                       "Content-Length: 7\r\n\r\nloading");
    REQUIRE(ENDS(&c));
    CHECK(strstr(c.got.data, "HTTP/1.1 503 ") == c.got.data);
    CHECK(strstr(c.got.data, "Retry-After: 7\r\n"));
    CHECK(backend_is_usable(relay_backend(relay, 0)));
}

/* ---- whatever happens ---- */

static uint64_t dice_state;

static unsigned
dice(unsigned sides)
{
    dice_state = dice_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)(dice_state >> 33) % sides;
}

/* Keys that end, and are followed by others; each row has names of its own in the database. */
static struct holder *keys[3];
static unsigned keys_made, ended; /* requests that were refused for it */

static bool
make_walking_key(struct holder **ret_key)
{
    _cleanup_free_ char *name = mem_printf("walk%u", keys_made++);
    _cleanup_free_ char *members =
        mem_printf("{\"tokens_per_day\":1000000,\"expires_us\":%" PRIu64 "}",
                   clock_wall_us() + (dice(2) ? 60000000 : 50000));
    return (*ret_key = make_key(name, members));
}

static bool
end_key(struct holder **key)
{
    struct made revoked = {
        .wish = {.deed = KEYRING_REVOKE, .name = holder_key(*key)->name, .done = on_made}};
    if (keyring_do(ring, &revoked.wish, NULL) < 0 || !WAIT(revoked.holder))
        return false;
    return make_walking_key(key);
}

static void
on_walk_over(const struct ledger_row *row, const struct reply *reply unused_arg,
             void *arg unused_arg)
{
    ended += row->status == 401;
}

/* A client, and what he has not sent yet of his request. */
struct walker {
    struct client c;
    char *rest; /* NULL: nothing */
};

/* A request, whole or only begun, on a connection of its own: of what a client has sent behind one
 * that is under way, only so much is taken that its end of file may never come. */
static void
ask_something(struct walker *w, const char *large, bool is_whole)
{
    static const char *const models[] = {"one", "two", "both", "far", "nobody"};
    const char *model = models[dice(ARRAY_SIZE(models))];
    size_t pad = dice(8) ? 0 : 3 * MIB / 2;
    _cleanup_free_ char *body = mem_printf("{\"model\":\"%s\",\"stream\":%s%.*s}", model,
                                           dice(2) ? "true" : "false", (int)pad, large);
    size_t len = strlen(body), now = is_whole ? len : len / 2;
    _cleanup_free_ char *head =
        mem_printf("POST /v1/%s HTTP/1.1\r\n" HOST "Content-Length: %zu\r\n\r\n",
                   dice(2) ? "chat/completions" : "responses", len);
    client_close(&w->c);
    client_open(&w->c);
    free(w->rest);
    w->rest = is_whole ? NULL : mem_strdup(body + now);
    caller = dice(4) ? keys[dice(ARRAY_SIZE(keys))] : NULL;
    if (client_send(&w->c, head))
        (void)client_send_n(&w->c, body, now);
}

static void
send_rest(struct walker *w)
{
    _cleanup_free_ char *rest = take_ptr(w->rest);
    if (rest)
        (void)client_send_n(&w->c, rest, strlen(rest));
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

static void
walk(struct walker *walkers, size_t count, const char *large, unsigned steps)
{
    struct engine *const engines[] = {&first, &second, &remote};
    for (; steps > 0; steps--) {
        struct walker *one = &walkers[dice((unsigned)count)];
        if (dice(6) == 0) {
            client_close(&one->c);
            client_open(&one->c);
            free(take_ptr(one->rest));
        } else if (dice(20) == 0) {
            CHECK(end_key(&keys[dice(ARRAY_SIZE(keys))]));
        } else if (dice(3) == 0) {
            one->rest ? send_rest(one) : ask_something(one, large, dice(4));
        } else {
            say_something(engines[dice(ARRAY_SIZE(engines))]);
        }
        run_for(500);
    }
}

/* Until they are asked no more. Then there are requests that have begun, of keys that end before
 * anybody may be asked again, to find out whether he answers. */
static unsigned
fail_for_a_while(struct walker *walkers, size_t count, const char *large)
{
    struct engine *const engines[] = {&first, &second, &remote};
    unsigned tried = 0;
    for (unsigned i = 0; i < 60; i++) {
        struct engine *e = engines[i % ARRAY_SIZE(engines)];
        ask_something(&walkers[i % count], large, true);
        run_for(500);
        if (e->fd < 0)
            e->fd = sock_accept(e->listener, NULL);
        engine_hang_up(e);
    }
    for (size_t i = 0; i < count; i++)
        ask_something(&walkers[i], large, false);
    run_for(BREAKER_PAUSE_US);
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        CHECK(dice(3) == 0 || end_key(&keys[i]));
    for (size_t i = 0; i < count; i++) {
        send_rest(&walkers[i]);
        run_for(500);
        for (size_t k = 0; k < relay_backend_count(relay); k++)
            tried += backend_is_tried(relay_backend(relay, k));
    }
    return tried;
}

/* close_relay() looks at the counts, and at the breakers. */
TEST(relay_takes_nothing_for_good_whatever_happens)
{
    static char large[2 * MIB];
    uint64_t answered = 0, left = 0, failed = 0;
    unsigned tried = 0;
    memset(large, ' ', sizeof(large) - 1);
    for (uint64_t seed = 1; seed <= 3; seed++) {
        RELAY("  fallbacks: {one: [two], two: [far]}\n");
        struct walker walkers[6] = {0};
        tap_note("seed %d", (int)seed);
        dice_state = seed;
        REQUIRE(open_keys());
        relay_tell_of_ends(relay, on_walk_over, NULL);
        for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
            REQUIRE(make_walking_key(&keys[i]));
        for (size_t i = 0; i < ARRAY_SIZE(walkers); i++)
            client_open(&walkers[i].c);
        walk(walkers, ARRAY_SIZE(walkers), large, 300);
        tried += fail_for_a_while(walkers, ARRAY_SIZE(walkers), large);
        walk(walkers, ARRAY_SIZE(walkers), large, 100);
        for (size_t i = 0; i < relay_backend_count(relay); i++) {
            const struct backend_counts *n = backend_counts(relay_backend(relay, i));
            answered += n->answered;
            left += n->left;
            failed += n->failed;
        }
        for (size_t i = 0; i < ARRAY_SIZE(walkers); i++) {
            client_close(&walkers[i].c);
            free(walkers[i].rest);
        }
        CHECK(WAIT(relay_counts(relay)->requests == 0));
    }
    tap_note("%u %u %u, %u for a key that ended, %u tried", (unsigned)answered, (unsigned)left,
             (unsigned)failed, ended, tried);
    CHECK(answered > 5 && left > 5 && failed > 5 && ended > 5 && tried > 0);
}

/* ---- what an answer took that does not say it ---- */

static struct ledger_row told;
static unsigned tellings;

static void
on_over(const struct ledger_row *row, const struct reply *reply unused_arg, void *arg unused_arg)
{
    told = *row;
    tellings++;
}

#define SHORT "{\"model\":\"one\",\"max_tokens\":100}"

/* One that its client has left takes what it may have taken; one that we
 * cut is not charged to him. */
TEST(relay_tells_what_it_has_cut_itself)
{
    for (int is_cut = 0; is_cut < 2; is_cut++) {
        RELAY("");
        _cleanup_client_ struct client c;
        tellings = 0;
        relay_tell_of_ends(relay, on_over, NULL);
        client_open(&c);
        post(&c, SHORT);
        REQUIRE(engine_accept(&first) && HEARS(&first, SHORT));
        if (is_cut)
            http_server_stop(rig->server);
        else
            client_close(&c);
        REQUIRE(WAIT(tellings == 1));
        CHECK_EQ(told.end, is_cut ? LEDGER_GATEWAY : LEDGER_CLIENT);
        CHECK_EQ(told.tokens_out, is_cut ? 0 : 100);
    }
}

TEST(relay_tells_that_a_body_was_not_sent_in_time)
{
    RELAY("");
    _cleanup_client_ struct client c;
    struct http_server_config impatient = rig->config;
    tellings = 0;
    relay_tell_of_ends(relay, on_over, NULL);
    impatient.body_us = 100000;
    http_server_configure(rig->server, &impatient);
    client_open(&c);
    CHECK(client_send(&c,
                      "POST /v1/chat/completions HTTP/1.1\r\n" HOST "Content-Length: 99\r\n\r\n{"));
    REQUIRE(SEES(&c, "HTTP/1.1 408 ") && WAIT(tellings == 1));
    CHECK_EQ(told.end, LEDGER_CLIENT);
}

static bool
engine_say_large(struct engine *e, const char *bytes, size_t len)
{
    struct client as_client = {.fd = e->fd};
    return client_send_n(&as_client, bytes, len);
}

#define LARGE_JSON \
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 8388608\r\n\r\n"

/* Who lets one answer lie, and has an engine work on the next, has left both. */
TEST(relay_charges_who_does_not_read)
{
    static char large[8 * MIB];
    RELAY("");
    _cleanup_client_ struct client c;
    struct http_server_config impatient = rig->config;
    struct allowance_level level;
    tellings = 0;
    relay_tell_of_ends(relay, on_over, NULL);
    impatient.write_us = 300000;
    impatient.high_bytes = 2 * sizeof(large);
    http_server_configure(rig->server, &impatient);
    REQUIRE(open_keys());
    caller = make_key("alice", "{\"tokens_per_day\":100000,\"requests_per_minute\":10}");
    REQUIRE(caller);
    client_open(&c);
    loop_fd_stop(&c.watch);
    post(&c, "{\"model\":\"two\"}");
    post(&c, "{\"model\":\"one\",\"max_tokens\":90000}");
    REQUIRE(engine_accept(&second) && HEARS(&second, "two"));
    engine_say(&second, LARGE_JSON);
    REQUIRE(engine_say_large(&second, large, sizeof(large)));
    REQUIRE(engine_accept(&first) && HEARS(&first, "90000"));
    CHECK_EQ(told.end, LEDGER_WHOLE);
    REQUIRE(WAIT(tellings == 2));
    CHECK_EQ(told.end, LEDGER_CLIENT);
    CHECK_EQ(told.tokens_out, 90000);
    REQUIRE(holder_level(caller, ALLOWANCE_TOKENS_DAY, &level));
    CHECK(level.left < 10000);
    REQUIRE(holder_level(caller, ALLOWANCE_REQUESTS_MINUTE, &level));
    CHECK_EQ(level.left, 8);
}

#define FORM "--x\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\none\r\n--x--\r\n"

#define TEN_WORDS "good ones have five at most, and that is such a 50"

TEST(relay_estimates_what_an_answer_took_that_does_not_say)
{
    static const struct {
        const char *path, *type, *body, *heard, *answer;
        bool leaves;
        uint64_t out;
    } rows[] = {
        {"chat/completions", "application/json", STREAM_ONE, "stream",
         OK_STREAM "a\r\ndata: {}\n\n\r\na\r\ndata: {}\n\n\r\ne\r\ndata: [DONE]\n\n\r\n0\r\n\r\n",
         false, 3},
        {"chat/completions", "application/json", SHORT, SHORT, BEGIN_JSON "{\"a\"", true, 100},
        {"chat/completions", "application/json", SHORT, SHORT,
         "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}", false,
         0},
        {"audio/transcriptions", "multipart/form-data; boundary=x", FORM, FORM,
         "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 42\r\n\r\n"
         "{\"usage\":{\"type\":\"duration\",\"seconds\":19}}",
         false, 512},
        {"chat/completions", "application/json", SHORT, SHORT,
         "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 50\r\n\r\n" TEN_WORDS,
         false, 10},
        {"chat/completions", "application/json", SHORT, SHORT,
         "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 125\r\n\r\n"
         "{\"choices\":[{\"text\":\"" TEN_WORDS TEN_WORDS "\"}]}",
         false, 20},
        {"embeddings", "application/json", ONE, ONE,
         "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 50\r\n\r\n" TEN_WORDS,
         false, 0},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        RELAY("");
        _cleanup_client_ struct client c;
        tap_note("%s %s", rows[i].path, rows[i].answer);
        tellings = 0;
        relay_tell_of_ends(relay, on_over, NULL);
        client_open(&c);
        _cleanup_free_ char *text =
            mem_printf("POST /v1/%s HTTP/1.1\r\n" HOST "Content-Type: %s\r\n"
                       "Content-Length: %zu\r\n\r\n%s",
                       rows[i].path, rows[i].type, strlen(rows[i].body), rows[i].body);
        CHECK(client_send(&c, text));
        REQUIRE(engine_accept(&first) && HEARS(&first, rows[i].heard));
        engine_say(&first, rows[i].answer);
        REQUIRE(SEES(&c, "200 OK"));
        if (rows[i].leaves)
            client_close(&c);
        REQUIRE(WAIT(tellings == 1));
        CHECK_EQ(told.tokens_out, rows[i].out);
        CHECK(told.is_estimate);
    }
}

/* Words of English, as models cut them: four and a half bytes on average. */
static const char *const words[] = {"The",   " quick",    " brown", " fox",  " jump", "ed",
                                    " over", " the",      " lazy",  " dog",  ".",     " And",
                                    " it",   " was",      " happ",  "y",     " ever", " after",
                                    ",",     " wherever", " it",    " went", "!\\n",  " Indeed"};

static void
say_words(const char *head, const char *tail, size_t events, size_t at_a_time)
{
    for (size_t i = 0; i < events; i++) {
        _cleanup_buf_ struct buf event = BUF_INIT(64 * KIB);
        buf_printf(&event, "data: %s", head);
        for (size_t k = 0; k < at_a_time; k++)
            buf_add_str(&event, words[(i * at_a_time + k) % ARRAY_SIZE(words)]);
        buf_printf(&event, "%s\n\n", tail);
        buf_add_char(&event, '\0');
        engine_say_chunk(&first, event.data);
    }
}

/* What was heard of a stream that is broken off: about the tokens, however they were sent. */
TEST(relay_counts_the_tokens_of_a_stream_and_not_its_events)
{
    static const struct {
        const char *path, *head, *tail;
        size_t events, at_a_time;
        bool is_whole;
    } rows[] = {
        {"chat/completions",
         "{\"id\":\"chatcmpl-1\",\"model\":\"one\",\"choices\":[{\"delta\":{"
         "\"content\":\"",
         "\"},\"finish_reason\":null}]}", 240, 1, false},
        {"chat/completions", "{\"choices\":[{\"delta\":{\"content\":\"", "\"}}]}", 24, 100, false},
        {"chat/completions", "{\"choices\":[{\"delta\":{\"content\":\"", "\"}}]}", 5, 1200, true},
        {"chat/completions",
         "{\"choices\":[{\"delta\":{\"tool_calls\":[{\"function\":{"
         "\"arguments\":\"",
         "\"}}]}}]}", 240, 10, false},
        {"completions", "{\"choices\":[{\"text\":\"", "\"}]}", 24, 10, true},
        {"messages",
         "{\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\","
         "\"text\":\"",
         "\"}}", 240, 10, false},
        {"messages",
         "{\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\","
         "\"text\":\"",
         "\"}}", 240, 1, false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        RELAY("");
        _cleanup_client_ struct client c;
        uint64_t tokens = rows[i].events * rows[i].at_a_time;
        tellings = 0;
        relay_tell_of_ends(relay, on_over, NULL);
        client_open(&c);
        _cleanup_free_ char *text =
            mem_printf("POST /v1/%s HTTP/1.1\r\n" HOST "Content-Length: %zu\r\n\r\n%s",
                       rows[i].path, strlen(STREAM_ONE), STREAM_ONE);
        CHECK(client_send(&c, text));
        REQUIRE(engine_accept(&first) && HEARS(&first, "stream"));
        engine_say(&first, OK_STREAM);
        say_words(rows[i].head, rows[i].tail, rows[i].events, rows[i].at_a_time);
        engine_say_chunk(&first, rows[i].is_whole ? "data: [DONE]\n\n" : "data: \"last\"\n\n");
        engine_say(&first, rows[i].is_whole ? "0\r\n\r\n" : "");
        REQUIRE(SEES(&c, rows[i].is_whole ? "[DONE]" : "\"last\""));
        client_close(&c);
        REQUIRE(WAIT(tellings == 1));
        tap_note("%s, %zu of %zu: %llu", rows[i].path, rows[i].events, rows[i].at_a_time,
                 (unsigned long long)told.tokens_out);
        CHECK(told.is_estimate);
        CHECK(told.tokens_out * 100 >= tokens * 80);
        CHECK(told.tokens_out * 100 <= tokens * 103);
    }
}

TEST(relay_passes_on_no_wait_without_end)
{
    static const struct {
        const char *said, *passed;
    } rows[] = {
        {"Retry-After: 99999999999999999999\r\n", "Retry-After: 3600\r\n"},
        {"Retry-After: 12\r\n", "Retry-After: 12\r\n"},
        {"Retry-After: soon\r\n", NULL},
        {"Retry-After: Wed, 21 Oct 2099 07:28:00 GMT\r\n", NULL},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        RELAY("");
        _cleanup_client_ struct client c;
        tap_note("%s", rows[i].said);
        client_open(&c);
        post(&c, ONE);
        REQUIRE(engine_accept(&first) && HEARS(&first, ONE));
        engine_say(&first, "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n");
        engine_say(&first, rows[i].said);
        engine_say(&first, "\r\nno");
        REQUIRE(ENDS(&c));
        CHECK(rows[i].passed ? strstr(c.got.data, rows[i].passed) != NULL
                             : !strstr(c.got.data, "Retry-After"));
    }
}
