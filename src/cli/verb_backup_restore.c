#include "backup/image.h"
#include "base/quantity.h"
#include "base/text.h"
#include "cli/backup_run.h"
#include "cli/confirm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const struct verb_help verb_backup_restore_help = {
    .text =
        "Brings back a snapshot, or the newest of a model, as plain files: where they came from, "
        "or in "
        "the directory of --to. Each block is compared with its SHA-256 before it is written. The "
        "directory is made beside its place, under another name, and put there by one rename when "
        "all "
        "of it is on the disk; a restore that was interrupted goes on where it ended.\n\n"
        "What is there already is not touched, unless --replace gives it up, or --in-place writes "
        "only "
        "those files that differ: one by one, each by a rename, and files that the snapshot does "
        "not "
        "have stay. Stop the model before either.\n\n"
        "An image of a device goes --to a file that is not there yet, or with --replace to a "
        "device that nothing uses.\n\n"
        "--path restores one file or directory of the snapshot, with the directories above it. "
        "Owners "
        "are given by name, where this machine knows the name.",
    .examples = VERB_EXAMPLES(
        {"sudo citadel backup restore phi3 --to /mnt/citadel-models/staging/phi3",
         "beside, to look at it"},
        {"sudo citadel backup restore phi3 --in-place", "mend what is damaged or missing"},
        {"sudo citadel backup restore 3f0c9a --path config.json --to /tmp/phi3",
         "one file, of then"}),
};

static void
print_json(struct json_writer *w, const struct snapshot_row *row, const struct restore_wish *wish,
           const struct restore_told *told, bool dry, uint64_t us)
{
    json_open_map(w, NULL);
    cli_backup_json(w, row);
    json_strn(w, "to", wish->to, strlen(wish->to));
    json_bool(w, "dry_run", dry);
    json_u64(w, "restored_files", told->files);
    json_u64(w, "restored_bytes", told->bytes);
    json_u64(w, "same_files", told->same_files);
    json_u64(w, "owners_refused", told->owners);
    json_u64(w, "attributes_refused", told->attributes);
    json_u64(w, "took_us", us);
    json_close_map(w);
}

static void
print(struct cli *cli, const struct restore_wish *wish, const struct restore_told *told,
      uint64_t us)
{
    quantity_text size, took;
    _cleanup_free_ char *to = mem_strdup(wish->to);
    text_disarm(to);
    cli_print(cli, "%s in %llu files are in %s", quantity_show_bytes(told->bytes, size),
              (unsigned long long)told->files, to);
    if (told->same_files)
        cli_print(cli, "; %llu were there already", (unsigned long long)told->same_files);
    cli_print(cli, "; in %s\n", quantity_print_us((us + 99999) / 100000 * 100000, took));
    if (told->owners)
        cli_note(cli, "warning: owners could not be given, since this is not root: %llu",
                 (unsigned long long)told->owners);
    if (told->attributes)
        cli_note(cli, "warning: attributes could not be given, to this user or on this disk: %llu",
                 (unsigned long long)told->attributes);
}

static int
restore(struct cli_backup *b, const struct snapshot_row *row, const struct restore_wish *wish)
{
    struct cli *cli = b->cli;
    struct restore_told told = {0};
    uint64_t us = 0;
    int r = cli_backup_run_restore(b, row->head.name, wish, &told, &us);
    if (r == 0 && cli->json)
        print_json(cli->json, row, wish, &told, false, us);
    else if (r == 0)
        print(cli, wish, &told, us);
    return r;
}

/* ---- an image ---- */

static void
look_image(const void *engine, uint64_t *ret_done, uint64_t *ret_total)
{
    const struct image_told *told = image_told(engine);
    *ret_done = __atomic_load_n(&told->bytes, __ATOMIC_RELAXED);
    *ret_total = told->total_bytes;
}

static void
stop_image(void *engine)
{
    image_stop(engine);
}

static void
tell_image(struct cli *cli, const struct snapshot_row *row, const struct image_wish *wish,
           const struct image_told *told, uint64_t us)
{
    quantity_text size, zeros, took;
    _cleanup_free_ char *to = mem_strdup(wish->to);
    text_disarm(to);
    if (!cli->json) {
        cli_print(cli, "%s are on %s, %s of it zeros, in %s\n",
                  quantity_show_bytes(told->bytes, size), to,
                  quantity_show_bytes(told->zero_bytes, zeros),
                  quantity_print_us((us + 99999) / 100000 * 100000, took));
        return;
    }
    json_open_map(cli->json, NULL);
    cli_backup_json(cli->json, row);
    json_strn(cli->json, "to", wish->to, strlen(wish->to));
    json_bool(cli->json, "dry_run", false);
    json_u64(cli->json, "restored_bytes", told->bytes);
    json_u64(cli->json, "zero_bytes", told->zero_bytes);
    json_u64(cli->json, "took_us", us);
    json_close_map(cli->json);
}

