#include "backup/archive.h"
#include "base/quantity.h"
#include "base/text.h"
#include "cli/backup_run.h"
#include "storage/layout.h"
#include "sys/clock.h"
#include "sys/files.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const struct verb_help verb_backup_archive_help = {
    .text =
        "Writes the snapshots of models that are older than backup.models.archive_after into "
        "archives that stand alone: NAME-DATE-ID.tar.zst, in the directory `archive` of "
        "paths.backup, or in that of --to, with SHA256SUMS and a README. Each is read back from "
        "the disk before it counts; one that is there and whole is not written again.\n\n"
        "No snapshot is deleted: that is for `citadel backup prune`, by the rules of the "
        "configuration. Archives are not encrypted; of an encrypted repository they are only "
        "written with --in-clear.",
    .examples =
        VERB_EXAMPLES({"sudo citadel backup archive --dry-run", "which snapshots are old enough"},
                      {"sudo citadel backup archive", "as the timer does"},
                      {"sudo citadel backup archive --older-than 90d --model phi3 --to /mnt/usb",
                       "to a disk that leaves the house"}),
};

#define DIRECTORY_MODE 0700

struct archiving {
    struct cli_backup b;
    const char *dir;
    int64_t before_ns;
    bool dry;
    struct marks marks;
    unsigned written, there, damaged;
};

/* ---- one ---- */

static void
tell(struct archiving *a, const struct snapshot_row *row, const char *name, const char *word,
     const struct export_told *told)
{
    struct json_writer *w = a->b.cli->json;
    quantity_text size;
    if (w) {
        json_open_map(w, NULL);
        cli_backup_json(w, row);
        json_str(w, "archive", name);
        json_str(w, "state", word);
        json_u64(w, "archive_bytes", told->stored_bytes);
        json_str(w, "sha256", told->sha256);
        json_close_map(w);
    } else if (told->stored_bytes) {
        cli_print(a->b.cli, "%s: %s, %s\n", name, word,
                  quantity_show_bytes(told->stored_bytes, size));
    } else {
        cli_print(a->b.cli, "%s: %s\n", name, word);
    }
}

static int
write_archive(struct archiving *a, const struct snapshot_row *row, const char *name)
{
    struct cli_backup *b = &a->b;
    _cleanup_free_ char *path = mem_printf("%s/%s", a->dir, name);
    struct export_wish wish = {.repository = b->repository,
                               .to = path,
                               .replace = true,
                               .threads = MIN(b->threads, (unsigned)EXPORT_THREADS_MAX)};
    struct export_told told = {0};
    uint64_t us = 0;
    object_digest(row->name, wish.snapshot);
    int r = cli_backup_run_export(b, row->head.name, &wish, &told, &us);
    if (r == 0)
        r = archive_confirm(a->dir, name, told.sha256, &b->cli->err);
    if (r < 0)
        return r;
    a->written++;
    tell(a, row, name, "written, and read back", &told);
    return 0;
}

static int
archive(struct archiving *a, const struct snapshot_row *row)
{
    const struct export_told none = {0};
    char name[ARCHIVE_NAME_MAX];
    archive_name(row, name);
    int r = archive_is_whole(a->dir, name, &a->b.cli->err);
    if (r < 0)
        return r;
    a->there += r == 1;
    a->written += r == 0 && a->dry;
    if (r == 0 && !a->dry)
        return write_archive(a, row, name);
    tell(a, row, name, r == 1 ? "is there, and whole" : "would be written", &none);
    return 0;
}

/* ---- which ---- */

static bool
is_due(const struct archiving *a, const struct snapshot_row *row)
{
    const char *model = cli_option(a->b.cli, "model");
    struct block_id name;
    object_digest(row->name, name.bytes);
    return text_eq(row->head.subject, "models") && row->head.begun_ns < a->before_ns &&
           (!model || text_eq(model, row->head.name)) &&
           !marks_find(&a->marks, MARK_DELETED, &name);
}

