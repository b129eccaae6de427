#include "gateway/target.h"

#include "config/config.h"
#include "config/problems.h"
#include "gateway/key.h"
#include "tap.h"

#include <errno.h>
#include <stdio.h>

static const char text[] =
    "models:\n"
    "  coder: {served_names: [deep, org/deep], lora: {adapters: {sql: /lora/sql}}}\n"
    "  openchat: {}\n"
    "  phi3: {}\n"
    "  resting: {enabled: false}\n"
    "gateway:\n"
    "  default_model: phi3\n"
    "  aliases: {gpt-4o: openchat, mine: far, gone: resting}\n"
    "  fallbacks:\n"
    "    deep: [openchat, resting]\n"
    "    openchat: [phi3, far]\n"
    "    resting: [near]\n"
    "    phi3: [far]\n"
    "  peers:\n"
    "    one: {url: \"http://one:8000\", models: [far, openchat], weight: 300}\n"
    "    two: {url: \"http://two:8000\", models: [far, near], weight: 0}\n";

/* Back ends as NAME[@PEER]*WEIGHT, then what is asked after them. */
static void
print(const struct target *t, char *to, size_t size)
{
    size_t at = 0;
    to[0] = '\0';
    for (size_t i = 0; i < t->back_count && at < size; i++) {
        const struct target_back *b = &t->backs[i];
        at += (size_t)snprintf(to + at, size - at, "%s%s@%s*%u", i ? " " : "", b->name,
                               b->model ? b->model->name : b->peer->name, b->weight);
    }
    for (size_t i = 0; i < t->fallback_count && at < size; i++)
        at += (size_t)snprintf(to + at, size - at, " > %s", t->fallbacks[i]->name);
}

struct rig {
    struct config *config;
    struct target_table *table;
};

static bool
rig_begin(struct rig *rig)
{
    struct config_problems problems;
    config_problems_init(&problems);
    *rig = (struct rig){0};
    bool good = config_parse(text, strlen(text), "t.yaml", &rig->config, &problems, NULL) == 0;
    config_problems_finish(&problems);
    if (good)
        rig->table = target_table_new(rig->config);
    return good;
}

static void
rig_end(struct rig *rig)
{
    target_table_free(rig->table);
    config_free(rig->config);
}

TEST(a_name_means_its_back_ends_and_what_follows_them)
{
    static const struct {
        const char *name, *want;
    } rows[] = {
        {"phi3", "phi3@phi3*100 > far"},
        {"", "phi3@phi3*100 > far"},
        {"openchat", "openchat@openchat*100 openchat@one*300 > phi3 > far"},
        {"gpt-4o", "openchat@openchat*100 openchat@one*300 > phi3 > far"},
        {"deep", "deep@coder*100 > openchat > phi3 > far > near"},
        {"org/deep", "org/deep@coder*100"},
        {"coder", "deep@coder*100"},
        {"sql", "sql@coder*100"},
        {"far", "far@one*300 far@two*0"},
        {"mine", "far@one*300 far@two*0"},
    };
    struct rig rig;
    REQUIRE(rig_begin(&rig));
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const struct target *t = NULL;
        char found[256];
        tap_note("%s", rows[i].name);
        CHECK_EQ(target_find(rig.table, NULL, rows[i].name, &t, NULL), 0);
        if (!t)
            continue;
        print(t, found, sizeof(found));
        CHECK_STR(found, rows[i].want);
    }
    rig_end(&rig);
}

TEST(a_name_that_means_nothing_is_told_with_the_nearest)
{
    static const struct {
        const char *name, *what, *fix;
    } rows[] = {
        {"phi4", "there is no model 'phi4' here", "did you mean phi3?"},
        {"gpt-4", "there is no model 'gpt-4' here", "did you mean gpt-4o?"},
        {"PHI3", "there is no model 'PHI3' here", "did you mean phi3?"},
        {"resting", "there is no model 'resting' here", "GET /v1/models lists those there are"},
        {"gone", "there is no model 'gone' here", "GET /v1/models lists those there are"},
        {"two", "there is no model 'two' here", "GET /v1/models lists those there are"},
    };
    struct rig rig;
    REQUIRE(rig_begin(&rig));
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const struct target *t;
        struct err err = {0};
        CHECK_EQ(target_find(rig.table, NULL, rows[i].name, &t, &err), -ENOENT);
        CHECK_STR(err.what, rows[i].what);
        CHECK_STR(err.fix, rows[i].fix);
    }
    rig_end(&rig);
}

TEST(what_a_key_may_not_ask_for_is_not_there_for_it)
{
    static char models[] = "phi3\n";
    const struct key key = {.models = models};
    const struct target *t;
    struct err err = {0}, other = {0};
    struct rig rig;
    REQUIRE(rig_begin(&rig));
    CHECK_EQ(target_find(rig.table, &key, "phi3", &t, NULL), 0);
    CHECK_EQ(target_find(rig.table, &key, "gpt-4", &t, &err), -ENOENT);
    CHECK_EQ(target_find(rig.table, &key, "gpt-4o", &t, &other), -ENOENT);
    CHECK_STR(err.fix, "GET /v1/models lists those there are");
    CHECK_STR(other.what, "there is no model 'gpt-4o' here");
    CHECK_STR(other.fix, err.fix);
    rig_end(&rig);
}

