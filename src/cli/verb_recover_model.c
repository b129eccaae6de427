#include "backup/pace.h"
#include "base/quantity.h"
#include "base/text.h"
#include "cli/backup_run.h"
#include "cli/confirm.h"
#include "cli/services.h"
#include "sys/clock.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

const struct verb_help verb_recover_model_help = {
    .text =
        "Brings a model back, from its newest good backup to its first answer: finds the newest "
        "snapshot that no verification has found damaged, looks whether there is room, stops the "
        "model, restores beside its place and proves every block, swaps the directories by one "
        "rename, starts the model and waits until it answers. Where a snapshot turns out to be "
        "damaged, the one before it is taken, and that is told.\n\n"
        "How long it will take is told before, as measured for a second, beside the objective of "
        "four hours; and afterwards what 500 GB would have taken. What was in the model's "
        "directory "
        "is gone when the model is back, and is what it was if anything fails before the swap: "
        "then it is started again. Where nobody supervises services, nothing is stopped or "
        "started.",
    .examples =
        VERB_EXAMPLES({"sudo citadel recover model phi3 --dry-run", "the steps, and how long"},
                      {"sudo citadel recover model phi3", "all of them"}),
};

#define OBJECTIVE_US (UINT64_C(4) * 3600 * 1000000)
#define OBJECTIVE_BYTES UINT64_C(500000000000)
#define MEASURED_US UINT64_C(1000000)

struct recovering {
    struct cli_backup b;
    const struct config_model *model;
    char *to; /* where its files are */
    struct snapshots all;
    bool has_snapshots;
    struct marks marks;
    VEC(const struct snapshot_row *) rows; /* that may be taken, from the newest on */
    uint64_t pace;                         /* bytes a second, by one thread; 0: nothing was read */
    struct restore_told told;
    uint64_t restore_us, began_us;
    bool supervised;
};

/* ---- telling ---- */

static void step(struct recovering *k, const char *word, const char *fmt, ...) printf_like(3, 4);

static void
step(struct recovering *k, const char *word, const char *fmt, ...)
{
    struct json_writer *w = k->b.cli->json;
    char text[1024];
    quantity_text at;
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    const uint64_t us = clock_now_us() - k->began_us;
    if (w) {
        json_open_map(w, NULL);
        json_str(w, "step", word);
        json_strn(w, "text", text, strlen(text));
        json_u64(w, "at_us", us);
        json_close_map(w);
        return;
    }
    text_disarm(text);
    cli_print(k->b.cli, "%-8s %6s  %s\n", word, quantity_print_us(us / 100000 * 100000, at), text);
    (void)!cli_flush(k->b.cli);
}

static uint64_t
time_for(uint64_t bytes, uint64_t a_second)
{
    return a_second ? (uint64_t)((double)bytes / (double)a_second * 1e6) : 0;
}

static uint64_t
whole_seconds(uint64_t us)
{
    return (us + 999999) / 1000000 * 1000000;
}

/* ---- what there is ---- */

static int
find_model(struct recovering *k)
{
    struct cli *cli = k->b.cli;
    const char *name = cli->args[0];
    k->model = config_find_model(k->b.config, name);
    if (k->model && k->model->path) {
        char *real = realpath(k->model->path, NULL);
        k->to = real ? real : mem_strdup(k->model->path);
        return 0;
    }
    int r = err_set(
        &cli->err, ERR_NO_MODEL,
        k->model ? "the model '%s' has no files" : "the configuration has no model '%s'", name);
    err_fix_nearest(&cli->err, name, config_model_name, k->b.config, "citadel models");
    return r;
}

/* Another name of the same directory may be what it was backed up as. */
static bool
is_of_model(const struct recovering *k, const struct snapshot_row *row)
{
    const struct config_model *m = config_find_model(k->b.config, row->head.name);
    return text_eq(row->head.subject, "models") &&
           (text_eq(row->head.name, k->model->name) ||
            (m && m->path && text_eq(m->path, k->model->path)));
}

static bool
may_be_taken(const struct recovering *k, const struct snapshot_row *row)
{
    struct block_id name;
    if (row->is_damaged || !is_of_model(k, row))
        return false;
    object_digest(row->name, name.bytes);
    const struct mark *good = marks_find(&k->marks, MARK_GOOD, &name),
                      *bad = marks_find(&k->marks, MARK_DAMAGED, &name);
    return !marks_find(&k->marks, MARK_DELETED, &name) &&
           (!bad || (good && good->at_ns > bad->at_ns));
}

