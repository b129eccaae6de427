#include "cli/cli.h"
#include "cli/load_config.h"
#include "deploy/engine.h"
#include "sys/clock.h"

const struct verb_help verb_generations_help = {
    .text =
        "Lists the generations that are kept, oldest first. Each is what was deployed once: the "
        "configuration, its plan, the release of vLLM and the units. `current` is what the machine "
        "runs, `stable` "
        "the last in which all that had changed became ready.",
    .examples = VERB_EXAMPLES({"citadel generations", "what was deployed, and when"},
                              {"citadel diff 6", "what has changed since generation 6"},
                              {"sudo citadel generations switch 6", "bring it back"}),
};

#define LIST_BYTES (16 * MIB)

static const struct table_column columns[] = {
    {.title = "GENERATION", .right = true},
    {.title = "MADE"},
    {.title = "BY", .min_width = 4, .expendable = 2},
    {.title = "WHY", .min_width = 8, .expendable = 1},
    {.title = "VLLM", .expendable = 3},
    {.title = ""},
};

static const char *
mark_of(const struct generation *g)
{
    if (g->damage)
        return "damaged";
    if (g->current)
        return g->stable ? "current, stable" : "current";
    return g->stable ? "stable" : "";
}

/* Texts "" also of one that was changed by hand: `citadel plan` tells of that. */
static struct plan_engine
engine_of(const char *store, const struct generation *g, struct arena *arena)
{
    struct plan_engine engine;
    struct err err;
    if (g->damage || deploy_engine_of(store, g->number, arena, &engine, &err) < 0)
        engine = (struct plan_engine){"", "", ""};
    return engine;
}

static void
add(struct table *table, const struct generation *g, const struct plan_engine *engine)
{
    char made[CLOCK_LOCAL_MAX];
    table_addf(table, TONE_PLAIN, "%u", g->number);
    table_add(table, TONE_PLAIN, g->damage ? "?" : clock_print_local(g->made_us, made));
    table_add(table, TONE_PLAIN, g->damage ? "?" : g->by);
    table_add(table, g->damage ? TONE_BAD : TONE_PLAIN, g->damage ? g->damage : g->why);
    table_add(table, TONE_PLAIN, engine->version[0] ? engine->version : "-");
    table_add(table, g->damage ? TONE_BAD : g->current ? TONE_GOOD : TONE_PLAIN, mark_of(g));
}

static void
print_json(struct json_writer *w, const char *store, const struct generation *items, size_t count,
           struct arena *arena)
{
    json_open_list(w, NULL);
    for (size_t i = 0; i < count; i++) {
        const struct plan_engine engine = engine_of(store, &items[i], arena);
        json_open_map(w, NULL);
        json_u64(w, "generation", items[i].number);
        json_u64(w, "made_us", items[i].made_us);
        json_str(w, "by", items[i].by);
        json_str(w, "why", items[i].why);
        json_u64(w, "after", items[i].after);
        json_bool(w, "current", items[i].current);
        json_bool(w, "stable", items[i].stable);
        json_str(w, "damage", items[i].damage);
        json_str(w, "vllm_env", engine.env[0] ? engine.env : NULL);
        json_str(w, "vllm_version", engine.version[0] ? engine.version : NULL);
        json_close_map(w);
    }
    json_close_list(w);
}

int
verb_generations(struct cli *cli)
{
    _cleanup_config_ struct config *config = NULL;
    _cleanup_arena_ struct arena arena;
    _cleanup_table_ struct table table;
    struct generation *items = NULL;
    size_t count = 0;
    arena_init(&arena, LIST_BYTES);
    table_init(&table, columns, ARRAY_SIZE(columns));
    int r = cli_load_deployed(cli, &config);
    if (r == 0)
        r = generation_list(config->paths.generations, &arena, &items, &count, &cli->err);
    if (r < 0)
        return r;
    if (cli->json) {
        print_json(cli->json, config->paths.generations, items, count, &arena);
        return EXIT_CODE_OK;
    }
    for (size_t i = 0; i < count; i++) {
        const struct plan_engine engine = engine_of(config->paths.generations, &items[i], &arena);
        add(&table, &items[i], &engine);
    }
    if (count)
        cli_table(cli, &table);
    else
        cli_note(cli, "Nothing was deployed yet; `citadel apply` does it.");
    return EXIT_CODE_OK;
}