TEST(every_name_that_is_told_is_found)
{
    struct rig rig;
    size_t count = 0;
    REQUIRE(rig_begin(&rig));
    for (const char *name; (name = target_name(rig.table, count)); count++) {
        const struct target *t;
        CHECK_EQ(target_find(rig.table, NULL, name, &t, NULL), 0);
    }
    CHECK_EQ(count, 10);
    rig_end(&rig);
}

TEST(no_default_model_is_told)
{
    static const char none[] = "models: {phi3: {}}\n";
    struct config_problems problems;
    config_problems_init(&problems);
    struct config *config = NULL;
    const struct target *t;
    struct err err = {0};
    REQUIRE(config_parse(none, strlen(none), "t.yaml", &config, &problems, NULL) == 0);
    struct target_table *table = target_table_new(config);
    CHECK_EQ(target_find(table, NULL, "", &t, &err), -ENOENT);
    CHECK_STR(err.what, "the request names no model");
    target_table_free(table);
    config_problems_finish(&problems);
    config_free(config);
}

/* As many as the weights say, when all take equally long; and each of equal ones in its turn. */
TEST(requests_are_spread_by_weight)
{
    static const struct target_back backs[] = {
        {.weight = 100}, {.weight = 300}, {.weight = 0}, {.weight = 100}};
    static const struct target t = {.backs = backs, .back_count = ARRAY_SIZE(backs)};
    struct target_load loads[] = {{true, 0}, {true, 0}, {true, 0}, {true, 0}};
    for (uint64_t turn = 0; turn < 500; turn++)
        loads[target_choose(&t, loads, turn) - backs].in_flight++;
    CHECK_EQ(loads[0].in_flight, 100);
    CHECK_EQ(loads[1].in_flight, 300);
    CHECK_EQ(loads[2].in_flight, 0);
    CHECK_EQ(loads[3].in_flight, 100);
}

TEST(what_cannot_answer_is_not_chosen)
{
    static const struct target_back backs[] = {{.weight = 100}, {.weight = 0}, {.weight = 100}};
    static const struct target t = {.backs = backs, .back_count = ARRAY_SIZE(backs)};
    struct target_load loads[] = {{false, 0, 0}, {true, 9, 0}, {true, UINT32_MAX, 0}};
    CHECK(target_choose(&t, loads, 0) == &backs[2]);
    loads[2].usable = false;
    CHECK(target_choose(&t, loads, 0) == &backs[1]);
    loads[1].usable = false;
    CHECK(target_choose(&t, loads, 0) == NULL);
}

TEST(equal_ones_take_turns)
{
    static const struct target_back backs[] = {{.weight = 1}, {.weight = 1}, {.weight = 1}};
    static const struct target t = {.backs = backs, .back_count = ARRAY_SIZE(backs)};
    static const struct target_load loads[] = {{true, 0, 0}, {true, 0, 0}, {true, 0, 0}};
    for (uint64_t turn = 0; turn < 9; turn++)
        CHECK(target_choose(&t, loads, turn) == &backs[turn % 3]);
}

TEST(who_has_seen_the_request_is_chosen_while_it_has_room)
{
    static const struct target_back backs[] = {{.weight = 100}, {.weight = 100}, {.weight = 0}};
    static const struct target t = {.backs = backs, .back_count = ARRAY_SIZE(backs)};
    static const struct {
        struct target_load loads[3];
        size_t want;
    } rows[] = {
        {{{true, 0, 0}, {true, 1, 5}, {true, 0, 9}}, 1},
        {{{true, 0, 4}, {true, 0, 5}, {true, 0, 0}}, 1},
        {{{true, 0, 0}, {true, 4, 5}, {true, 0, 0}}, 1},
        {{{true, 0, 0}, {true, 5, 5}, {true, 0, 0}}, 0}, /* 5 > 1 + 1.25 * 6 / 2 */
        {{{true, 0, 0}, {false, 0, 5}, {true, 0, 9}}, 0},
        {{{false, 0, 0}, {false, 0, 5}, {true, 0, 9}}, 2},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        CHECK_EQ(target_choose(&t, rows[i].loads, 0) - backs, rows[i].want);
}

/* However all have seen the same, none gets more than its share and a quarter. */
TEST(a_prompt_that_everybody_sends_makes_nobody_hot)
{
    static const struct target_back backs[] = {{.weight = 100}, {.weight = 300}, {.weight = 100}};
    static const struct target t = {.backs = backs, .back_count = ARRAY_SIZE(backs)};
    struct target_load loads[] = {{true, 0, 0}, {true, 0, 0}, {true, 0, 9}};
    for (uint64_t sent = 1; sent <= 5000; sent++) {
        struct target_load *to = &loads[target_choose(&t, loads, sent) - backs];
        to->in_flight++;
        uint64_t weight = to == &loads[1] ? 300 : 100;
        CHECK((to->in_flight - 2) * UINT64_C(2000) <= 5 * sent * weight || to->in_flight < 3);
    }
    CHECK(loads[2].in_flight > loads[0].in_flight);
    CHECK(loads[1].in_flight > 2 * loads[0].in_flight);
}
