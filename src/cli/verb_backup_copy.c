#include "backup/copy.h"
#include "base/quantity.h"
#include "base/vec.h"
#include "cli/backup.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const struct verb_help verb_backup_copy_help = {
    .text =
        "Brings snapshots into another repository, that of backup.copy.to or --to: all that it "
        "lacks, or those that are named. What it has is not sent again, and what was sent before a "
        "copy broke off is neither. `citadel backup init --copy` makes it once; which snapshots "
        "stay there, and which are pinned, is its own affair.\n\n"
        "A snapshot is there last, when all that it needs has been seen to have arrived. In a "
        "directory each pack is read back from the disk. On another host that would cost the way "
        "once more: there its length is asked for, since what was sent fitted its SHA-256, and "
        "both SFTP and S3 prove what comes; --verify reads it back all the same.\n\n"
        "Where both repositories have the same keys (init --copy sees to that), or none, packs go "
        "over as they are. Else each block is read, compared with its digest, and sealed anew. "
        "What is encrypted here goes to one that is not only with --in-clear. A snapshot of which "
        "something is damaged here is told, and the others are copied: exit code 3.",
    .examples =
        VERB_EXAMPLES({"sudo citadel backup copy --dry-run", "what it lacks, and how much that is"},
                      {"sudo citadel backup copy", "as the timer does"},
                      {"sudo citadel backup copy phi3 --to /mnt/usb/citadel",
                       "the newest of a model, to a disk that leaves the house"}),
};

struct copying {
    struct cli_backup b;
    struct copy_wish wish;
    VEC(struct block_id) only;
};

static void
look(const void *engine, uint64_t *ret_done, uint64_t *ret_total)
{
    const struct copy_told *told = copy_told(engine);
    *ret_done = told->bytes;
    *ret_total = told->total_bytes;
}

static void
stop(void *engine)
{
    copy_stop(engine);
}

static void
on_copied(const struct snapshot_row *row, const char *name_there, void *arg)
{
    struct copying *k = container_of(arg, struct copying, b);
    struct cli *cli = k->b.cli;
    if (!cli->json) {
        cli_print(cli, "%s %.*s of %s\n", k->wish.dry ? "would copy" : "copied", CLI_BACKUP_ID,
                  row->name, row->head.name);
        return;
    }
    json_open_map(cli->json, NULL);
    cli_backup_json(cli->json, row);
    json_str(cli->json, "snapshot_there", k->wish.dry ? "" : name_there);
    json_close_map(cli->json);
}

static void
on_problem(const struct err *problem, void *arg)
{
    struct copying *k = container_of(arg, struct copying, b);
    struct json_writer *w = k->b.cli->json;
    if (!w) {
        cli_note(k->b.cli, "not copied: %s", problem->what);
        return;
    }
    json_open_map(w, NULL);
    json_str(w, "id", err_row(problem->id)->name);
    json_str(w, "message", problem->what);
    json_close_map(w);
}

static void
print_json(const struct copying *k, const struct copy_told *told, uint64_t us)
{
    struct json_writer *w = k->b.cli->json;
    json_str(w, "to", k->wish.to->where);
    json_bool(w, "dry_run", k->wish.dry);
    json_u64(w, "snapshots_wished", told->snapshots);
    json_u64(w, "snapshots_had", told->had);
    json_u64(w, "snapshots_copied", told->copied);
    json_u64(w, "snapshots_failed", told->failed);
    json_u64(w, "total_bytes", told->total_bytes);
    json_u64(w, "copied_bytes", told->bytes);
    json_u64(w, "whole_packs", told->packs);
    json_u64(w, "single_blocks", told->blocks);
    json_str(w, "seen_to_arrive", told->is_read_back ? "read back" : "by length");
    json_u64(w, "took_us", us);
}

