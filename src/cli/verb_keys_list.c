#include "cli/keys.h"

#include "cli/cli.h"

#include <inttypes.h>
#include <time.h>

const struct verb_help verb_keys_list_help = {
    .text =
        "Lists the keys, revoked ones too: how each begins, whether it is good, what it may ask "
        "for, and what is left of its limits. The keys themselves are kept nowhere.",
    .examples = VERB_EXAMPLES({"citadel keys list", "all of them"},
                              {"citadel keys list --json | jq '.[] | select(.state == \"active\")'",
                               "those that are good"}),
};

static const struct table_column columns[] = {
    {.title = "NAME", .min_width = 8},
    {.title = "KEY", .expendable = 3},
    {.title = "STATE"},
    {.title = "MODELS", .min_width = 8, .expendable = 1},
    {.title = "LIMITS", .min_width = 12},
    {.title = "PRIORITY", .expendable = 4},
    {.title = "EXPIRES", .expendable = 2},
};

static void
add_models(struct table *table, const struct value *models)
{
    _cleanup_buf_ struct buf text = BUF_INIT(KEY_MODELS_BYTES_MAX * 2);
    for (const struct value *v = models ? models->first : NULL; v; v = v->next)
        buf_printf(&text, "%s%s", text.len ? " " : "", value_str(v));
    bool all = !models || models->type == VALUE_NULL;
    table_add(table, TONE_PLAIN, all ? "all" : text.len ? text.data : "none");
}

static void
add_limits(struct table *table, const struct value *key)
{
    _cleanup_buf_ struct buf text = BUF_INIT(KIB);
    for (unsigned i = 0; i < ALLOWANCE_LIMITS; i++) {
        const struct allowance_limit_row *row = &allowance_limit_rows[i];
        uint64_t limit, left;
        if (value_u64(value_get(key, row->member), &limit) &&
            value_u64(value_get(value_get(key, "left"), row->member), &left))
            buf_printf(&text, "%s%s %" PRIu64 " (%" PRIu64 " left)", text.len ? ", " : "",
                       row->option, limit, left);
    }
    table_add(table, TONE_PLAIN, text.len ? text.data : "-");
}

static void
add_expiry(struct table *table, const struct value *key)
{
    char text[32];
    uint64_t us;
    struct tm tm;
    if (value_u64(value_get(key, "expires_us"), &us)) {
        time_t s = (time_t)(us / 1000000);
        bool fits = gmtime_r(&s, &tm) && strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
        table_add(table, TONE_DIM, fits ? text : "-");
    } else {
        table_add(table, TONE_DIM, "never");
    }
}

static void
print(struct cli *cli, const struct value *keys)
{
    _cleanup_table_ struct table table;
    table_init(&table, columns, ARRAY_SIZE(columns));
    for (const struct value *key = keys->first; key; key = key->next) {
        const char *state = value_str(value_get(key, "state"));
        bool has_priority = false, is_good = text_eq(state, key_state_word(KEY_ACTIVE));
        table_add(&table, TONE_PLAIN, value_str(value_get(key, "name")));
        table_addf(&table, TONE_DIM, "%s...", value_str(value_get(key, "hint")));
        table_add(&table, is_good ? TONE_GOOD : TONE_BAD, state);
        add_models(&table, value_get(key, "models"));
        add_limits(&table, key);
        (void)value_bool(value_get(key, "priority"), &has_priority);
        table_add(&table, TONE_PLAIN, has_priority ? "yes" : "no");
        add_expiry(&table, key);
    }
    if (keys->first)
        cli_table(cli, &table);
    else
        cli_note(cli, "there are no keys: the gateway answers this host only");
}

int
verb_keys_list(struct cli *cli)
{
    _cleanup_arena_ struct arena arena;
    struct value *keys = NULL;
    arena_init(&arena, OPERATE_ANSWER_BYTES);
    int r = cli_list_keys(cli, &arena, &keys);
    if (r < 0)
        return r;
    if (cli->json)
        json_value(cli->json, NULL, keys);
    else
        print(cli, keys);
    return EXIT_CODE_OK;
}
