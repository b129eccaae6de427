#include "base/quantity.h"
#include "base/text.h"
#include "cli/backup_run.h"
#include "cli/confirm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const struct verb_help verb_backup_export_help = {
    .text =
        "Writes a snapshot, or the newest of a model, into one file that stands alone: a tar "
        "archive within zstd, to be given away or put aside. `tar --zstd -x` unpacks it into a "
        "directory named after the model, beside which SHA256SUMS is for `sha256sum -c`. Owners, "
        "rights, times, links and attributes are in it (the last for `tar --xattrs`); sparse files "
        "are written out.\n\n"
        "Each block is compared with its SHA-256 before it is written. The file has its name when "
        "all of it is on the disk; what is there already is not touched, unless --replace gives it "
        "up. To standard output (--to -) what comes before a damage is written: then the archive "
        "breaks off, and the exit code says so.\n\n"
        "The archive is not encrypted, whatever its repository is.",
    .examples = VERB_EXAMPLES(
        {"sudo citadel backup export phi3 --to /mnt/usb/phi3.tar.zst", "the newest of a model"},
        {"sudo citadel backup export phi3 --to - | ssh nas 'cat > phi3.tar.zst'",
         "over the network"},
        {"sudo citadel backup export 3f0c9a --path config.json", "one file, of then"}),
};

static void
print_json(struct json_writer *w, const struct snapshot_row *row, const struct export_wish *wish,
           const struct export_told *told, uint64_t us)
{
    json_open_map(w, NULL);
    cli_backup_json(w, row);
    json_strn(w, "to", wish->to, strlen(wish->to));
    json_bool(w, "dry_run", wish->dry);
    json_u64(w, "total_files", told->total_files);
    json_u64(w, "total_bytes", told->total_bytes);
    json_u64(w, "exported_files", told->files);
    json_u64(w, "exported_bytes", told->bytes);
    json_u64(w, "archive_bytes", told->stored_bytes);
    json_u64(w, "took_us", us);
    json_close_map(w);
}

/* Where the archive is what is printed, nothing else is. */
static void
print(struct cli *cli, const struct export_wish *wish, const struct export_told *told, uint64_t us)
{
    quantity_text size, stored, took;
    _cleanup_free_ char *to = mem_strdup(wish->to ? wish->to : "standard output");
    text_disarm(to);
    if (wish->dry)
        cli_print(cli, "would export %s in %llu files, to %s\n",
                  quantity_show_bytes(told->total_bytes, size),
                  (unsigned long long)told->total_files, to);
    else if (wish->to)
        cli_print(cli, "%s in %llu files are in %s, which takes %s; in %s\n",
                  quantity_show_bytes(told->bytes, size), (unsigned long long)told->files, to,
                  quantity_show_bytes(told->stored_bytes, stored),
                  quantity_print_us((us + 99999) / 100000 * 100000, took));
}

static int export(struct cli_backup *b, const struct snapshot_row *row,
                  const struct export_wish *wish)
{
    struct cli *cli = b->cli;
    struct export_told told = {0};
    uint64_t us = 0;
    int r = cli_backup_run_export(b, row->head.name, wish, &told, &us);
    if (r == 0 && cli->json)
        print_json(cli->json, row, wish, &told, us);
    else if (r == 0)
        print(cli, wish, &told, us);
    return r;
}

/* Standard output is for one of both, and no terminal has use of an archive. */
static int
check_output(struct cli *cli)
{
    if (!text_eq(cli_option(cli, "to"), "-"))
        return 0;
    if (cli->json)
        return err_set(&cli->err, ERR_USAGE, "--json and --to - exclude each other");
    if (isatty(STDOUT_FILENO) && !cli_flag(cli, "dry-run")) {
        int r = err_set(&cli->err, ERR_USAGE, "--to -: standard output is a terminal");
        err_fix(&cli->err, "give it a file, or a pipe: --to - | COMMAND");
        return r;
    }
    return 0;
}

static char *
place_of(struct cli *cli, const struct snapshot_row *row)
{
    const char *to = cli_option(cli, "to"), *name = row->head.name;
    if (to)
        return text_eq(to, "-") ? NULL : mem_strdup(to);
    return mem_printf("%s-%.*s.tar.zst", text_is_name(name) ? name : "snapshot", CLI_BACKUP_ID,
                      row->name);
}

static int
export_row(struct cli_backup *b, const struct snapshot_row *row)
{
    struct cli *cli = b->cli;
    _cleanup_free_ char *to = place_of(cli, row);
    struct export_wish wish = {.repository = b->repository,
                               .path = cli_option(cli, "path"),
                               .to = to,
                               .fd = STDOUT_FILENO,
                               .replace = cli_flag(cli, "replace"),
                               .dry = cli_flag(cli, "dry-run"),
                               .threads = MIN(b->threads, (unsigned)EXPORT_THREADS_MAX)};
    object_digest(row->name, wish.snapshot);
    int r = wish.replace && wish.to && !wish.dry && access(wish.to, F_OK) == 0
                ? cli_confirm(cli, "Replace %s, and lose what it is now?", wish.to)
                : 0;
    return r < 0 ? r : export(b, row, &wish);
}

int
verb_backup_export(struct cli *cli)
{
    _cleanup_cli_backup_ struct cli_backup b = {0};
    struct snapshots all;
    int r = check_output(cli);
    if (r == 0)
        r = cli_backup_open(cli, &b);
    if (r == 0)
        r = snapshots_read(b.repository, &all, &cli->err);
    if (r < 0)
        return r;
    const struct snapshot_row *row = cli_backup_find(&b, &all, cli->args[0]);
    r = row ? export_row(&b, row) : -ENOENT;
    snapshots_finish(&all);
    return r < 0 ? r : EXIT_CODE_OK;
}
