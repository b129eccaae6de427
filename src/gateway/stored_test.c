#include "gateway/stored.h"

#include "tap.h"

#include <stdio.h>
#include <string.h>

TEST(a_response_is_found_again_by_who_asked_for_it)
{
    struct stored *s = stored_new();
    CHECK(!stored_find(s, "resp_1", 6, 7));
    stored_put(s, "resp_1", 6, &(struct stored_at){.key = 7, .server = "one"});
    stored_put(s, "resp_2", 6, &(struct stored_at){.key = 8, .is_peer = true, .server = "two"});
    const struct stored_at *at = stored_find(s, "resp_1", 6, 7);
    REQUIRE(at);
    CHECK_STR(at->server, "one");
    CHECK(!stored_find(s, "resp_1", 6, 8));
    CHECK(!stored_find(s, "resp_", 5, 7));
    stored_free(s);
}

/* Some engines let clients say what an id is to be. */
TEST(a_response_does_not_change_hands)
{
    struct stored *s = stored_new();
    stored_put(s, "resp_1", 6, &(struct stored_at){.key = 7, .server = "one"});
    stored_put(s, "resp_1", 6, &(struct stored_at){.key = 9, .server = "three"});
    CHECK(!stored_find(s, "resp_1", 6, 9));
    const struct stored_at *at = stored_find(s, "resp_1", 6, 7);
    REQUIRE(at);
    CHECK_STR(at->server, "one");
    stored_put(s, "resp_1", 6, &(struct stored_at){.key = 7, .server = "two"});
    at = stored_find(s, "resp_1", 6, 7);
    REQUIRE(at);
    CHECK_STR(at->server, "two");
    stored_free(s);
}

TEST(a_response_that_was_deleted_is_forgotten)
{
    struct stored *s = stored_new();
    stored_put(s, "resp_1", 6, &(struct stored_at){.key = 7, .server = "one"});
    stored_put(s, "resp_2", 6, &(struct stored_at){.key = 7, .server = "one"});
    stored_forget(s, "resp_1", 6, 8);
    CHECK(stored_find(s, "resp_1", 6, 7));
    stored_forget(s, "resp_1", 6, 7);
    stored_forget(s, "resp_3", 6, 7);
    CHECK(!stored_find(s, "resp_1", 6, 7));
    CHECK(stored_find(s, "resp_2", 6, 7));
    stored_put(s, "resp_1", 6, &(struct stored_at){.key = 8, .server = "two"});
    CHECK(stored_find(s, "resp_1", 6, 8));
    stored_free(s);
}

/* Four times as many as there are places: so each of them is wanted again. */
TEST(a_busy_key_does_not_have_the_responses_of_others_forgotten)
{
    struct stored *s = stored_new();
    char id[32];
    stored_put(s, "resp_1", 6, &(struct stored_at){.key = 7, .server = "one"});
    for (unsigned i = 0; i < 4 * STORED_MAX; i++) {
        int len = snprintf(id, sizeof(id), "resp_busy_%u", i);
        stored_put(s, id, (size_t)len, &(struct stored_at){.key = 8, .server = "one"});
    }
    CHECK(stored_find(s, "resp_1", 6, 7) != NULL);
    CHECK(stored_find(s, id, strlen(id), 8) != NULL);
    CHECK(!stored_find(s, "resp_busy_0", 11, 8));
    stored_free(s);
}

/* It holds as many as it may, and those that are asked for stay. */
TEST(responses_are_forgotten_that_nobody_asks_for)
{
    struct stored *s = stored_new();
    const struct stored_at at = {.server = "one"};
    char id[32];
    unsigned known = 0;
    stored_put(s, "resp_kept", 9, &at);
    for (unsigned i = 0; i < 4 * STORED_MAX; i++) {
        int len = snprintf(id, sizeof(id), "resp_%u", i);
        stored_put(s, id, (size_t)len, &at);
        CHECK(stored_find(s, id, (size_t)len, 0));
        CHECK(stored_find(s, "resp_kept", 9, 0));
    }
    for (unsigned i = 0; i < 4 * STORED_MAX; i++) {
        int len = snprintf(id, sizeof(id), "resp_%u", i);
        known += stored_find(s, id, (size_t)len, 0) != NULL;
    }
    CHECK(known > STORED_MAX / 2 && known < STORED_MAX);
    stored_free(s);
}

#define LONG_40 "0123456789012345678901234567890123456789"

static const struct {
    const char *answer, *want;
} rows[] = {
    {"{\"id\":\"resp_a1-B\",\"object\":\"response\"}", "resp_a1-B"},
    {"{\n  \"id\" : \"resp_a\" }", "resp_a"},
    {"event: response.created\ndata: {\"response\":{\"id\":\"resp_x\"", "resp_x"},
    {"{\"output\":[{\"id\":\"msg_1\"}],\"id\":\"resp_2\"}", "resp_2"},
    {"{\"id\":null,\"id\":\"resp_3\"}", "resp_3"},
    {"\"\"id\":\"resp_4\"", "resp_4"},
    {"{\"id\":\"resp_4", ""},
    {"{\"id\":\"resp_\\u0041\"}", ""},
    {"{\"id\":\"resp" LONG_40 LONG_40 LONG_40 LONG_40 "\"}", ""},
    {"{\"xid\":\"resp_5\"}", ""},
    {"{\"error\":{\"message\":\"no\"}}", ""},
};

TEST(the_id_of_a_response_is_found_however_it_is_cut)
{
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        for (size_t cut = 0; cut <= strlen(rows[i].answer); cut++) {
            struct stored_reader r = {0};
            const char *answer = rows[i].answer;
            bool found = stored_read(&r, answer, cut);
            found |= stored_read(&r, answer + cut, strlen(answer) - cut);
            tap_note("%s, cut at %zu", answer, cut);
            CHECK_STR(found ? r.id : "", rows[i].want);
            CHECK(!found || stored_is_id(r.id, r.len));
            CHECK(!stored_read(&r, answer, strlen(answer)) || !found);
        }
}

TEST(an_id_is_looked_for_where_an_answer_begins)
{
    static char far[20000];
    struct stored_reader r = {0};
    memset(far, ' ', sizeof(far));
    memcpy(far + 10000, "\"id\":\"resp_1\"", 13);
    CHECK(!stored_read(&r, far, sizeof(far)));
}

TEST(an_id_has_no_bytes_that_paths_have)
{
    CHECK(stored_is_id("resp_1", 6) && stored_is_id("A-z_09", 6));
    CHECK(!stored_is_id("", 0) && !stored_is_id("a/b", 3) && !stored_is_id("a%2e", 4));
    CHECK(!stored_is_id(LONG_40 LONG_40 LONG_40 LONG_40, 160));
}