static void
print(const struct copying *k, const struct copy_told *told, uint64_t us)
{
    struct cli *cli = k->b.cli;
    quantity_text size, took;
    const bool dry = k->wish.dry;
    cli_print(cli, "%llu of %llu snapshots %s in %s already; %llu %s",
              (unsigned long long)told->had, (unsigned long long)told->snapshots,
              told->had == 1 ? "is" : "are", k->wish.to->where, (unsigned long long)told->copied,
              dry ? "would be copied" : "copied");
    if (dry)
        cli_print(cli, ", for which up to %s would go\n",
                  quantity_show_bytes(told->total_bytes, size));
    else
        cli_print(cli, ": %s in %s, %s\n", quantity_show_bytes(told->bytes, size),
                  quantity_print_us((us + 99999) / 100000 * 100000, took),
                  told->is_read_back ? "read back and whole" : "seen to have arrived by length");
    if (told->failed)
        cli_note(cli,
                 "not copied, since they are damaged here: %llu; see: citadel backup verify --all",
                 (unsigned long long)told->failed);
}

static int
copy(struct copying *k)
{
    struct cli_backup *b = &k->b;
    struct cli *cli = b->cli;
    struct copy *engine = NULL;
    uint64_t us = 0;
    int r = copy_new(b->loop, &k->wish, cli_backup_ended, b, &engine, &cli->err);
    if (r < 0)
        return r;
    const struct cli_backup_task task = {
        .what = "copy", .engine = engine, .look = look, .stop = stop};
    if (cli->json) {
        json_open_map(cli->json, NULL);
        json_open_list(cli->json, "snapshots");
    }
    r = cli_backup_wait(b, &task, &us);
    const struct copy_told told = *copy_told(engine);
    copy_free(engine);
    if (cli->json)
        json_close_list(cli->json);
    if (cli->json && r == 0)
        print_json(k, &told, us);
    else if (r == 0)
        print(k, &told, us);
    if (cli->json)
        json_close_map(cli->json);
    return r < 0 ? r : told.failed ? EXIT_CODE_UNHEALTHY : EXIT_CODE_OK;
}

/* What was encrypted is not told in clear because an option was left out. */
static int
check_clear(struct copying *k)
{
    const struct repository *from = k->wish.from, *to = k->wish.to;
    struct err *err = &k->b.cli->err;
    if (!from->is_encrypted || to->is_encrypted || cli_flag(k->b.cli, "in-clear"))
        return 0;
    int r = err_set(err, ERR_REPOSITORY_CLEAR, "%s is encrypted, and %s is not", from->where,
                    to->where);
    err_fix(err, "set backup.copy.password, and make another: citadel backup init --copy; or, if "
                 "everybody may read it, --in-clear");
    return r;
}

static int
choose(struct copying *k, const struct snapshots *all)
{
    struct cli *cli = k->b.cli;
    for (size_t i = 0; i < cli->args_count; i++) {
        const struct snapshot_row *row = cli_backup_find(&k->b, all, cli->args[i]);
        if (!row)
            return -ENOENT;
        object_digest(row->name, vec_add(&k->only)->bytes);
    }
    k->wish.only = k->only.items;
    k->wish.only_count = k->only.count;
    return 0;
}

static int
choose_by_name(struct copying *k)
{
    struct snapshots all;
    if (k->b.cli->args_count == 0)
        return 0;
    int r = snapshots_read(k->b.repository, &all, &k->b.cli->err);
    if (r < 0)
        return r;
    r = choose(k, &all);
    snapshots_finish(&all);
    return r;
}

static int
open_both(struct copying *k, struct cli *cli, struct repository **ret_to)
{
    int r = cli_backup_open(cli, &k->b);
    if (r == 0)
        r = cli_backup_open_other(&k->b, cli_option(cli, "to"), ret_to);
    k->wish = (struct copy_wish){.from = k->b.repository,
                                 .to = *ret_to,
                                 .threads = MIN(k->b.threads, (unsigned)COPY_THREADS_MAX),
                                 .verify = cli_flag(cli, "verify"),
                                 .dry = cli_flag(cli, "dry-run"),
                                 .copied = on_copied,
                                 .found = on_problem};
    if (r == 0)
        k->wish.parity_percent = cli_backup_parity(&k->b);
    return r;
}

int
verb_backup_copy(struct cli *cli)
{
    struct copying k = {0};
    struct repository *to = NULL;
    int r = open_both(&k, cli, &to);
    if (r == 0)
        r = check_clear(&k);
    if (r == 0)
        r = choose_by_name(&k);
    if (r == 0)
        r = copy(&k);
    vec_finish(&k.only);
    repository_free(to);
    cli_backup_close(&k.b);
    return r;
}
