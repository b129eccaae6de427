/* A disk that hangs stops those whose bodies are on it, and nobody else. */

#include "base/mem.h"
#include "gateway/relay_int.h"
#include "relay_rig.h"

#include <semaphore.h>

static sem_t gate;
static struct spool_job jobs[SPOOL_WORKERS];
static char large[3 * MIB];

static void
hang(struct spool_job *job unused_arg)
{
    while (sem_wait(&gate) < 0)
        ;
}

static void
on_hung(struct spool_job *job unused_arg)
{
}

static bool
hang_disk(void)
{
    memset(large, ' ', sizeof(large));
    memcpy(large, "{\"model\":\"two\"", 14);
    large[sizeof(large) - 1] = '}';
    for (size_t i = 0; i < ARRAY_SIZE(jobs); i++) {
        jobs[i] = (struct spool_job){.run = hang, .done = on_hung, .late = on_hung};
        spool_start(relay->spool, &jobs[i]);
    }
    return true;
}

static bool
heal_disk(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(jobs); i++)
        (void)sem_post(&gate);
    return WAIT(jobs[0].state == SPOOL_IDLE && jobs[1].state == SPOOL_IDLE);
}

TEST(relay_goes_on_with_the_others_while_a_disk_hangs)
{
    RELAY("");
    _cleanup_client_ struct client a, b;
    client_open(&a);
    client_open(&b);
    REQUIRE(sem_init(&gate, 0, 0) == 0 && hang_disk());
    post_n(&a, "/v1/embeddings", large, sizeof(large));
    REQUIRE(WAIT(relay_counts(relay)->bodies_bytes == sizeof(large)));
    post(&b, ONE);
    REQUIRE(engine_accept(&first) && HEARS(&first, ONE));
    engine_answer(&first, "{}");
    CHECK(ENDS(&b));
    CHECK_EQ(a.got.len, 0);
    REQUIRE(heal_disk());
    REQUIRE(engine_accept(&second));
    REQUIRE(WAIT(engine_read(&second) && second.got.len > sizeof(large)));
    const char *body = strstr(second.got.data, "\r\n\r\n");
    REQUIRE(body && second.got.len - (size_t)(body + 4 - second.got.data) == sizeof(large));
    CHECK(memcmp(body + 4, large, sizeof(large)) == 0);
    engine_answer(&second, "{}");
    CHECK(ENDS(&a));
    (void)sem_destroy(&gate);
}

TEST(relay_says_that_a_disk_hangs)
{
    RELAY("");
    _cleanup_client_ struct client a, b;
    client_open(&a);
    client_open(&b);
    spool_close(relay->spool);
    relay->spool = spool_new(relay->loop, 100000);
    REQUIRE(sem_init(&gate, 0, 0) == 0 && hang_disk());
    post_n(&a, "/v1/embeddings", large, sizeof(large));
    bool sees = SEES(&a, "the disk hangs");
    if (sees)
        post_n(&b, "/v1/embeddings", large, sizeof(large)); /* which waits for nothing */
    sees = sees && SEES(&b, "the disk hangs");
    REQUIRE(heal_disk());
    REQUIRE(sees);
    CHECK(strstr(a.got.data, "HTTP/1.1 503 ") == a.got.data);
    CHECK(strstr(a.got.data, "\r\nRetry-After: 5\r\n") != NULL);
    CHECK_EQ(relay_counts(relay)->bodies_bytes, 0);
    (void)sem_destroy(&gate);
}

/* ---- bodies about as long as what is sent of one at a time ---- */

#define AT_A_TIME (256 * KIB)

static size_t
fill_body(size_t len)
{
    memset(large, ' ', len);
    memcpy(large, ONE, strlen(ONE) - 1);
    large[len - 1] = '}';
    return len;
}

/* That it was all of it has to be said, or its connection is not asked again. */
TEST(relay_ends_a_body_that_fills_what_is_sent_at_a_time)
{
    static const size_t lens[] = {AT_A_TIME - 1000, AT_A_TIME - 200,    AT_A_TIME - 1,
                                  AT_A_TIME,        AT_A_TIME + 1,      2 * AT_A_TIME,
                                  5 * AT_A_TIME,    5 * AT_A_TIME - 100};
    for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
        RELAY("");
        _cleanup_client_ struct client c, next;
        size_t len = fill_body(lens[i]);
        tap_note("%zu bytes", len);
        client_open(&c);
        client_open(&next);
        post_n(&c, "/v1/chat/completions", large, len);
        REQUIRE(engine_accept(&first));
        REQUIRE(WAIT(engine_read(&first) && first.got.len > len));
        engine_answer(&first, "{}");
        REQUIRE(ENDS(&c));
        buf_clear(&first.got);
        post(&next, ONE);
        REQUIRE(HEARS(&first, ONE));
    }
}

/* As one does that refuses a body for its length. */
TEST(relay_goes_on_when_an_engine_answers_before_it_has_read)
{
    static const size_t lens[] = {AT_A_TIME, 2 * AT_A_TIME, 12 * AT_A_TIME};
    for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
        RELAY("");
        _cleanup_client_ struct client c;
        size_t len = fill_body(lens[i]);
        tap_note("%zu bytes", len);
        client_open(&c);
        post_n(&c, "/v1/chat/completions", large, len);
        REQUIRE(engine_accept(&first));
        engine_say(&first, "HTTP/1.1 413 Too Large\r\nContent-Length: 100\r\n\r\n");
        REQUIRE(SEES(&c, " 413 "));
        REQUIRE(WAIT(engine_read(&first) && first.got.len > len));
        for (int k = 0; k < 10; k++)
            engine_say(&first, "0123456789");
        CHECK(ENDS(&c));
        CHECK(WAIT(relay_counts(relay)->requests == 0));
    }
}
