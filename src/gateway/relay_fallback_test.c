/* What a key pays, and waits for, where somebody else answers in a model's place. */

#include "gateway/sqlite.h"

#include "relay_rig.h"

#define BODY "{\"model\":\"asked\",\"max_tokens\":100000}"
#define STREAM "{\"model\":\"asked\",\"max_tokens\":100000,\"stream\":true}"
#define LIMIT 200000

static struct ledger_row ended;

static void
on_over(const struct ledger_row *row, const struct reply *reply unused_arg, void *arg unused_arg)
{
    ended = *row;
}

/* Of models that can read so much; the second takes the place of the first. */
static bool
serve(unsigned asked, unsigned other)
{
    _cleanup_free_ char *text =
        mem_printf("models:\n"
                   "  asked: {port: %u, max_model_len: %u}\n"
                   "  other: {port: %u, max_model_len: %u}\n"
                   "gateway: {fallbacks: {asked: [other]}, progress_after: 100ms}\n",
                   ports[0], asked, ports[1], other);
    struct config *next = parse(text);
    relay_tell_of_ends(relay, on_over, NULL);
    return next && take_up(next, NULL) == 0 && open_keys() &&
           (caller = make_key("alice", "{\"tokens_per_day\":200000}"));
}

static uint64_t
used_today(void)
{
    struct allowance_level level = {0};
    CHECK(holder_level(caller, ALLOWANCE_TOKENS_DAY, &level));
    return LIMIT - level.left;
}

/* Though the larger one was asked for, which may take all of what was wanted. */
TEST(fallback_that_is_smaller_is_paid_for_as_such)
{
    RELAY("");
    _cleanup_client_ struct client c;
    REQUIRE(serve(131072, 600));
    (void)close(take_fd(&first.listener));
    client_open(&c);
    post(&c, BODY);
    REQUIRE(engine_accept(&second) && HEARS(&second, "100000"));
    CHECK(used_today() >= 100000); /* it is reserved until then */
    client_close(&c);
    REQUIRE(WAIT(relay_counts(relay)->requests == 0));
    CHECK_EQ(ended.end, LEDGER_CLIENT);
    CHECK(text_eq(ended.backend, "other"));
    CHECK_EQ(ended.tokens_out, 600);
    CHECK_EQ(used_today(), ended.tokens_in + ended.tokens_out);
}

/* ---- a disk of keys that hangs ---- */

static sqlite3 *holds;

static bool
hang_disk(void)
{
    _cleanup_free_ char *path = mem_printf("%s/keys.db", tap_dir());
    return sqlite.open_v2(path, &holds, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK &&
           sqlite.exec(holds, "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_OK;
}

static void
heal_disk(void)
{
    CHECK(sqlite.exec(holds, "ROLLBACK", NULL, NULL, NULL) == SQLITE_OK);
    (void)sqlite.close(take_ptr(holds));
}

/* The one that was asked refuses it, and what the other may take is not debited. */
static bool
waits_for_the_disk(struct client *c, const char *body)
{
    client_open(c);
    post(c, body);
    if (!engine_accept(&first) || !HEARS(&first, "100000") || !hang_disk())
        return false;
    engine_say(&first, "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
    return true;
}

/* It is in the way, and not the engine. */
TEST(fallback_is_not_asked_for_a_disk_that_hangs_and_that_is_told)
{
    RELAY("");
    _cleanup_client_ struct client c;
    REQUIRE(serve(600, 131072) && waits_for_the_disk(&c, BODY));
    CHECK(ENDS(&c));
    heal_disk();
    CHECK(strstr(c.got.data, "HTTP/1.1 503 ") == c.got.data);
    CHECK(strstr(c.got.data, "what the key uses is not written down after 3 s"));
    CHECK_EQ(ended.end, LEDGER_GATEWAY);
}

TEST(fallback_is_not_said_to_work_before_it_is_asked)
{
    RELAY("");
    _cleanup_client_ struct client c;
    REQUIRE(serve(600, 131072) && waits_for_the_disk(&c, STREAM));
    CHECK(SEES(&c, ": other is asked once what the key uses is written down\n\n"));
    heal_disk();
    CHECK(!strstr(c.got.data, "other works on it"));
    REQUIRE(engine_accept(&second) && HEARS(&second, "100000"));
    REQUIRE(SEES(&c, ": other works on it\n\n"));
    engine_say(&second, OK_STREAM);
    engine_say_chunk(&second, "data: [DONE]\n\n");
    engine_say(&second, "0\r\n\r\n");
    CHECK(ENDS(&c));
}

/* Nobody says what it took, of as much as no sum has room for. */
TEST(what_is_charged_for_all_of_it_is_no_more_than_a_claim)
{
    static char body[9 * MIB];
    const size_t half = sizeof(body) / 2;
    size_t at = (size_t)snprintf(body, sizeof(body), "{\"model\":\"one\",\"query\":\"");
    RELAY("");
    _cleanup_client_ struct client c;
    memset(body + at, 'q', half - at);
    at = half + (size_t)snprintf(body + half, sizeof(body) - half, "\",\"documents\":[\"\"");
    for (; at < sizeof(body) - 5; at += 3)
        memcpy(body + at, ",\"\"", 3);
    memset(body + at, ' ', sizeof(body) - at);
    memcpy(body + sizeof(body) - 2, "]}", 2);
    relay_tell_of_ends(relay, on_over, NULL);
    REQUIRE(open_keys() && (caller = make_key("alice", "{}")));
    client_open(&c);
    post_n(&c, "/v1/rerank", body, sizeof(body));
    REQUIRE(engine_accept(&first) && HEARS(&first, "\"documents\""));
    client_close(&c);
    REQUIRE(WAIT(relay_counts(relay)->requests == 0));
    CHECK_EQ(ended.end, LEDGER_CLIENT);
    CHECK(ended.is_estimate && ended.tokens_in > 1000000);
    CHECK(ended.tokens_in <= ALLOWANCE_CLAIM_MAX && ended.tokens_out <= ALLOWANCE_CLAIM_MAX);
}
