#include "base/quantity.h"
#include "base/text.h"
#include "cli/secrets.h"
#include "sys/root.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

const struct verb_help verb_secrets_list_help = {
    .text =
        "Lists the secrets that are kept and those that options of the configuration ask for: how "
        "each is kept (encrypted, plain, in a file or variable of its own), since when, which "
        "options ask for it, and which services read it when they start. One that is asked for "
        "and is not there is missing. Values are not read. Where others than root can get into a "
        "directory of secrets, that is told.",
    .examples =
        VERB_EXAMPLES({"citadel secrets list", "all of them"},
                      {"citadel secrets list --json | jq '.[] | select(.kept == \"missing\")'",
                       "what is still to be set"}),
};

#define TEXT_MAX (64 * KIB)
#define TIME_BYTES 32

static const struct table_column columns[] = {
    {.title = "NAME", .min_width = 8},
    {.title = "KEPT"},
    {.title = "SINCE", .expendable = 2},
    {.title = "OPTIONS", .min_width = 12},
    {.title = "SERVICES", .min_width = 12, .expendable = 1},
};

/* A row: a secret of the store, or one that an option asks for elsewhere. */
struct row {
    const char *name, *kept;
    uint64_t since_us; /* 0: not known */
    unsigned readers;
    bool open;                    /* others can get into where it is kept */
    const struct secret_use *use; /* NULL: all that ask the store for this name */
};

#define MISSING "missing"

static const char *
print_time(uint64_t us, char text[TIME_BYTES])
{
    time_t s = (time_t)(us / 1000000);
    struct tm tm;
    if (us == 0 || !gmtime_r(&s, &tm) || strftime(text, TIME_BYTES, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        return NULL;
    return text;
}

static void
add_options(const struct cli_secrets *secrets, const struct row *row, struct buf *out)
{
    if (row->use)
        buf_add_str(out, row->use->option);
    else
        (void)cli_secret_options(secrets, row->name, out);
}

static void
print_row(struct table *table, const struct cli_secrets *secrets, const struct row *row)
{
    _cleanup_buf_ struct buf options = BUF_INIT(TEXT_MAX), services = BUF_INIT(TEXT_MAX);
    char text[TIME_BYTES];
    const char *since = print_time(row->since_us, text);
    add_options(secrets, row, &options);
    cli_secret_services(secrets, row->readers, &services);
    if (row->readers & SECRET_FOR_BACKUP)
        buf_printf(&services, "%s(backups)", services.len ? " " : "");
    table_add(table, TONE_PLAIN, row->name);
    table_add(table, text_eq(row->kept, MISSING) ? TONE_BAD : TONE_PLAIN, row->kept);
    table_add(table, TONE_DIM, since ? since : "-");
    table_add(table, TONE_PLAIN, options.len ? options.data : "-");
    table_add(table, TONE_PLAIN, services.len ? services.data : "-");
}

static void
print_words(struct json_writer *w, const char *name, char *words)
{
    json_open_list(w, name);
    for (char *word; words && (word = strsep(&words, " "));)
        if (*word)
            json_str(w, NULL, word);
    json_close_list(w);
}

static void
print_json(struct json_writer *w, const struct cli_secrets *secrets, const struct row *row)
{
    _cleanup_buf_ struct buf options = BUF_INIT(TEXT_MAX), services = BUF_INIT(TEXT_MAX);
    add_options(secrets, row, &options);
    cli_secret_services(secrets, row->readers, &services);
    json_open_map(w, NULL);
    json_str(w, "name", row->name);
    json_str(w, "kept", row->kept);
    if (row->since_us)
        json_u64(w, "since_us", row->since_us);
    else
        json_null(w, "since_us");
    print_words(w, "options", options.len ? options.data : NULL);
    print_words(w, "services", services.len ? services.data : NULL);
    json_bool(w, "backups", row->readers & SECRET_FOR_BACKUP);
    json_bool(w, "open", row->open);
    json_close_map(w);
}

struct rows {
    struct row *items;
    size_t count;
};

static bool
is_listed(const struct rows *rows, const char *name)
{
    for (size_t i = 0; i < rows->count; i++)
        if (!rows->items[i].use && text_eq(rows->items[i].name, name))
            return true;
    return false;
}

static void
add_use(struct rows *rows, const struct cli_secrets *secrets, const struct secret_use *use)
{
    struct row row = {.name = use->secret->where, .kept = MISSING, .readers = use->readers};
    struct stat st;
    switch (use->secret->kind) {
    case CONFIG_SECRET_CREDENTIAL:
        if (is_listed(rows, row.name))
            return;
        row.readers = cli_secret_readers(secrets, row.name);
        break;
    case CONFIG_SECRET_FILE:
        row.use = use;
        if (stat(row.name, &st) == 0) {
            row.kept = "file";
            row.since_us = (uint64_t)st.st_mtim.tv_sec * 1000000;
        }
        row.name = root_strip(row.name);
        break;
    case CONFIG_SECRET_ENV: /* of whoever starts the services: nothing can be said of it here */
        row.use = use;
        row.kept = "variable";
        break;
    case CONFIG_SECRET_NONE:
        return;
    }
    rows->items[rows->count++] = row;
}

static int
gather(struct cli *cli, struct cli_secrets *secrets, struct rows *ret_rows)
{
    struct secret_kept *kept;
    size_t count;
    int r = secret_store_list(&secrets->store, &secrets->arena, &kept, &count, &cli->err);
    if (r < 0)
        return r;
    ret_rows->items = mem_alloc((count + secrets->use_count + 1) * sizeof(*ret_rows->items));
    for (size_t i = 0; i < count; i++)
        ret_rows->items[ret_rows->count++] =
            (struct row){.name = kept[i].name,
                         .kept = secret_form_word(kept[i].form),
                         .since_us = kept[i].since_us,
                         .readers = cli_secret_readers(secrets, kept[i].name),
                         .open = secret_store_is_open(&secrets->store, kept[i].form)};
    for (size_t i = 0; i < secrets->use_count; i++)
        add_use(ret_rows, secrets, &secrets->uses[i]);
    return 0;
}

static void
print(struct cli *cli, const struct cli_secrets *secrets, const struct rows *rows)
{
    _cleanup_table_ struct table table;
    table_init(&table, columns, ARRAY_SIZE(columns));
    for (size_t i = 0; i < rows->count; i++)
        print_row(&table, secrets, &rows->items[i]);
    if (rows->count)
        cli_table(cli, &table);
    else
        cli_note(cli, "no secret is kept, and none is asked for");
    cli_warn_of_open_store(cli, &secrets->store);
}

int
verb_secrets_list(struct cli *cli)
{
    _cleanup_cli_secrets_ struct cli_secrets secrets = {0};
    struct rows rows = {0};
    int r = cli_load_secrets(cli, &secrets);
    if (r == 0)
        r = gather(cli, &secrets, &rows);
    if (r == 0 && cli->json) {
        json_open_list(cli->json, NULL);
        for (size_t i = 0; i < rows.count; i++)
            print_json(cli->json, &secrets, &rows.items[i]);
        json_close_list(cli->json);
    } else if (r == 0) {
        print(cli, &secrets, &rows);
    }
    free(rows.items);
    return r < 0 ? r : EXIT_CODE_OK;
}
