#include "base/quantity.h"
#include "base/text.h"
#include "cli/confirm.h"
#include "cli/load_config.h"
#include "storage/clean.h"
#include "sys/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define HOUR_US (UINT64_C(3600) * 1000000)

const struct verb_help verb_storage_clean_help = {
    .text =
        "Removes what is not needed any more: rotated logs older than storage.log_files days, "
        "cache "
        "files that nobody has used for storage.cache_keep, and files in staging and in the "
        "temporary area of the backups that are older than storage.temporary_keep; --older-than "
        "says one age for all of them. Logs that are written to, models and backups are never "
        "touched.\n\n"
        "What will go is shown, then it asks; with -y it does not, and without a terminal to "
        "ask at it does nothing. --json tells what has become of each file: found (nothing was "
        "done), removed, open, changed (meanwhile) or failed. A file that some process has open "
        "stays: run it as root, who sees those "
        "of all. Caches on a disk that is mounted with noatime are left alone, since nobody knows "
        "whether they are used.",
    .examples =
        VERB_EXAMPLES({"citadel storage clean", "show, ask, and do it"},
                      {"citadel storage clean --dry-run --older-than 30d", "what that would be"},
                      {"citadel storage clean --force", "in a script"}),
};

enum outcome { FOUND, REMOVED, OPEN, CHANGED, FAILED, OUTCOMES };

static const char *
outcome_word(enum outcome outcome)
{
    static const char *const words[OUTCOMES] = {
        [FOUND] = "found",     [REMOVED] = "removed", [OPEN] = "open",
        [CHANGED] = "changed", [FAILED] = "failed",
    };
    return words[outcome];
}

/* What has become of a list. */
struct cleaning {
    struct cli *cli;
    struct clean_list list;
    enum outcome *outcomes; /* of each item */
    size_t counts[OUTCOMES];
    uint64_t bytes[OUTCOMES];
};

static int
read_ages(struct cli *cli, const struct config *config, struct clean_ages *ret_ages)
{
    uint64_t us = cli_duration_us(cli, "older-than", 0);
    *ret_ages = clean_ages_of(config);
    if (!cli_option(cli, "older-than"))
        return 0;
    for (size_t i = 0; i < CLEAN_KINDS; i++)
        ret_ages->of_us[i] = us;
    if (us >= HOUR_US)
        return 0;
    return err_set(&cli->err, ERR_USAGE, "--older-than: %s is less than an hour",
                   cli_option(cli, "older-than"));
}

static void
note(struct cleaning *c, size_t i, enum outcome outcome)
{
    c->outcomes[i] = outcome;
    c->counts[outcome]++;
    c->bytes[outcome] += c->list.items[i].bytes;
}

static void
note_found(struct cleaning *c)
{
    c->outcomes = mem_alloc((c->list.count + 1) * sizeof(*c->outcomes));
    for (size_t i = 0; i < c->list.count; i++)
        note(c, i, c->list.items[i].is_open ? OPEN : FOUND);
}

/* ---- telling ---- */

static void
print_item(struct cli *cli, const struct clean_list *list, const struct clean_item *item)
{
    quantity_text size, age;
    _cleanup_free_ char *name = mem_strdup(item->name);
    text_disarm(name);
    cli_print(cli, "%-9s  %9s  %6s old  %s/%s%s\n", clean_kind_word(item->kind),
              quantity_show_bytes(item->bytes, size),
              quantity_print_us(item->age_us / HOUR_US * HOUR_US, age), list->paths[item->kind],
              name, item->is_open ? " (open: it stays)" : "");
}

static void
sum_up(const struct cleaning *c, const char *word, enum outcome outcome)
{
    struct cli *cli = c->cli;
    quantity_text text;
    cli_print(cli, "%s %zu file%s, %s", word, c->counts[outcome],
              c->counts[outcome] == 1 ? "" : "s", quantity_show_bytes(c->bytes[outcome], text));
    if (c->counts[OPEN])
        cli_print(cli, "; %zu are open and stay", c->counts[OPEN]);
    if (c->counts[CHANGED])
        cli_print(cli, "; %zu have changed meanwhile and stay", c->counts[CHANGED]);
    cli_print(cli, "%s\n", c->list.more ? "; there are more: run it again" : "");
    if (c->list.is_blind)
        cli_print(cli, "caches are left: %s is on a disk that is mounted with noatime\n",
                  c->list.paths[CLEAN_CACHE]);
}