static int
find_snapshots(struct recovering *k)
{
    struct cli *cli = k->b.cli;
    int r = marks_read(k->b.repository, &k->marks, &cli->err);
    if (r == 0)
        r = snapshots_read(k->b.repository, &k->all, &cli->err);
    k->has_snapshots = r == 0;
    for (size_t i = k->has_snapshots ? k->all.count : 0; i > 0; i--)
        if (may_be_taken(k, &k->all.rows[i - 1]))
            vec_push(&k->rows, &k->all.rows[i - 1]);
    if (r < 0 || k->rows.count > 0)
        return r;
    r = err_set(&cli->err, ERR_SNAPSHOT_NONE, "no good backup of %s is in %s", k->model->name,
                k->b.repository->where);
    err_fix(&cli->err, "citadel backup list; set backup.repository to a copy; or citadel backup "
                       "undelete");
    return r;
}

static int
measure(struct recovering *k)
{
    struct reading_wish wish = {.repository = k->b.repository, .what = "recover"};
    object_digest(k->rows.items[0]->name, wish.snapshot);
    struct err err;
    int r = pace_measure(k->b.loop, &wish, MEASURED_US, &k->pace, &err);
    if (r == -EBADMSG) /* the one before it may be whole */
        return 0;
    k->b.cli->err = r < 0 ? err : k->b.cli->err;
    return r;
}

static int
need_room(struct recovering *k)
{
    quantity_text wanted, there;
    struct statvfs vfs;
    _cleanup_free_ char *above = mem_strdup(k->to);
    char *slash = strrchr(above, '/');
    if (slash)
        slash[slash == above] = '\0';
    const uint64_t bytes = k->rows.items[0]->end.bytes;
    if (statvfs(above, &vfs) < 0)
        return err_set_errno(&k->b.cli->err, errno, "cannot look at '%s'", above);
    const uint64_t left = (uint64_t)vfs.f_bavail * vfs.f_frsize;
    if (left >= bytes)
        return 0;
    int r =
        err_set_errno(&k->b.cli->err, ENOSPC, "%s takes %s beside what is in %s, and there are %s",
                      k->model->name, quantity_show_bytes(bytes, wanted), above,
                      quantity_show_bytes(left, there));
    err_fix(&k->b.cli->err,
            "citadel storage clean; or sudo citadel backup restore %s --in-place, with "
            "the model stopped",
            k->model->name);
    return r;
}

static void
tell_plan(struct recovering *k)
{
    const struct snapshot_row *row = k->rows.items[0];
    quantity_text size, pace, takes, objective;
    char when[CLOCK_LOCAL_MAX];
    const uint64_t us = time_for(row->end.bytes, k->pace);
    step(k, "find", "%.*s of %s, %s in %llu files, for %s", CLI_BACKUP_ID, row->name,
         clock_print_local((uint64_t)MAX(row->head.begun_ns / 1000, INT64_C(0)), when),
         quantity_show_bytes(row->end.bytes, size), (unsigned long long)row->end.files, k->to);
    if (k->pace)
        step(k, "measure", "one thread reads and proves %s/s: %s at most; the objective is %s",
             quantity_show_bytes(k->pace, pace), quantity_print_us(whole_seconds(us), takes),
             quantity_print_us(OBJECTIVE_US, objective));
    if (us > OBJECTIVE_US)
        cli_note(k->b.cli, "warning: this is more than the objective of four hours");
}

/* ---- doing it ---- */

/* The configuration is the one that was read. */
static int
change(struct recovering *k, const char *verb, enum service_state goal)
{
    struct cli_running running = {.file = k->b.config};
    struct cli *cli = k->b.cli;
    int r = cli_read_running(cli, &running);
    if (r == 0)
        r = cli_change_running(cli, &running, verb, goal);
    running.file = NULL;
    cli_running_finish(&running);
    return r;
}

/* Nobody may supervise anything, or not this one: then its files are all that there is. */
static int
stop_model(struct recovering *k)
{
    struct cli *cli = k->b.cli;
    int r = change(k, "stop", SERVICE_STOPPED);
    k->supervised = r >= 0;
    if (r >= 0) {
        step(k, "stop", "%s is stopped", k->model->name);
        return 0;
    }
    if (cli->err.id != ERR_SERVICE_DOWN && cli->err.id != ERR_SERVICE_NONE)
        return r;
    step(k, "stop", "nothing runs %s here: %s", k->model->name, cli->err.what);
    cli->err = (struct err){0};
    return 0;
}

