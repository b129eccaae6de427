#include "base/text.h"
#include "base/vec.h"
#include "cli/cli.h"
#include "cli/load_config.h"
#include "deploy/engine.h"
#include "engine/engine.h"
#include "engine/env.h"
#include "sys/root.h"

#include <string.h>

const struct verb_help verb_engines_help = {
    .text =
        "Lists the Python environments that lie beside paths.vllm_env, the release of vLLM in "
        "each, "
        "and which generations run in it; and environments that a generation needs and that are "
        "gone. Nothing is installed or removed by Citadel.\n\n"
        "Each release is best installed into a directory of its own, with paths.vllm_env a link to "
        "the one that is meant. `citadel apply` then restarts the models on vLLM when the link has "
        "been moved, and an older generation comes back with the release that it ran on. An "
        "environment that is not the one meant and that no generation needs may be removed.",
    .examples = VERB_EXAMPLES({"citadel engines", "what is there, and who needs it"},
                              {"python3 -m venv /opt/citadel/vllm-env-0.14.1", "a new one, beside"},
                              {"sudo ln -sfn vllm-env-0.14.1 /opt/citadel/vllm-env", "is meant"},
                              {"sudo citadel apply", "models on vLLM start anew with it"}),
};

#define LIST_BYTES (64 * MIB)

struct engine_row {
    const char *path, *version, *trouble;
    bool meant; /* paths.vllm_env leads to it */
    VEC(unsigned) generations;
};

struct engine_list {
    struct arena arena;
    VEC(struct engine_row) rows;
    unsigned current;
};

static const struct table_column columns[] = {
    {.title = "ENVIRONMENT"},
    {.title = "VLLM"},
    {.title = "GENERATIONS", .expendable = 1},
    {.title = "", .min_width = 8, .expendable = 2},
};

/* ---- what there is ---- */

static int
add_found(struct cli *cli, const struct config *config, struct engine_list *list)
{
    const char *link = config->paths.vllm_env;
    char meant[PATH_MAX] = "";
    struct engine_env_item *items;
    size_t count;
    int r = engine_env_list(link, engines[CONFIG_ENGINE_VLLM].python_package, &list->arena, &items,
                            &count, &cli->err);
    if (engine_env_resolve(link, meant, NULL) < 0)
        meant[0] = '\0';
    for (size_t i = 0; r == 0 && i < count; i++)
        vec_push(&list->rows, ((struct engine_row){.path = root_strip(items[i].path),
                                                   .version = items[i].version,
                                                   .trouble = items[i].trouble,
                                                   .meant = text_eq(items[i].path, meant)}));
    return r;
}

static struct engine_row *
find(struct engine_list *list, const char *path)
{
    vec_foreach (&list->rows, row)
        if (text_eq(row->path, path))
            return row;
    return NULL;
}

/* One that does not lie beside the link, or not any more. */
static struct engine_row *
add_needed(struct engine_list *list, const struct plan_engine *needed)
{
    struct err err = {0};
    struct engine_env env;
    engine_version_text text;
    const char *path = root_path(&list->arena, needed->env);
    bool whole =
        path && engine_env_find(path, engines[CONFIG_ENGINE_VLLM].python_package, &env, &err) == 0;
    struct engine_row *row = vec_add(&list->rows);
    *row = (struct engine_row){
        .path = needed->env,
        .version =
            whole ? arena_strdup(&list->arena, engine_version_print(&env.version, text)) : "",
        .trouble = arena_strdup(&list->arena, err.what),
    };
    return row;
}

/* A generation that somebody has changed says nothing that could be believed. */
static void
add_generation(struct cli *cli, const char *store, const struct generation *g,
               struct engine_list *list)
{
    struct plan_engine needed;
    struct err err;
    if (g->current)
        list->current = g->number;
    if (deploy_engine_of(store, g->number, &list->arena, &needed, &err) < 0) {
        cli_note(cli, "%s; what it needs is not known", err.what);
        return;
    }
    if (!needed.env[0])
        return;
    struct engine_row *row = find(list, needed.env);
    if (!row)
        row = add_needed(list, &needed);
    vec_push(&row->generations, g->number);
}

static int
collect(struct cli *cli, const struct config *config, struct engine_list *list)
{
    struct generation *items;
    size_t count;
    const char *store = config->paths.generations;
    int r = add_found(cli, config, list);
    if (r == 0)
        r = generation_list(store, &list->arena, &items, &count, &cli->err);
    for (size_t i = 0; r == 0 && i < count; i++)
        add_generation(cli, store, &items[i], list);
    if (r == 0 && list->arena.full)
        r = err_set(&cli->err, ERR_TOO_LARGE, "there are too many environments and generations");
    return r;
}

static void
finish(struct engine_list *list)
{
    vec_foreach (&list->rows, row)
        vec_finish(&row->generations);
    vec_finish(&list->rows);
    arena_finish(&list->arena);
}

/* ---- telling ---- */

static bool
is_needed(const struct engine_row *row)
{
    return row->meant || row->generations.count;
}

static void
add_row(struct table *table, const struct engine_list *list, const struct engine_row *row)
{
    _cleanup_buf_ struct buf needs = BUF_INIT(64 * KIB);
    for (size_t i = 0; i < row->generations.count; i++) {
        unsigned number = row->generations.items[i];
        buf_printf(&needs, "%s%u%s", i ? " " : "", number,
                   number == list->current ? " (current)" : "");
    }
    table_add(table, row->meant ? TONE_GOOD : TONE_PLAIN, row->path);
    table_add(table, TONE_PLAIN, row->version[0] ? row->version : "-");
    table_add(table, TONE_PLAIN, needs.len ? needs.data : "-");
    if (row->trouble[0])
        table_add(table, TONE_BAD, row->trouble);
    else
        table_add(table, TONE_PLAIN,
                  row->meant       ? "paths.vllm_env leads here"
                  : is_needed(row) ? ""
                                   : "may be removed");
}

static void
print_json(struct json_writer *w, const struct engine_list *list)
{
    json_open_list(w, NULL);
    vec_foreach (&list->rows, row) {
        json_open_map(w, NULL);
        json_str(w, "path", row->path);
        json_str(w, "version", row->version[0] ? row->version : NULL);
        json_str(w, "trouble", row->trouble[0] ? row->trouble : NULL);
        json_bool(w, "meant", row->meant);
        json_open_list(w, "generations");
        for (size_t i = 0; i < row->generations.count; i++)
            json_u64(w, NULL, row->generations.items[i]);
        json_close_list(w);
        json_bool(w, "needed", is_needed(row));
        json_close_map(w);
    }
    json_close_list(w);
}

static void
print_list(struct cli *cli, const struct config *config, const struct engine_list *list)
{
    _cleanup_table_ struct table table;
    table_init(&table, columns, ARRAY_SIZE(columns));
    if (list->rows.count == 0) {
        cli_note(cli, "There is no Python environment beside %s.", config->paths.vllm_env);
        return;
    }
    vec_foreach (&list->rows, row)
        add_row(&table, list, row);
    cli_table(cli, &table);
}

int
verb_engines(struct cli *cli)
{
    _cleanup_config_ struct config *config = NULL;
    struct engine_list list = {0};
    int r = cli_load_config(cli, &config);
    if (r < 0)
        return r;
    arena_init(&list.arena, LIST_BYTES);
    r = collect(cli, config, &list);
    if (r == 0 && cli->json)
        print_json(cli->json, &list);
    else if (r == 0)
        print_list(cli, config, &list);
    finish(&list);
    return r;
}
