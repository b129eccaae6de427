/* The gateway's own part in a request: what it waits for is not in it. */

#include "relay_rig.h"
#include "sys/clock.h"

#define WAIT_US 50000 /* of whoever is waited for; the test itself takes less */

static uint64_t
rest(void)
{
    uint64_t since_us = clock_now_us(), now_us;
    while ((now_us = clock_now_us()) - since_us < WAIT_US)
        ;
    return now_us - since_us;
}

static uint64_t
count_all(const struct histogram *h)
{
    uint64_t count = 0;
    for (size_t i = 0; i <= HISTOGRAM_BUCKETS; i++)
        count += h->counts[i];
    return count;
}

TEST(relay_counts_its_own_part_without_what_it_waits_for)
{
    RELAY("");
    _cleanup_client_ struct client c;
    const struct histogram *own = &relay_counts(relay)->own;
    uint64_t since_us = clock_now_us(), waited_us = 0;
    client_open(&c);
    CHECK(client_send(&c, "POST /v1/chat/completions HTTP/1.1\r\n" HOST
                          "Content-Length: 15\r\n\r\n{\"model\""));
    REQUIRE(WAIT(relay_counts(relay)->bodies_bytes == 15));
    waited_us += rest(); /* for the body */
    CHECK(client_send(&c, ":\"one\"}"));
    REQUIRE(engine_accept(&first) && HEARS(&first, ONE));
    waited_us += rest(); /* for the engine */
    engine_say(&first, BEGIN_JSON "{");
    REQUIRE(SEES(&c, "{"));
    waited_us += rest(); /* for the rest of its answer */
    engine_say(&first, "                                                }");
    REQUIRE(ENDS(&c));
    REQUIRE(WAIT(relay_counts(relay)->requests == 0));
    uint64_t all_us = clock_now_us() - since_us;
    CHECK_EQ(count_all(own), 1);
    CHECK(own->sum_us > 0);
    CHECK(own->sum_us + waited_us <= all_us);
}

TEST(relay_counts_its_own_part_without_the_queue)
{
    RELAY("");
    _cleanup_client_ struct client c, d;
    const struct histogram *own = &relay_counts(relay)->own;
    uint64_t since_us = clock_now_us();
    client_open(&c);
    client_open(&d);
    post(&c, ONE);
    REQUIRE(engine_accept(&first) && HEARS(&first, ONE));
    post(&d, ONE);
    REQUIRE(WAIT(backend_queue(relay_backend(relay, 0))->waiting == 1));
    uint64_t waited_us = rest();
    engine_answer(&first, "{}");
    REQUIRE(ENDS(&c));
    buf_clear(&first.got);
    REQUIRE(HEARS(&first, ONE));
    engine_answer(&first, "{}");
    REQUIRE(ENDS(&d));
    REQUIRE(WAIT(relay_counts(relay)->requests == 0));
    CHECK_EQ(count_all(own), 2);
    CHECK(own->sum_us + waited_us <= clock_now_us() - since_us);
}

static uint64_t others_us; /* that they took */

static void
take_time(void)
{
    (void)loop_now_us(rig->turn.loop); /* which is that of the whole pass from then on */
    others_us += rest();
}

/* Head and body come in one pass, and so do the head and the end of the answer. */
TEST(relay_counts_its_own_part_once_and_that_of_nobody_else)
{
    RELAY("");
    _cleanup_client_ struct client c;
    uint64_t since_us = clock_now_us();
    others = take_time;
    others_us = 0;
    client_open(&c);
    post(&c, ONE);
    REQUIRE(engine_accept(&first) && HEARS(&first, ONE));
    engine_answer(&first, "{}");
    REQUIRE(ENDS(&c));
    REQUIRE(WAIT(relay_counts(relay)->requests == 0));
    CHECK(others_us > 0);
    CHECK(relay_counts(relay)->own.sum_us + others_us <= clock_now_us() - since_us);
}

TEST(relay_counts_no_part_in_what_no_engine_answered)
{
    RELAY("");
    _cleanup_client_ struct client c;
    client_open(&c);
    post(&c, "{\"model\":\"none\"}");
    REQUIRE(ENDS(&c));
    REQUIRE(WAIT(relay_counts(relay)->requests == 0));
    CHECK_EQ(count_all(&relay_counts(relay)->own), 0);
}
