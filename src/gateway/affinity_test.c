#include "gateway/affinity.h"

#include "tap.h"

#include <stdlib.h>

#define PROMPT_MAX 400000

static char prompt[PROMPT_MAX], other[PROMPT_MAX];
static uint64_t state;

static uint64_t
next(void)
{
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return state >> 33;
}

static void
fill(char *to, uint64_t seed)
{
    state = seed;
    for (size_t i = 0; i < PROMPT_MAX; i++)
        to[i] = (char)(' ' + next() % 90);
}

static struct affinity_marks
marks_of(const struct affinity *a, const char *model, const char *bytes, size_t len)
{
    struct affinity_marks m;
    affinity_begin(a, &m, model);
    affinity_add_prompt(&m, bytes, len);
    return m;
}

static uint32_t
seen_by(const struct affinity *a, const struct affinity_marks *m, size_t replica)
{
    uint32_t seen[AFFINITY_REPLICAS_MAX];
    affinity_find(a, m, seen);
    return seen[replica];
}

TEST(affinity_knows_who_has_seen_the_beginning_of_a_talk)
{
    struct affinity *a = affinity_new(4096);
    fill(prompt, 1);
    struct affinity_marks begun = marks_of(a, "m", prompt, 10000);
    CHECK_EQ(seen_by(a, &begun, 3), 0);
    affinity_note(a, &begun, 3);
    CHECK_EQ(seen_by(a, &begun, 3), begun.count);
    CHECK_EQ(seen_by(a, &begun, 2), 0);
    struct affinity_marks longer = marks_of(a, "m", prompt, 12000);
    CHECK_EQ(seen_by(a, &longer, 3), begun.count);
    CHECK(longer.count > begun.count);
    struct affinity_marks of_another_model = marks_of(a, "n", prompt, 10000);
    CHECK_EQ(seen_by(a, &of_another_model, 3), 0);
    affinity_free(a);
}

/* Two prompts share as many marks as there are places in what they share. */
TEST(affinity_marks_are_those_of_what_prompts_share)
{
    struct affinity *a = affinity_new(1);
    fill(prompt, 2);
    for (unsigned i = 0; i < 300; i++) {
        size_t len = next() % PROMPT_MAX, shared = len ? next() % len : 0, places = 0;
        memcpy(other, prompt, PROMPT_MAX);
        other[shared] ^= 1;
        struct affinity_marks one = marks_of(a, "m", prompt, len),
                              two = marks_of(a, "m", other, len);
        struct affinity_marks part = marks_of(a, "m", prompt, shared);
        CHECK_EQ(one.count, two.count);
        CHECK(one.count < AFFINITY_MARKS_MAX);
        while (places < one.count && one.items[places] == two.items[places])
            places++;
        CHECK_EQ(places, part.count);
        for (size_t k = places; k < one.count; k++)
            CHECK(one.items[k] != two.items[k]);
    }
    affinity_free(a);
}

/* Any one bit of a block changes its mark, and no two marks are alike. */
TEST(affinity_marks_differ)
{
    struct affinity *a = affinity_new(1);
    uint64_t marks[AFFINITY_BLOCK * 8 + 1];
    size_t count = 0;
    fill(prompt, 3);
    marks[count++] = marks_of(a, "m", prompt, AFFINITY_BLOCK).items[0];
    for (size_t bit = 0; bit < AFFINITY_BLOCK * 8; bit++) {
        prompt[bit / 8] ^= (char)(1 << bit % 8);
        marks[count++] = marks_of(a, "m", prompt, AFFINITY_BLOCK).items[0];
        prompt[bit / 8] ^= (char)(1 << bit % 8);
    }
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < i; k++)
            if (marks[i] == marks[k])
                tap_fail(__FILE__, __LINE__, "bits %zu and %zu", i, k);
    affinity_free(a);
}

TEST(affinity_to_what_was_added_last_counts_most)
{
    struct affinity *a = affinity_new(4096);
    fill(prompt, 4);
    struct affinity_marks m = marks_of(a, "m", prompt, 20000);
    affinity_note(a, &m, 0);
    affinity_begin(a, &m, "m");
    affinity_add_name(&m, "talk-1", 6);
    affinity_note(a, &m, 1);
    m = marks_of(a, "m", prompt, 20000);
    affinity_add_name(&m, "talk-1", 6);
    CHECK(seen_by(a, &m, 1) > seen_by(a, &m, 0));
    CHECK(seen_by(a, &m, 0) > 0);
    affinity_free(a);
}

/* It never grows, and what was asked for last is there. */
TEST(affinity_forgets_what_was_not_asked_for_longest)
{
    struct affinity *a = affinity_new(256);
    fill(prompt, 5);
    size_t heap = tap_heap_bytes();
    struct affinity_marks kept = marks_of(a, "m", prompt, 512), m;
    for (unsigned i = 0; i < 5000; i++) {
        affinity_note(a, &kept, 1);
        m = marks_of(a, "m", prompt + 1 + next() % 300000, 512);
        affinity_note(a, &m, next() % AFFINITY_REPLICAS_MAX);
        CHECK(seen_by(a, &m, 0) <= m.count);
    }
    CHECK_EQ(seen_by(a, &kept, 1), kept.count);
    CHECK_EQ(tap_heap_bytes(), heap);
    struct affinity_marks first = marks_of(a, "m", prompt + 7, 512);
    affinity_note(a, &first, AFFINITY_REPLICAS_MAX);
    affinity_free(a);
}

/* What stands before a prompt is a part of it. */
TEST(affinity_goes_on_from_one_part_to_the_next)
{
    struct affinity *a = affinity_new(1);
    struct affinity_marks one = marks_of(a, "m", "Be brief.", 9), two;
    fill(prompt, 6);
    two = marks_of(a, "m", "Be long..", 9);
    affinity_add_prompt(&one, prompt, 1000);
    affinity_add_prompt(&two, prompt, 1000);
    CHECK_EQ(one.count, 3);
    for (size_t i = 0; i < one.count; i++)
        CHECK(one.items[i] != two.items[i]);
    affinity_free(a);
}