static int
restore_image(struct cli_backup *b, const struct snapshot_row *row, const struct restore_wish *as)
{
    struct cli *cli = b->cli;
    struct image_wish wish = {.repository = b->repository, .to = as->to, .replace = as->replace};
    struct image *engine = NULL;
    uint64_t us = 0;
    memcpy(wish.snapshot, as->snapshot, sizeof(wish.snapshot));
    int r = image_new(b->loop, &wish, cli_backup_ended, b, &engine, &cli->err);
    if (r < 0)
        return r;
    const struct cli_backup_task task = {
        .what = row->head.name, .engine = engine, .look = look_image, .stop = stop_image};
    r = cli_backup_wait(b, &task, &us);
    if (r == 0)
        tell_image(cli, row, &wish, image_told(engine), us);
    image_free(engine);
    return r;
}

static int
check_image(struct cli *cli, const struct restore_wish *wish)
{
    if (!wish->path && !wish->in_place)
        return 0;
    return err_set(&cli->err, ERR_USAGE, "an image is restored as a whole: %s has no use",
                   wish->path ? "--path" : "--in-place");
}

static void
tell_dry(struct cli *cli, const struct snapshot_row *row, const struct restore_wish *wish)
{
    const struct restore_told none = {0};
    quantity_text size;
    _cleanup_free_ char *to = mem_strdup(wish->to);
    text_disarm(to);
    if (cli->json)
        print_json(cli->json, row, wish, &none, true, 0);
    else
        cli_print(cli, "would restore %s%s%s, %s in %llu files, to %s\n",
                  wish->path ? wish->path : row->head.name, wish->path ? " of " : "",
                  wish->path ? row->head.name : "", quantity_show_bytes(row->end.bytes, size),
                  (unsigned long long)row->end.files, to);
}

static int
ask(struct cli *cli, const struct restore_wish *wish)
{
    if (wish->replace)
        return cli_confirm(cli, "Replace %s, and lose what it is now?", wish->to);
    if (wish->in_place)
        return cli_confirm(cli, "Write what differs into %s?", wish->to);
    return 0;
}

int
verb_backup_restore(struct cli *cli)
{
    _cleanup_cli_backup_ struct cli_backup b = {0};
    struct snapshots all;
    int r = cli_flag(cli, "in-place") && cli_flag(cli, "replace")
                ? err_set(&cli->err, ERR_USAGE, "--in-place and --replace exclude each other")
                : cli_backup_open(cli, &b);
    if (r == 0)
        r = snapshots_read(b.repository, &all, &cli->err);
    if (r < 0)
        return r;
    const struct snapshot_row *row = cli_backup_find(&b, &all, cli->args[0]);
    const char *to = cli_option(cli, "to");
    struct restore_wish wish = {.repository = b.repository,
                                .path = cli_option(cli, "path"),
                                .to = to    ? to
                                      : row ? row->head.source
                                            : "",
                                .replace = cli_flag(cli, "replace"),
                                .in_place = cli_flag(cli, "in-place"),
                                .threads = MIN(b.threads, (unsigned)RESTORE_THREADS_MAX)};
    if (!row) {
        r = -ENOENT;
    } else if (!to && !text_eq(row->head.subject, "models")) {
        r = err_set(&cli->err, ERR_USAGE,
                    "%s does not go back by itself to where it came from: say where to",
                    row->head.name);
        err_fix(&cli->err, "citadel backup restore %s --to DIR", cli->args[0]);
    } else if (cli_flag(cli, "dry-run")) {
        tell_dry(cli, row, &wish);
    } else {
        object_digest(row->name, wish.snapshot);
        const bool is_image = text_eq(row->head.subject, "image");
        r = is_image ? check_image(cli, &wish) : 0;
        if (r == 0)
            r = ask(cli, &wish);
        if (r == 0)
            r = (is_image ? restore_image : restore)(&b, row, &wish);
    }
    snapshots_finish(&all);
    return r < 0 ? r : EXIT_CODE_OK;
}