static int
restore(struct recovering *k, const struct snapshot_row *row)
{
    struct restore_wish wish = {.repository = k->b.repository,
                                .to = k->to,
                                .replace = true,
                                .threads = MIN(k->b.threads, (unsigned)RESTORE_THREADS_MAX)};
    quantity_text size;
    object_digest(row->name, wish.snapshot);
    int r = cli_backup_run_restore(&k->b, row->head.name, &wish, &k->told, &k->restore_us);
    if (r == 0)
        step(k, "restore", "%s in %llu files are back, proved, and in place",
             quantity_show_bytes(k->told.bytes, size), (unsigned long long)k->told.files);
    return r;
}

static int
restore_newest(struct recovering *k)
{
    struct cli *cli = k->b.cli;
    for (size_t i = 0;; i++) {
        int r = restore(k, k->rows.items[i]);
        if (r != -EBADMSG || i + 1 == k->rows.count)
            return r;
        step(k, "damaged", "%.*s cannot be had, %.*s is taken: %s", CLI_BACKUP_ID,
             k->rows.items[i]->name, CLI_BACKUP_ID, k->rows.items[i + 1]->name, cli->err.what);
        cli->err = (struct err){0};
    }
}

static int
start_model(struct recovering *k)
{
    if (!k->supervised)
        return EXIT_CODE_OK;
    int r = change(k, "start", SERVICE_READY);
    if (r == EXIT_CODE_OK)
        step(k, "start", cli_flag(k->b.cli, "no-wait") ? "%s is being started" : "%s answers",
             k->model->name);
    return r;
}

static void
tell_end(struct recovering *k)
{
    quantity_text takes, objective;
    const uint64_t written = k->told.bytes - MIN(k->told.bytes, k->told.same_bytes);
    const uint64_t a_second =
        (uint64_t)((double)written * 1e6 / (double)MAX(k->restore_us, UINT64_C(1)));
    if (a_second == 0)
        return;
    step(k, "end", "at this speed 500 GB take %s; the objective is %s",
         quantity_print_us(whole_seconds(time_for(OBJECTIVE_BYTES, a_second)), takes),
         quantity_print_us(OBJECTIVE_US, objective));
}

static int
do_it(struct recovering *k)
{
    struct cli *cli = k->b.cli;
    int r = stop_model(k);
    if (r < 0)
        return r;
    r = restore_newest(k);
    const struct err err = cli->err;
    if (r < 0) {
        (void)!start_model(k); /* with what was there, if it still is */
        cli->err = err;
        return r;
    }
    r = start_model(k);
    if (r == EXIT_CODE_OK)
        tell_end(k);
    return r;
}

static int
recover(struct recovering *k)
{
    struct cli *cli = k->b.cli;
    tell_plan(k);
    int r = need_room(k);
    if (r < 0)
        return r;
    if (cli_flag(cli, "dry-run")) {
        step(k, "then", "stop %s, restore beside %s, swap, start, wait until it answers",
             k->model->name, k->to);
        return EXIT_CODE_OK;
    }
    r = cli_confirm(cli, "Stop %s, and replace what is in %s?", k->model->name, k->to);
    return r < 0 ? r : do_it(k);
}

/* ---- all of it ---- */

static int
look(struct recovering *k)
{
    int r = find_model(k);
    if (r == 0)
        r = find_snapshots(k);
    return r < 0 ? r : measure(k);
}

static int
tell(struct recovering *k)
{
    struct json_writer *w = k->b.cli->json;
    if (w) {
        json_open_map(w, NULL);
        json_str(w, "model", k->model->name);
        json_strn(w, "to", k->to, strlen(k->to));
        json_u64(w, "bytes", k->rows.items[0]->end.bytes);
        json_u64(w, "estimate_us", time_for(k->rows.items[0]->end.bytes, k->pace));
        json_u64(w, "objective_us", OBJECTIVE_US);
        json_open_list(w, "steps");
    }
    int r = recover(k);
    if (w) {
        json_close_list(w);
        json_u64(w, "restored_bytes", k->told.bytes);
        json_u64(w, "restore_us", k->restore_us);
        json_close_map(w);
    }
    return r;
}

int
verb_recover_model(struct cli *cli)
{
    struct recovering k = {.began_us = clock_now_us()};
    int r = cli_backup_open(cli, &k.b);
    if (r == 0)
        r = look(&k);
    if (r == 0)
        r = tell(&k);
    vec_finish(&k.rows);
    marks_finish(&k.marks);
    if (k.has_snapshots)
        snapshots_finish(&k.all);
    free(k.to);
    cli_backup_close(&k.b);
    return r;
}
