#include "base/quantity.h"
#include "base/text.h"
#include "cli/backup.h"
#include "sys/clock.h"

const struct verb_help verb_backup_list_help = {
    .text =
        "Lists the snapshots of the repository, from the oldest to the newest: what each is "
        "of, when and "
        "where it was made, how large it is, and how much of it was new then; and whether it is "
        "pinned, deleted, or was found whole by a verification. One that is damaged is "
        "told as such; the others are not concerned.",
    .examples = VERB_EXAMPLES({"sudo citadel backup list", "all of them"},
                              {"sudo citadel backup list --model phi3", "of one model"},
                              {"sudo citadel backup list --json", "for a program"}),
};

static const struct table_column columns[] = {
    {.title = "SNAPSHOT"},
    {.title = "OF", .min_width = 8},
    {.title = "TYPE", .expendable = 2},
    {.title = "WHEN"},
    {.title = "IS", .expendable = 6},
    {.title = "SIZE", .right = true},
    {.title = "FILES", .right = true, .expendable = 3},
    {.title = "NEW", .right = true, .expendable = 1},
    {.title = "STORED", .right = true, .expendable = 4},
    {.title = "HOST", .min_width = 6, .expendable = 5},
};

/* The word for what matters most: what is deleted is told, though it may have been whole. */
static const char *
state_of(const struct marks *marks, const struct snapshot_row *row)
{
    struct block_id name;
    object_digest(row->name, name.bytes);
    const struct mark *good = marks_find(marks, MARK_GOOD, &name),
                      *bad = marks_find(marks, MARK_DAMAGED, &name);
    if (marks_find(marks, MARK_PINNED, &name))
        return "pinned";
    if (marks_find(marks, MARK_DELETED, &name))
        return "deleted";
    if (bad && (!good || bad->at_ns >= good->at_ns))
        return "damaged";
    return good ? "verified" : "-";
}

static void
add_row(struct table *table, const struct marks *marks, const struct snapshot_row *row)
{
    quantity_text size, fresh, stored;
    char when[CLOCK_LOCAL_MAX];
    table_addf(table, TONE_TITLE, "%.*s", CLI_BACKUP_ID, row->name);
    if (row->is_damaged) {
        table_add(table, TONE_BAD, "damaged");
        for (size_t i = 2; i < ARRAY_SIZE(columns); i++)
            table_add(table, TONE_DIM, "-");
        return;
    }
    table_add(table, TONE_PLAIN, row->head.name);
    table_add(table, TONE_PLAIN, row->head.type[0] ? row->head.type : "-");
    table_add(table, TONE_PLAIN, clock_print_local((uint64_t)(row->head.begun_ns / 1000), when));
    table_add(table, TONE_PLAIN, state_of(marks, row));
    table_add(table, TONE_PLAIN, quantity_show_bytes(row->end.bytes, size));
    table_addf(table, TONE_PLAIN, "%llu", (unsigned long long)row->end.files);
    table_add(table, TONE_PLAIN, quantity_show_bytes(row->end.new_bytes, fresh));
    table_add(table, TONE_PLAIN, quantity_show_bytes(row->end.stored_bytes, stored));
    table_add(table, TONE_PLAIN, row->head.host);
}

static bool
is_wanted(const struct cli *cli, const struct snapshot_row *row)
{
    const char *model = cli_option(cli, "model");
    return !model || (!row->is_damaged && text_eq(row->head.name, model));
}

static void
print(struct cli *cli, const struct marks *marks, const struct snapshots *all)
{
    _cleanup_table_ struct table table;
    size_t count = 0;
    table_init(&table, columns, ARRAY_SIZE(columns));
    for (size_t i = 0; i < all->count; i++)
        if (is_wanted(cli, &all->rows[i])) {
            add_row(&table, marks, &all->rows[i]);
            count++;
        }
    if (count > 0)
        cli_table(cli, &table);
    else
        cli_note(cli, "there is no snapshot; `citadel backup models` makes them");
}

static void
print_json(struct cli *cli, const struct marks *marks, const struct snapshots *all)
{
    json_open_list(cli->json, NULL);
    for (size_t i = 0; i < all->count; i++) {
        if (!is_wanted(cli, &all->rows[i]))
            continue;
        json_open_map(cli->json, NULL);
        cli_backup_json(cli->json, &all->rows[i]);
        json_str(cli->json, "is", state_of(marks, &all->rows[i]));
        json_close_map(cli->json);
    }
    json_close_list(cli->json);
}

int
verb_backup_list(struct cli *cli)
{
    _cleanup_cli_backup_ struct cli_backup b = {0};
    _cleanup_marks_ struct marks marks = {0};
    struct snapshots all;
    int r = cli_backup_open(cli, &b);
    if (r == 0)
        r = repository_need_reading(b.repository, &cli->err);
    if (r == 0)
        r = marks_read(b.repository, &marks, &cli->err);
    if (r == 0)
        r = snapshots_read(b.repository, &all, &cli->err);
    if (r < 0)
        return r;
    if (cli->json)
        print_json(cli, &marks, &all);
    else
        print(cli, &marks, &all);
    snapshots_finish(&all);
    return EXIT_CODE_OK;
}