static void
json_item(struct json_writer *w, const struct cleaning *c, size_t i)
{
    const struct clean_item *item = &c->list.items[i];
    json_open_map(w, NULL);
    json_str(w, "kind", clean_kind_word(item->kind));
    json_str(w, "directory", c->list.paths[item->kind]);
    json_strn(w, "name", item->name, strlen(item->name));
    json_u64(w, "bytes", item->bytes);
    json_u64(w, "age_us", item->age_us);
    json_str(w, "outcome", outcome_word(c->outcomes[i]));
    json_close_map(w);
}

static void
print_json(const struct cleaning *c, bool dry)
{
    struct json_writer *w = c->cli->json;
    json_open_map(w, NULL);
    json_bool(w, "dry_run", dry);
    json_bool(w, "more", c->list.more);
    json_str(w, "caches_left", c->list.is_blind ? c->list.paths[CLEAN_CACHE] : NULL);
    json_open_list(w, "files");
    for (size_t i = 0; i < c->list.count; i++)
        json_item(w, c, i);
    json_close_list(w);
    json_close_map(w);
}

static void
show(const struct cleaning *c, bool dry)
{
    if (c->cli->json) {
        print_json(c, true);
        return;
    }
    for (size_t i = 0; i < c->list.count; i++)
        print_item(c->cli, &c->list, &c->list.items[i]);
    sum_up(c, dry || c->counts[FOUND] == 0 ? "would remove" : "will remove", FOUND);
}

/* ---- doing ---- */

/* One that cannot be removed is told, and the others go. */
static int
remove_all(struct cleaning *c)
{
    int first = 0;
    clean_mark_open(&c->list);
    memset(c->counts, 0, sizeof(c->counts));
    memset(c->bytes, 0, sizeof(c->bytes));
    for (size_t i = 0; i < c->list.count; i++) {
        const struct clean_item *item = &c->list.items[i];
        int r = clean_remove(&c->list, item);
        note(c, i,
             r == 0                         ? REMOVED
             : r == -EBUSY                  ? OPEN
             : r == -ESTALE || r == -ENOENT ? CHANGED
                                            : FAILED);
        if (c->outcomes[i] != FAILED || first < 0)
            continue;
        first = err_set_errno(&c->cli->err, -r, "cannot remove '%s/%s'", c->list.paths[item->kind],
                              item->name);
        err_fix(&c->cli->err, "run it as root");
    }
    return first;
}

static int
clean(struct cleaning *c)
{
    struct cli *cli = c->cli;
    bool yes = cli_flag(cli, "yes"), dry = cli_flag(cli, "dry-run");
    note_found(c);
    if (dry || !yes || !cli->json) /* of what is done, programs are told once */
        show(c, dry);
    if (dry || (c->counts[FOUND] == 0 && !(yes && cli->json)))
        return EXIT_CODE_OK;
    int r = cli_confirm(cli, "Remove them?");
    if (r < 0)
        return r;
    r = remove_all(c);
    if (cli->json)
        print_json(c, false);
    else
        sum_up(c, "removed", REMOVED);
    return r;
}

int
verb_storage_clean(struct cli *cli)
{
    _cleanup_config_ struct config *config = NULL;
    struct cleaning cleaning = {.cli = cli};
    struct clean_ages ages = {0};
    int r = cli_load_config(cli, &config);
    if (r == 0)
        r = read_ages(cli, config, &ages);
    if (r == 0)
        r = clean_find(config, &ages, clock_wall_us(), &cleaning.list, &cli->err);
    if (r < 0)
        return r;
    r = clean(&cleaning);
    free(cleaning.outcomes);
    clean_list_finish(&cleaning.list);
    return r;
}
