#include "gateway/key.h"

#include "base/mem.h"
#include "fmt/json.h"
#include "tap.h"

TEST(a_token_is_random_and_tells_when_it_was_typed_wrong)
{
    struct key a = {0}, b = {0};
    uint8_t hash[HASH_SHA256_BYTES];
    key_token first, second;
    REQUIRE(key_draw_token(&a, first) == 0 && key_draw_token(&b, second) == 0);
    CHECK_EQ(strlen(first), KEY_TOKEN_LEN);
    CHECK(strcmp(first, second) != 0);
    CHECK(memcmp(a.hash, b.hash, sizeof(hash)) != 0);
    key_hash(first, KEY_TOKEN_LEN, hash);
    CHECK(memcmp(a.hash, hash, sizeof(hash)) == 0);
    CHECK(text_starts(first, a.hint));
    CHECK(key_is_token(first, KEY_TOKEN_LEN));
    CHECK(!key_is_token(first, KEY_TOKEN_LEN - 1));
    for (size_t i = 0; i < KEY_TOKEN_LEN; i++) {
        char before = first[i];
        first[i] = before == '0' ? '1' : '0';
        tap_note("digit %zu", i);
        CHECK(!key_is_token(first, KEY_TOKEN_LEN));
        first[i] = before;
    }
}

TEST(a_key_allows_what_it_lists)
{
    char none[] = "", some[] = "phi3\norg/large\n";
    CHECK(key_allows(&(struct key){.models = NULL}, "phi3"));
    CHECK(!key_allows(&(struct key){.models = none}, "phi3"));
    CHECK(key_allows(&(struct key){.models = some}, "phi3"));
    CHECK(key_allows(&(struct key){.models = some}, "org/large"));
    CHECK(!key_allows(&(struct key){.models = some}, "phi"));
    CHECK(!key_allows(&(struct key){.models = some}, "large"));
    CHECK(!key_allows(&(struct key){.models = some}, ""));
}

TEST(its_state_is_that_of_the_moment)
{
    struct key key = {.expires_us = 100};
    CHECK_EQ(key_state(&key, 99), KEY_ACTIVE);
    CHECK_EQ(key_state(&key, 100), KEY_EXPIRED);
    key.revoked_us = 50;
    CHECK_EQ(key_state(&key, 99), KEY_REVOKED);
}

/* Into one that has all of it already. */
static int
change(const char *text, struct key *key)
{
    _cleanup_arena_ struct arena arena;
    struct value *v;
    arena_init(&arena, MIB);
    *key = (struct key){.models = mem_strdup("old\n"), .expires_us = 7};
    key->limits.of[ALLOWANCE_CONCURRENT] = 3;
    int r = json_parse(&arena, text, strlen(text), JSON_STRICT, &v, NULL, NULL);
    return r < 0 ? r : key_change(key, v, NULL);
}

TEST(a_change_sets_what_it_names_and_takes_away_what_is_null)
{
    struct key key;
    REQUIRE(change("{\"tokens_per_day\": 500, \"models\": [\"a\", \"b\"]}", &key) == 0);
    CHECK_STR(key.models, "a\nb\n");
    CHECK_EQ(key.limits.of[ALLOWANCE_TOKENS_DAY], 500);
    CHECK_EQ(key.limits.of[ALLOWANCE_CONCURRENT], 3);
    CHECK_EQ(key.expires_us, 7);
    key_finish(&key);
    REQUIRE(change("{\"concurrent\": null, \"models\": null, \"expires_us\": null}", &key) == 0);
    CHECK(!key.models);
    CHECK_EQ(key.limits.of[ALLOWANCE_CONCURRENT], 0);
    CHECK_EQ(key.expires_us, 0);
    key_finish(&key);
    REQUIRE(change("{\"priority\": true}", &key) == 0);
    CHECK(key.has_priority);
    REQUIRE(key_allows(&key, "old"));
    key_finish(&key);
    REQUIRE(change("{\"models\": []}", &key) == 0);
    CHECK(!key_allows(&key, "old"));
    key_finish(&key);
}

TEST(a_change_that_is_none_changes_nothing)
{
    static const char *const wrong[] = {
        "{\"concurrent\": 0}",
        "{\"concurrent\": -1}",
        "{\"concurrent\": \"3\"}",
        "{\"concurrent\": 9223372036854775808}",
        "{\"models\": [\"new\"], \"hue\": 1}",
        "{\"models\": \"new\"}",
        "{\"models\": [\"new\\nold\"]}",
        "{\"models\": [\"\"]}",
        "{\"expires_us\": false}",
        "{\"priority\": 1}",
        "{\"priority\": null}",
    };
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        struct key key;
        tap_note("%s", wrong[i]);
        CHECK(change(wrong[i], &key) < 0);
        CHECK_STR(key.models, "old\n");
        CHECK_EQ(key.limits.of[ALLOWANCE_CONCURRENT], 3);
        key_finish(&key);
    }
}
