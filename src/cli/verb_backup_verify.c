#include "backup/verify.h"
#include "base/quantity.h"
#include "base/text.h"
#include "cli/backup_job.h"

#include <errno.h>

const struct verb_help verb_backup_verify_help = {
    .text =
        "Looks whether the repository is whole, or a snapshot and all that it needs: every "
        "pack is read, "
        "every block unpacked and compared with its SHA-256, and every snapshot read. What is "
        "damaged is "
        "named, down to the files that cannot be restored as they were. Nothing is changed, "
        "but it is kept in mind which snapshots were whole: the newest of these no pruning "
        "removes. "
        "Exits with 3 "
        "when something is damaged.\n\n"
        "--repair mends packs of which sectors are lost or spoilt, where backup.parity has kept "
        "what that "
        "takes, and makes damaged parts of the index anew, of the packs; what was mended is named, "
        "and counts as whole. Packs that have no parity yet get some.\n\n"
        "--sample reads only a part of the packs, drawn by chance, so that all are read in the "
        "course of "
        "some nights.",
    .examples =
        VERB_EXAMPLES({"sudo citadel backup verify --all", "the whole repository"},
                      {"sudo citadel backup verify phi3", "the newest of a model"},
                      {"sudo citadel backup verify --repair", "and mends what it can"},
                      {"sudo citadel backup verify --sample 5%", "a part of it, in a minute"}),
};

static void
look(const void *engine, uint64_t *ret_done, uint64_t *ret_total)
{
    const struct verify_told *told = verify_told(engine);
    *ret_done = told->bytes;
    *ret_total = told->packs ? told->bytes * told->total_packs / told->packs : 0;
}

static void
stop(void *engine)
{
    verify_stop(engine);
}

static void
on_found(const struct err *problem, void *arg)
{
    const struct cli_backup *b = arg;
    if (!b->cli->json) {
        cli_print(b->cli, "%s\n", problem->what);
        return;
    }
    json_open_map(b->cli->json, NULL);
    json_str(b->cli->json, "id", err_row(problem->id)->name);
    json_str(b->cli->json, "message", problem->what);
    json_close_map(b->cli->json);
}

static void
on_mended(const char *what, void *arg)
{
    const struct cli_backup *b = arg;
    if (b->cli->json) {
        json_open_map(b->cli->json, NULL);
        json_str(b->cli->json, "mended", what);
        json_close_map(b->cli->json);
    } else {
        cli_print(b->cli, "%s\n", what);
    }
}

static void
print(struct cli *cli, const struct verify_told *told, uint64_t us)
{
    quantity_text size, took;
    cli_print(cli, "%llu packs with %llu blocks, %s, and %llu snapshots were looked at, in %s: ",
              (unsigned long long)told->packs, (unsigned long long)told->blocks,
              quantity_show_bytes(told->bytes, size), (unsigned long long)told->snapshots,
              quantity_print_us((us + 99999) / 100000 * 100000, took));
    if (told->problems == 0)
        cli_print(cli, "all are whole\n");
    else
        cli_print(cli, "%llu problems, %llu files cannot be restored\n",
                  (unsigned long long)told->problems, (unsigned long long)told->damaged_files);
}

static void
json_told(struct json_writer *w, const struct verify_told *told, uint64_t us)
{
    json_u64(w, "packs", told->packs);
    json_u64(w, "bytes", told->bytes);
    json_u64(w, "blocks", told->blocks);
    json_u64(w, "snapshots", told->snapshots);
    json_u64(w, "files", told->files);
    json_u64(w, "damaged_files", told->damaged_files);
    json_u64(w, "mended_packs", told->mended);
    json_u64(w, "parity_made", told->prepared);
    json_u64(w, "took_us", us);
}

/* Of a snapshot alone nothing is said of all that there is. */
static void
note(struct job *job, const struct verify_wish *wish, const struct verify_told *told, uint64_t us)
{
    if (told->problems > 0)
        (void)err_set(&job->err, ERR_PACK_DAMAGED,
                      "%llu problems were found, and %llu files cannot be restored",
                      (unsigned long long)told->problems, (unsigned long long)told->damaged_files);
    err_fix(&job->err, "citadel backup verify");
    if (wish->snapshot || told->problems > 0)
        return;
    job->has_verified = true;
    job->verified = told->total_packs ? (double)told->packs / (double)told->total_packs : 1;
    job->bytes = told->bytes;
    job->took_us = us;
}

static int
verify(struct cli_job *job, const uint8_t *snapshot, double percent)
{
    struct cli_backup *b = job->b;
    struct cli *cli = b->cli;
    const struct verify_wish wish = {.repository = b->repository,
                                     .snapshot = snapshot,
                                     .sample_percent = percent,
                                     .threads = MIN(b->threads, (unsigned)VERIFY_THREADS_MAX),
                                     .repair = cli_flag(cli, "repair"),
                                     .parity_percent = cli_backup_parity(b),
                                     .mended = on_mended,
                                     .found = on_found};
    struct verify *v = NULL;
    uint64_t us = 0;
    if (cli->json) {
        json_open_map(cli->json, NULL);
        json_open_list(cli->json, "problems");
    }
    int r = verify_new(b->loop, &wish, cli_backup_ended, b, &v, &cli->err);
    const struct cli_backup_task task = {.what = "verify", .engine = v, .look = look, .stop = stop};
    if (r == 0)
        r = cli_backup_wait(b, &task, &us);
    if (cli->json)
        json_close_list(cli->json);
    if (r == 0 && cli->json)
        json_told(cli->json, verify_told(v), us);
    else if (r == 0)
        print(cli, verify_told(v), us);
    if (cli->json)
        json_close_map(cli->json);
    if (r == 0)
        note(&job->job, &wish, verify_told(v), us);
    if (r == 0 && verify_told(v)->problems > 0)
        r = EXIT_CODE_UNHEALTHY;
    verify_free(v);
    return r;
}

static int
check_words(struct cli *cli, double *ret_percent)
{
    const char *sample = cli_option(cli, "sample");
    *ret_percent = 100;
    if (cli->args_count > 0 && cli_flag(cli, "all"))
        return err_set(&cli->err, ERR_USAGE, "--all and '%s' exclude each other", cli->args[0]);
    int r = sample ? quantity_parse_percent(sample, ret_percent, &cli->err) : 0;
    if (r < 0)
        err_prefix(&cli->err, "--sample");
    return r;
}

static int
verify_named(struct cli_job *job, double percent)
{
    struct cli_backup *b = job->b;
    struct snapshots all;
    uint8_t digest[HASH_SHA256_BYTES];
    if (b->cli->args_count == 0)
        return verify(job, NULL, percent);
    int r = snapshots_read(b->repository, &all, &b->cli->err);
    if (r < 0)
        return r;
    const struct snapshot_row *row = cli_backup_find(b, &all, b->cli->args[0]);
    if (row)
        object_digest(row->name, digest);
    r = row ? verify(job, digest, percent) : -ENOENT;
    snapshots_finish(&all);
    return r;
}

int
verb_backup_verify(struct cli *cli)
{
    _cleanup_cli_backup_ struct cli_backup b = {0};
    struct cli_job job;
    double percent;
    int r = check_words(cli, &percent);
    if (r == 0)
        r = cli_backup_begin(cli, &b);
    if (r < 0)
        return r;
    cli_job_begin(&job, &b, "verify");
    r = cli_backup_find_repository(&b);
    if (r == 0)
        r = cli_backup_unlock(&b);
    if (r == 0)
        r = verify_named(&job, percent);
    return cli_job_end(&job, r);
}