static int
archive_all(struct archiving *a)
{
    struct snapshots all;
    int r = marks_read(a->b.repository, &a->marks, &a->b.cli->err);
    if (r == 0)
        r = snapshots_read(a->b.repository, &all, &a->b.cli->err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < all.count && r == 0; i++) {
        a->damaged += all.rows[i].is_damaged;
        if (!all.rows[i].is_damaged && is_due(a, &all.rows[i]))
            r = archive(a, &all.rows[i]);
    }
    snapshots_finish(&all);
    return r;
}

/* ---- all of it ---- */

static int
find_age(struct archiving *a)
{
    struct cli *cli = a->b.cli;
    const uint64_t us =
        cli_duration_us(cli, "older-than", a->b.config->backup.models.archive_after_us);
    if (us == 0 || us == UINT64_MAX) {
        int r = err_set(&cli->err, ERR_USAGE, "backup.models.archive_after is never");
        err_fix(&cli->err, "give an age: citadel backup archive --older-than 365d");
        return r;
    }
    a->before_ns = ((int64_t)clock_wall_us() - (int64_t)MIN(us, (uint64_t)INT64_MAX / 2000)) * 1000;
    return 0;
}

static int
check_clear(struct archiving *a)
{
    struct cli *cli = a->b.cli;
    if (!a->b.repository->is_encrypted || cli_flag(cli, "in-clear"))
        return 0;
    int r = err_set(&cli->err, ERR_REPOSITORY_CLEAR,
                    "the repository %s is encrypted, and archives are not", a->b.repository->where);
    err_fix(&cli->err,
            "citadel backup copy, which encrypts; or, if everybody may read it, --in-clear");
    return r;
}

static int
make_dir(struct archiving *a, bool is_ours)
{
    struct err *err = &a->b.cli->err;
    int r = is_ours ? storage_check_mount(a->b.config, STORAGE_backup, err) : 0;
    return r < 0 || a->dry ? r : file_make_dirs(a->dir, DIRECTORY_MODE, err);
}

static void
print(const struct archiving *a)
{
    struct cli *cli = a->b.cli;
    cli_print(cli, "%u archive%s %s in %s, %u %s there\n", a->written, a->written == 1 ? "" : "s",
              a->dry ? "would be written" : "written", a->dir, a->there,
              a->there == 1 ? "was" : "were");
    if (a->damaged)
        cli_note(cli, "snapshots that cannot be read: %u; see: citadel backup verify --all",
                 a->damaged);
}

static int
run(struct archiving *a)
{
    struct json_writer *w = a->b.cli->json;
    if (w) {
        json_open_map(w, NULL);
        json_open_list(w, "archives");
    }
    int r = archive_all(a);
    if (!w && r == 0)
        print(a);
    if (w) {
        json_close_list(w);
        json_strn(w, "to", a->dir, strlen(a->dir));
        json_bool(w, "dry_run", a->dry);
        json_u64(w, "written", a->written);
        json_u64(w, "there", a->there);
        json_u64(w, "damaged_snapshots", a->damaged);
        json_close_map(w);
    }
    return r < 0 ? r : a->damaged ? EXIT_CODE_UNHEALTHY : EXIT_CODE_OK;
}

int
verb_backup_archive(struct cli *cli)
{
    struct archiving a = {.dry = cli_flag(cli, "dry-run")};
    const char *to = cli_option(cli, "to");
    _cleanup_free_ char *dir = NULL;
    int r = cli_backup_open(cli, &a.b);
    if (r == 0)
        r = find_age(&a);
    if (r == 0)
        r = check_clear(&a);
    if (r == 0) {
        a.dir = dir = to ? mem_strdup(to) : mem_printf("%s/archive", a.b.config->paths.backup);
        r = make_dir(&a, !to);
    }
    if (r == 0)
        r = run(&a);
    marks_finish(&a.marks);
    cli_backup_close(&a.b);
    return r;
}
