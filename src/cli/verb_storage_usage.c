#include "base/quantity.h"
#include "cli/confirm.h"
#include "cli/load_config.h"
#include "storage/usage.h"

const struct verb_help verb_storage_usage_help = {
    .text =
        "Tells how much room each area takes on its disk, of how much, and in how many files: "
        "the active models, caches, staging, backups, logs, state, and the rest of the application "
        "root. No link is followed and no other file system entered; a file with several names "
        "counts once for all of them. Walking takes time where there are millions of files: on a "
        "terminal it tells how far it is.",
    .examples = VERB_EXAMPLES({"citadel storage usage", "by area"},
                              {"sudo citadel storage usage", "with what is closed to this user"},
                              {"citadel storage usage --json", "in bytes"}),
};

static const struct table_column columns[] = {
    {.title = "AREA"},
    {.title = "SIZE", .right = true},
    {.title = "FILES", .right = true, .expendable = 2},
    {.title = "OF ITS DISK", .right = true, .expendable = 1},
    {.title = "FREE THERE", .right = true, .expendable = 3},
    {.title = "PATH", .min_width = 10, .expendable = 4},
};

static double
percent(const struct usage_area *a)
{
    return a->disk_bytes ? 100.0 * (double)a->bytes / (double)a->disk_bytes : 0;
}

static void
on_progress(const char *area, uint64_t entries, void *arg)
{
    if (cli_is_attended())
        cli_note(arg, "%s: %llu files and directories so far", area, (unsigned long long)entries);
}

static void
add_area(struct table *table, const struct usage_area *a)
{
    quantity_text size, left;
    table_add(table, TONE_PLAIN, a->name);
    if (a->is_there) {
        table_addf(table, TONE_PLAIN, "%s%s", a->more || a->skipped ? ">" : "",
                   quantity_show_bytes(a->bytes, size));
        table_addf(table, TONE_PLAIN, "%llu", (unsigned long long)a->files);
        table_addf(table, TONE_PLAIN, "%.1f%%", percent(a));
        table_add(table, TONE_PLAIN, quantity_show_bytes(a->disk_free_bytes, left));
    } else {
        for (size_t i = 0; i < 4; i++)
            table_add(table, TONE_DIM, "-");
    }
    table_add(table, TONE_PLAIN, a->path);
}

static void
print(struct cli *cli, const struct usage_area areas[USAGE_AREAS])
{
    _cleanup_table_ struct table table;
    table_init(&table, columns, ARRAY_SIZE(columns));
    for (size_t i = 0; i < USAGE_AREAS; i++)
        add_area(&table, &areas[i]);
    cli_table(cli, &table);
    for (size_t i = 0; i < USAGE_AREAS; i++) {
        if (areas[i].skipped)
            cli_print(cli, "%s: %llu directories could not be looked into, or are too deep\n",
                      areas[i].name, (unsigned long long)areas[i].skipped);
        if (areas[i].more)
            cli_print(cli, "%s: there are more files than are counted\n", areas[i].name);
    }
}

static void
print_json(struct json_writer *w, const struct usage_area areas[USAGE_AREAS])
{
    json_open_list(w, NULL);
    for (size_t i = 0; i < USAGE_AREAS; i++) {
        const struct usage_area *a = &areas[i];
        json_open_map(w, NULL);
        json_str(w, "area", a->name);
        json_str(w, "path", a->path);
        json_bool(w, "is_there", a->is_there);
        json_u64(w, "bytes", a->bytes);
        json_u64(w, "files", a->files);
        json_u64(w, "skipped", a->skipped);
        json_bool(w, "more", a->more);
        json_u64(w, "disk_bytes", a->disk_bytes);
        json_u64(w, "disk_free_bytes", a->disk_free_bytes);
        json_real(w, "percent", percent(a));
        json_close_map(w);
    }
    json_close_list(w);
}

int
verb_storage_usage(struct cli *cli)
{
    static struct usage_area areas[USAGE_AREAS];
    _cleanup_config_ struct config *config = NULL;
    int r = cli_load_config(cli, &config);
    if (r == 0)
        r = usage_measure(config, areas, on_progress, cli, &cli->err);
    if (r < 0)
        return r;
    if (cli->json)
        print_json(cli->json, areas);
    else
        print(cli, areas);
    return EXIT_CODE_OK;
}
