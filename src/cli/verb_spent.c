#include "cli/keys.h"

#include "cli/cli.h"
#include "sys/clock.h"

#include <inttypes.h>
#include <string.h>

const struct verb_help verb_spent_help = {
    .text =
        "Tells what was used, of the ledger that the gateway keeps for gateway.ledger_keep: "
        "requests, those among them that it refused, tokens that went in (some of them from a "
        "cache) and came out, and the time that they took. Tokens are those that models have "
        "told; of an answer that was broken off, those that went through. What was asked without "
        "a key has an empty name. Nothing of what was said is kept.",
    .examples = VERB_EXAMPLES({"citadel usage", "by key, all there is"},
                              {"citadel usage --by day --since 7d", "the last week"},
                              {"citadel usage --by model --csv", "for a spreadsheet"}),
};

static const char *const numbers[] = {
    "requests", "refused", "tokens_in", "tokens_cached", "tokens_out", "queue_us", "duration_us",
};

static uint64_t
number_of(const struct value *row, const char *name)
{
    uint64_t n = 0;
    (void)!value_u64(value_get(row, name), &n);
    return n;
}

static void
print_table(struct cli *cli, const struct value *rows)
{
    static const struct table_column columns[] = {
        {.title = "NAME", .min_width = 8},
        {.title = "REQUESTS", .right = true},
        {.title = "REFUSED", .right = true, .expendable = 2},
        {.title = "TOKENS IN", .right = true},
        {.title = "CACHED", .right = true, .expendable = 3},
        {.title = "TOKENS OUT", .right = true},
        {.title = "QUEUED S", .right = true, .expendable = 4},
        {.title = "TOOK S", .right = true, .expendable = 1},
    };
    _cleanup_table_ struct table table;
    table_init(&table, columns, ARRAY_SIZE(columns));
    for (const struct value *row = rows->first; row; row = row->next) {
        const char *name = value_str(value_get(row, "name"));
        table_add(&table, TONE_PLAIN, name && *name ? name : "-");
        for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
            bool is_time = text_ends(numbers[i], "_us");
            uint64_t n = number_of(row, numbers[i]);
            table_addf(&table, TONE_PLAIN, "%" PRIu64, is_time ? n / 1000000 : n);
        }
    }
    if (rows->first)
        cli_table(cli, &table);
    else
        cli_note(cli, "nothing was used");
}

static void
print_csv(struct cli *cli, const char *by, const struct value *rows)
{
    cli_print(cli, "%s", by);
    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
        cli_print(cli, ",%s", numbers[i]);
    cli_print(cli, "\r\n");
    for (const struct value *row = rows->first; row; row = row->next) {
        const char *name = value_str(value_get(row, "name"));
        cli_print_csv(cli, name ? name : "");
        for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
            cli_print(cli, ",%" PRIu64, number_of(row, numbers[i]));
        cli_print(cli, "\r\n");
    }
}

int
verb_spent(struct cli *cli)
{
    _cleanup_arena_ struct arena arena;
    const char *by = cli_option(cli, "by");
    uint64_t ago_us = cli_duration_us(cli, "since", UINT64_MAX), now_us = clock_wall_us();
    struct value *rows = NULL;
    arena_init(&arena, OPERATE_ANSWER_BYTES);
    if (cli->json && cli_flag(cli, "csv"))
        return err_set(&cli->err, ERR_USAGE, "--csv and --json are two forms; one at a time");
    by = by ? by : "key";
    int r = cli_read_usage(cli, by, now_us - MIN(ago_us, now_us), &arena, &rows);
    if (r < 0)
        return r;
    if (cli->json)
        json_value(cli->json, NULL, rows);
    else if (cli_flag(cli, "csv"))
        print_csv(cli, by, rows);
    else
        print_table(cli, rows);
    return EXIT_CODE_OK;
}
