#include "base/quantity.h"
#include "base/text.h"
#include "cli/backup.h"

#include <stdlib.h>

const struct verb_help verb_backup_key_list_help = {
    .text = "Lists the keys of a repository that is encrypted: the label of each, whether it is a "
            "passphrase "
            "or a key of chance, and what it opens. Labels stand there in clear text; what a "
            "passphrase "
            "is, nobody can tell from it.",
    .examples = VERB_EXAMPLES({"sudo citadel backup key list", "who can get in"}),
};

static const struct table_column columns[] = {
    {.title = "LABEL", .min_width = 8},
    {.title = "IS"},
    {.title = "OPENS"},
    {.title = "COST", .expendable = 1},
};

static void
add_row(struct table *table, struct repository_key *key)
{
    quantity_text memory;
    if (key->is_damaged) {
        table_add(table, TONE_BAD, "damaged");
        for (size_t i = 1; i < ARRAY_SIZE(columns); i++)
            table_add(table, TONE_DIM, "-");
        return;
    }
    text_disarm(key->lock.label);
    table_add(table, TONE_TITLE, key->lock.label);
    table_add(table, TONE_PLAIN, key->lock.is_passphrase ? "passphrase" : "key");
    table_add(table, TONE_PLAIN, key->lock.only_adds ? "only adds" : "all");
    if (key->lock.is_passphrase)
        table_addf(table, TONE_DIM, "%u passes over %s", key->lock.cost.passes,
                   quantity_show_bytes(key->lock.cost.bytes, memory));
    else
        table_add(table, TONE_DIM, "-");
}

static void
print(struct cli *cli, struct repository_key *keys, size_t count)
{
    _cleanup_table_ struct table table;
    table_init(&table, columns, ARRAY_SIZE(columns));
    for (size_t i = 0; i < count; i++)
        add_row(&table, &keys[i]);
    cli_table(cli, &table);
}

static void
print_json(struct json_writer *w, const struct repository_key *keys, size_t count)
{
    json_open_list(w, NULL);
    for (size_t i = 0; i < count; i++) {
        json_open_map(w, NULL);
        json_bool(w, "damaged", keys[i].is_damaged);
        if (!keys[i].is_damaged)
            cli_backup_json_key(w, &keys[i].lock);
        json_close_map(w);
    }
    json_close_list(w);
}

int
verb_backup_key_list(struct cli *cli)
{
    _cleanup_cli_backup_ struct cli_backup b = {0};
    struct repository_key *keys = NULL;
    size_t count = 0;
    int r = cli_backup_open_locked(cli, &b);
    if (r == 0)
        r = repository_list_keys(b.repository, &keys, &count, &cli->err);
    if (r < 0)
        return r;
    if (cli->json)
        print_json(cli->json, keys, count);
    else
        print(cli, keys, count);
    free(keys);
    return EXIT_CODE_OK;
}
