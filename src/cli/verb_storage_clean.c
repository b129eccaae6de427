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
        "What will go is shown, then it asks. With --force it does not; without a terminal to ask "
        "at it only shows. A file that some process has open stays: run it as root, who sees those "
        "of all. Caches on a disk that is mounted with noatime are left alone, since nobody knows "
        "whether they are used.",
    .examples =
        VERB_EXAMPLES({"citadel storage clean", "show, ask, and do it"},
                      {"citadel storage clean --dry-run --older-than 30d", "what that would be"},
                      {"citadel storage clean --force", "in a script"}),
};

struct tally {
    size_t count, open, changed;
    uint64_t bytes;
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
print_item(struct cli *cli, const struct clean_list *list, const struct clean_item *item)
{
    quantity_text size, age;
    if (cli->json) {
        json_open_map(cli->json, NULL);
        json_str(cli->json, "kind", clean_kind_word(item->kind));
        json_str(cli->json, "directory", list->paths[item->kind]);
        json_strn(cli->json, "name", item->name, strlen(item->name));
        json_u64(cli->json, "bytes", item->bytes);
        json_u64(cli->json, "age_us", item->age_us);
        json_bool(cli->json, "is_open", item->is_open);
        json_close_map(cli->json);
        return;
    }
    _cleanup_free_ char *name = mem_strdup(item->name);
    text_disarm(name);
    cli_print(cli, "%-9s  %9s  %6s old  %s/%s%s\n", clean_kind_word(item->kind),
              quantity_show_bytes(item->bytes, size),
              quantity_print_us(item->age_us / HOUR_US * HOUR_US, age), list->paths[item->kind],
              name, item->is_open ? " (open: it stays)" : "");
}

static struct tally
show(struct cli *cli, const struct clean_list *list)
{
    struct tally t = {0};
    for (size_t i = 0; i < list->count; i++) {
        print_item(cli, list, &list->items[i]);
        t.open += list->items[i].is_open;
        t.count += !list->items[i].is_open;
        t.bytes += list->items[i].is_open ? 0 : list->items[i].bytes;
    }
    return t;
}

/* One that cannot be removed is told, and the others go. */
static int
remove_all(struct cli *cli, struct clean_list *list, struct tally *ret_tally)
{
    int first = 0;
    clean_mark_open(list);
    for (size_t i = 0; i < list->count; i++) {
        const struct clean_item *item = &list->items[i];
        int r = clean_remove(list, item);
        ret_tally->count += r == 0;
        ret_tally->bytes += r == 0 ? item->bytes : 0;
        ret_tally->open += r == -EBUSY;
        ret_tally->changed += r == -ESTALE || r == -ENOENT;
        if (r == 0 || r == -EBUSY || r == -ESTALE || r == -ENOENT || first < 0)
            continue;
        first = err_set_errno(&cli->err, -r, "cannot remove '%s/%s'", list->paths[item->kind],
                              item->name);
        err_fix(&cli->err, "run it as root");
    }
    return first;
}

static void
sum_up(struct cli *cli, const char *word, const struct tally *t, const struct clean_list *list)
{
    quantity_text text;
    if (cli->json)
        return;
    cli_print(cli, "%s %zu file%s, %s", word, t->count, t->count == 1 ? "" : "s",
              quantity_show_bytes(t->bytes, text));
    if (t->open)
        cli_print(cli, "; %zu are open and stay", t->open);
    if (t->changed)
        cli_print(cli, "; %zu have changed meanwhile and stay", t->changed);
    cli_print(cli, "%s\n", list->more ? "; there are more: run it again" : "");
    if (list->is_blind)
        cli_print(cli, "caches are left: %s is on a disk that is mounted with noatime\n",
                  list->paths[CLEAN_CACHE]);
}

static int
clean(struct cli *cli, struct clean_list *list)
{
    bool force = cli_flag(cli, "force"), dry = cli_flag(cli, "dry-run");
    struct tally removed = {0};
    if (cli->json)
        json_open_list(cli->json, NULL);
    struct tally found = show(cli, list);
    if (cli->json)
        json_close_list(cli->json);
    dry = dry || (!force && !cli_is_attended());
    if (dry || found.count == 0) {
        sum_up(cli, "would remove", &found, list);
        if (found.count && !cli_flag(cli, "dry-run"))
            cli_note(cli, "nothing was removed: there is no terminal to ask at; --force removes");
        return EXIT_CODE_OK;
    }
    sum_up(cli, "will remove", &found, list);
    int r = cli_confirm(cli, "force", "Remove them?");
    if (r < 0)
        return r;
    r = remove_all(cli, list, &removed);
    sum_up(cli, "removed", &removed, list);
    return r;
}

int
verb_storage_clean(struct cli *cli)
{
    _cleanup_config_ struct config *config = NULL;
    struct clean_list list = {0};
    struct clean_ages ages = {0};
    int r = cli_load_config(cli, &config);
    if (r == 0)
        r = read_ages(cli, config, &ages);
    if (r == 0)
        r = clean_find(config, &ages, clock_wall_us(), &list, &cli->err);
    if (r < 0)
        return r;
    r = clean(cli, &list);
    clean_list_finish(&list);
    return r;
}
