#include "gateway/tally.h"

#include "gateway/ledger.h"
#include "tap.h"

#include <stdio.h>

static struct key keys[TALLY_KEYS_MAX + 3];

static void
make_keys(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        keys[i] = (struct key){.id = i + 1};
        (void)snprintf(keys[i].name, sizeof(keys[i].name), "key-%zu", i);
    }
}

static const struct tally *
find(struct tallies *t, const char *name)
{
    const char *found;
    tallies_sweep(t, 1000);
    for (size_t i = 0; i < TALLIES_COUNT; i++) {
        const struct tally *tally = tallies_at(t, i, &found);
        if (tally && text_eq(found, name))
            return tally;
    }
    return NULL;
}

static size_t
count_told(struct tallies *t)
{
    const char *name;
    size_t count = 0;
    tallies_sweep(t, 1000);
    for (size_t i = 0; i < TALLIES_COUNT; i++)
        count += tallies_at(t, i, &name) != NULL;
    return count;
}

TEST(tally_counts_what_a_key_asked_for)
{
    static const struct ledger_row answered = {.status = 200, .tokens_in = 7, .tokens_out = 9};
    static const struct ledger_row refused = {.status = 429};
    _cleanup_(tallies_finish) struct tallies t = {0};
    make_keys();
    struct tally *first = tally_begin(&t, &keys[0]), *second = tally_begin(&t, &keys[0]);
    CHECK_EQ(find(&t, "key-0")->in_flight, 2);
    tally_end(first, &answered, false);
    tally_end(second, &refused, false);
    const struct tally *told = find(&t, "key-0");
    REQUIRE(told);
    CHECK_EQ(told->in_flight, 0);
    CHECK_EQ(told->requests, 2);
    CHECK_EQ(told->over_limit, 1);
    CHECK_EQ(told->tokens_in, 7);
    CHECK_EQ(told->tokens_out, 9);
    CHECK_EQ(count_told(&t), 1);
}

TEST(tally_names_so_many_keys_and_the_rest_is_one)
{
    static const struct ledger_row row = {.status = 200, .tokens_out = 1};
    _cleanup_(tallies_finish) struct tallies t = {0};
    make_keys();
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        tally_end(tally_begin(&t, &keys[i]), &row, false);
    CHECK_EQ(count_told(&t), TALLY_KEYS_MAX + 1);
    CHECK_EQ(find(&t, TALLY_REST)->requests, ARRAY_SIZE(keys) - TALLY_KEYS_MAX);
    CHECK(!find(&t, "key-101"));
}

/* Two lines of one name would be no page. */
TEST(tally_of_a_key_that_is_called_as_the_rest_is_among_it)
{
    _cleanup_(tallies_finish) struct tallies t = {0};
    make_keys();
    (void)snprintf(keys[0].name, sizeof(keys[0].name), TALLY_REST);
    struct tally *tally = tally_begin(&t, &keys[0]);
    CHECK(tally == &t.rest);
    CHECK_EQ(count_told(&t), 1);
    tally_end(tally, &(struct ledger_row){0}, false);
}

TEST(tally_of_a_key_that_is_revoked_is_told_no_more_and_its_place_is_anothers)
{
    static const struct ledger_row row = {.status = 200};
    _cleanup_(tallies_finish) struct tallies t = {0};
    make_keys();
    for (size_t i = 1; i < TALLY_KEYS_MAX; i++)
        tally_end(tally_begin(&t, &keys[i]), &row, false);
    struct tally *running = tally_begin(&t, &keys[0]);
    keys[0].revoked_us = 500;
    CHECK(!find(&t, "key-0"));
    CHECK(tally_begin(&t, &keys[TALLY_KEYS_MAX]) == &t.rest); /* the place is not free yet */
    tally_end(running, &row, false);
    CHECK(!find(&t, "key-0"));
    struct tally *next = tally_begin(&t, &keys[TALLY_KEYS_MAX + 1]);
    CHECK(next == running);
    CHECK_EQ(find(&t, "key-101")->requests, 0);
}

TEST(tally_tells_how_long_what_was_answered_took)
{
    static const struct ledger_row stream = {.status = 200,
                                             .end = LEDGER_WHOLE,
                                             .tokens_out = 11,
                                             .queue_us = 700,
                                             .first_us = 20000,
                                             .duration_us = 1020000};
    static const struct ledger_row lost = {.status = 200, .end = LEDGER_CLIENT, .tokens_out = 11};
    static const struct ledger_row refused = {.status = 429, .end = LEDGER_WHOLE};
    static const struct ledger_row odd = {
        .status = 200, .end = LEDGER_WHOLE, .first_us = 2, .duration_us = 1, .tokens_out = 2};
    _cleanup_(tallies_finish) struct tallies t = {0};
    make_keys();
    tally_end(tally_begin(&t, &keys[0]), &lost, true);
    tally_end(tally_begin(&t, &keys[0]), &refused, false);
    REQUIRE(find(&t, "key-0"));
    CHECK(!find(&t, "key-0")->times);
    tally_end(tally_begin(&t, &keys[0]), &stream, true);
    tally_end(tally_begin(&t, &keys[0]), &odd, true);
    tally_end(tally_begin(&t, &keys[0]), &stream, false);
    const struct tally_times *times = find(&t, "key-0")->times;
    REQUIRE(times);
    CHECK_EQ(times->queue.sum_us, 1400);
    CHECK_EQ(times->first.sum_us, 40002);
    CHECK_EQ(times->gap.sum_us, 100000); /* a second over ten gaps, of one of them */
    CHECK_EQ(times->whole.sum_us, 2040001);
}
