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
    REQUIRE(sem_init(&gate, 0, 0) == 0 && hang_disk());
    post_n(&a, "/v1/embeddings", large, sizeof(large));
    bool sees = SEES(&a, "the disk hangs");
    if (sees)
        post_n(&b, "/v1/embeddings", large, sizeof(large)); /* which waits for nothing */
    sees = sees && SEES(&b, "the disk hangs");
    REQUIRE(heal_disk());
    REQUIRE(sees);
    CHECK(strstr(a.got.data, "HTTP/1.1 503 ") == a.got.data);
    CHECK_EQ(relay_counts(relay)->bodies_bytes, 0);
    (void)sem_destroy(&gate);
}
