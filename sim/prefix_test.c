#include "sim/prefix.h"

#include "tap.h"

static uint64_t
take(struct prefix *prefix, const char *text)
{
    return prefix_take(prefix, text, strlen(text), 2);
}

TEST(what_was_said_before_is_cached_by_whole_blocks)
{
    struct prefix prefix;
    prefix_init(&prefix);
    CHECK_EQ(take(&prefix, "a b c d e"), 0);
    CHECK_EQ(take(&prefix, "a b c d f"), 4);
    CHECK_EQ(take(&prefix, "a b c x"), 2);
    CHECK_EQ(take(&prefix, "x b c d e"), 0); /* a block is what it says and all before it */
    CHECK_EQ(take(&prefix, "a"), 0);
    CHECK_EQ(take(&prefix, ""), 0);
    prefix_clear(&prefix);
    CHECK_EQ(take(&prefix, "a b c d e"), 0);
    prefix_finish(&prefix);
}

TEST(one_token_is_always_left_to_compute)
{
    struct prefix prefix;
    prefix_init(&prefix);
    CHECK_EQ(take(&prefix, "a b c d"), 0);
    CHECK_EQ(take(&prefix, "a b c d"), 2);
    CHECK_EQ(take(&prefix, "a b"), 0);
    CHECK_EQ(prefix_take(&prefix, "x", 1, 1), 0);
    CHECK_EQ(prefix_take(&prefix, "x", 1, 1), 0);
    prefix_finish(&prefix);
}
