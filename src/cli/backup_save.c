#include "cli/backup_save.h"

#include "backup/gather.h"
#include "backup/snapshots.h"
#include "base/quantity.h"
#include "base/text.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- what can be backed up ---- */

#define DAY_US UINT64_C(86400000000)

static unsigned
in_days(uint64_t us)
{
    return (unsigned)MAX((us + DAY_US - 1) / DAY_US, UINT64_C(1));
}

#define SLOTS(c) .daily = (c)->keep_daily, .weekly = (c)->keep_weekly, .monthly = (c)->keep_monthly
#define TIME(c) .days = in_days((c)->keep_us)
#define COUNT(c) .last = (c)->keep
#define SUBJECT(name, share, section, keeping)                                         \
    static double name##_share(const struct config *config)                            \
    {                                                                                  \
        return config->backup.shares.share##_percent;                                  \
    }                                                                                  \
    static struct keep_wish name##_keep(const struct config *config)                   \
    {                                                                                  \
        return (struct keep_wish){keeping(&config->backup.section),                    \
                                  .undelete_s = config->backup.undelete_us / 1000000}; \
    }
#include "cli/backup_subject.def"
#undef SUBJECT

const struct backup_subject backup_subjects[] = {
#define SUBJECT(name, share, section, keeping) {#name, #share, #section, name##_share, name##_keep},
#include "cli/backup_subject.def"
#undef SUBJECT
    {0},
};

const struct backup_subject *
backup_subject_find(const char *name)
{
    for (const struct backup_subject *s = backup_subjects; s->name; s++)
        if (text_eq(s->name, name))
            return s;
    return NULL;
}

/* ---- the job ---- */

int
cli_save_begin(struct cli *cli, const char *subject, struct cli_save *ret)
{
    *ret = (struct cli_save){
        .subject = backup_subject_find(subject), .type = "", .dry = cli_flag(cli, "dry-run")};
    assert(ret->subject);
    int r = cli_backup_begin(cli, &ret->b);
    ret->has_config = r == 0;
    if (r < 0)
        return r;
    cli_job_begin(&ret->job, &ret->b, subject);
    if (gethostname(ret->host, sizeof(ret->host) - 1) < 0)
        r = err_set_errno(&cli->err, errno, "cannot tell this host's name");
    return r;
}

static void
note_numbers(struct cli_save *k)
{
    struct job *job = &k->job.job;
    memcpy(job->snapshot, k->snapshot, sizeof(k->snapshot));
    job->files = k->sum.total_files;
    job->bytes = k->sum.total_bytes;
    job->new_bytes = k->sum.new_bytes;
    job->stored_bytes = k->sum.stored_bytes;
    job->took_us = k->took_us;
}

int
cli_save_end(struct cli_save *k, int r)
{
    struct cli *cli = k->b.cli;
    if (k->snapshot[0])
        cli_backup_write_metadata(&k->b);
    if (k->has_json) {
        json_close_list(cli->json);
        json_close_map(cli->json);
    }
    if (r == 0 && k->snapshot[0])
        note_numbers(k);
    if (k->has_config && !k->dry)
        r = cli_job_end(&k->job, r);
    cli_backup_close(&k->b);
    return r < 0 ? r : EXIT_CODE_OK;
}

/* ---- the repository ---- */

int
cli_save_find(struct cli_save *k)
{
    struct cli *cli = k->b.cli;
    int r = cli_backup_find_repository(&k->b);
    if (r < 0 || !cli->json)
        return r;
    json_open_map(cli->json, NULL);
    json_str(cli->json, "repository", k->b.repository->where);
    json_bool(cli->json, "dry_run", k->dry);
    json_open_list(cli->json, k->subject->name);
    k->has_json = true;
    return 0;
}

static int
refuse_share(struct cli_save *k, uint64_t used, uint64_t may, uint64_t all)
{
    struct cli *cli = k->b.cli;
    const struct backup_subject *s = k->subject;
    quantity_text is, most, of;
    int r = err_set(&cli->err, ERR_STORAGE_FULL,
                    "snapshots of this share take %s: backup.shares.%s leaves them %g%% of %s, "
                    "that is %s",
                    quantity_show_bytes(used, is), s->share, s->share_percent(k->b.config),
                    quantity_show_bytes(all, of), quantity_show_bytes(may, most));
    err_fix(&cli->err, "citadel backup prune; or raise backup.shares.%s, or keep less: backup.%s",
            s->share, s->section);
    return r;
}

/* Of what the repository takes, and what is free beside it. What a snapshot has added is its own, as long as
 * it is there: so much of the share is used. Who only adds cannot see that. */
static int
check_share(struct cli_save *k)
{
    struct snapshots all;
    uint64_t room, used = 0, ours = 0;
    if (repository_need_reading(k->b.repository, NULL) < 0)
        return 0;
    int r = repository_find_room(k->b.repository, &room, &k->b.cli->err);
    if (r < 0 || room == UINT64_MAX)
        return r;
    r = snapshots_read(k->b.repository, &all, &k->b.cli->err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < all.count; i++) {
        const struct snapshot_row *row = &all.rows[i];
        const struct backup_subject *s =
            row->is_damaged ? NULL : backup_subject_find(row->head.subject);
        const uint64_t bytes = row->is_damaged ? 0 : row->end.stored_bytes;
        used += bytes;
        ours += s && text_eq(s->share, k->subject->share) ? bytes : 0;
    }
    snapshots_finish(&all);
    const double percent = k->subject->share_percent(k->b.config);
    const uint64_t may = (uint64_t)((double)(used + room) / 100 * percent);
    return percent < 100 && ours >= may ? refuse_share(k, ours, may, used + room) : 0;
}

int
cli_save_open(struct cli_save *k)
{
    int r = k->b.repository ? 0 : cli_save_find(k);
    if (r == 0)
        r = cli_backup_unlock(&k->b);
    return r < 0 ? r : check_share(k);
}

/* ---- one snapshot ---- */

static void
look(const void *engine, uint64_t *ret_done, uint64_t *ret_total)
{
    const struct save_told *told = save_told(engine);
    *ret_done = told->bytes;
    *ret_total = told->total_bytes;
}

static void
stop(void *engine)
{
    save_stop(engine);
}

static enum codec_effort
effort_of(const struct config *config)
{
    switch (config->backup.compression) {
    case CONFIG_COMPRESSION_NONE:
        return CODEC_AS_IT_IS;
    case CONFIG_COMPRESSION_FAST:
        return CODEC_FAST;
    case CONFIG_COMPRESSION_AUTO:
    default:
        return CODEC_SMALLEST;
    }
}

static void
warn(struct cli *cli, const char *name, const struct save_told *told)
{
    if (told->changed)
        cli_note(cli,
                 "warning: %s: %llu files changed while they were read, '%s' first: they may never "
                 "have been as they are in the snapshot; run it again",
                 name, (unsigned long long)told->changed, told->first_changed);
    if (told->astray)
        cli_note(cli,
                 "warning: %s: %llu links lead out of its directory, '%s' first: what they lead to "
                 "is not part of the snapshot",
                 name, (unsigned long long)told->astray, told->first_astray);
    if (told->mounts)
        cli_note(cli, "warning: %s: file systems that are mounted inside are left out: %llu", name,
                 (unsigned long long)told->mounts);
    if (told->sockets)
        cli_note(cli, "warning: %s: sockets are left out: %llu", name,
                 (unsigned long long)told->sockets);
}

static void
print(struct cli *cli, const char *name, const struct save_told *told, uint64_t us, bool dry)
{
    quantity_text all, fresh, stored, took;
    cli_print(cli, "%s: %s in %llu files, ", name, quantity_show_bytes(told->total_bytes, all),
              (unsigned long long)told->total_files);
    if (dry)
        cli_print(cli, "%s would be read\n", quantity_show_bytes(told->new_bytes, fresh));
    else if (told->new_blocks == 0)
        cli_print(cli, "nothing new");
    else
        cli_print(cli, "%s new, stored in %s", quantity_show_bytes(told->new_bytes, fresh),
                  quantity_show_bytes(told->stored_bytes, stored));
    if (!dry)
        cli_print(cli, ": snapshot %.*s, in %s\n", CLI_BACKUP_ID, told->snapshot,
                  quantity_print_us((us + 99999) / 100000 * 100000, took));
}

static void
print_json(struct json_writer *w, const struct cli_save_wish *what, const struct save_told *told,
           uint64_t us)
{
    json_open_map(w, NULL);
    json_str(w, "name", what->name);
    json_str(w, "source", what->source);
    json_str(w, "snapshot", told->snapshot[0] ? told->snapshot : NULL);
    json_u64(w, "files", told->total_files);
    json_u64(w, "bytes", told->total_bytes);
    json_u64(w, "unchanged_files", told->unchanged_files);
    json_u64(w, "unchanged_bytes", told->unchanged_bytes);
    json_u64(w, "new_bytes", told->new_bytes);
    json_u64(w, "stored_bytes", told->stored_bytes);
    json_u64(w, "changed_files", told->changed);
    json_u64(w, "links_astray", told->astray);
    json_u64(w, "left_out", told->mounts + told->sockets);
    json_u64(w, "took_us", us);
    if (what->more)
        what->more(w, what->arg);
    json_close_map(w);
}

static void
add_up(struct cli_save *k, const struct save_told *told, uint64_t us)
{
    k->sum.total_files += told->total_files;
    k->sum.total_bytes += told->total_bytes;
    k->sum.new_bytes += told->new_bytes;
    k->sum.stored_bytes += told->stored_bytes;
    k->took_us += us;
    if (told->snapshot[0])
        memcpy(k->snapshot, told->snapshot, sizeof(k->snapshot));
}

int
cli_save_run(struct cli_save *k, const struct cli_save_wish *what)
{
    struct cli_backup *b = &k->b;
    const struct save_wish wish = {.repository = b->repository,
                                   .source = what->source,
                                   .is_image = what->is_image,
                                   .in_use = what->in_use,
                                   .host = k->host,
                                   .subject = k->subject->name,
                                   .name = what->name,
                                   .type = k->type,
                                   .effort = effort_of(b->config),
                                   .delta = b->config->backup.delta,
                                   .parity_percent = cli_backup_parity(b),
                                   .threads = MIN(b->threads, (unsigned)SAVE_THREADS_MAX),
                                   .dry = k->dry};
    struct save *s = NULL;
    uint64_t us = 0;
    int r = save_new(b->loop, &wish, cli_backup_ended, b, &s, &b->cli->err);
    if (r < 0)
        return r;
    const struct cli_backup_task task = {
        .what = what->name, .engine = s, .look = look, .stop = stop};
    r = cli_backup_wait(b, &task, &us);
    if (r == 0) {
        add_up(k, save_told(s), us);
        warn(b->cli, what->name, save_told(s));
        if (b->cli->json)
            print_json(b->cli->json, what, save_told(s), us);
        else
            print(b->cli, what->name, save_told(s), us, k->dry);
    }
    save_free(s);
    return r;
}

/* ---- what is gathered ---- */

char *
cli_save_place(const struct cli_save *k)
{
    return mem_printf("%s/jobs/%s.gathered", k->b.config->paths.state, k->subject->name);
}

const char *
cli_save_refuses_secrets(const struct cli_save *k)
{
    return k->b.repository->is_encrypted ? NULL : "the repository is not encrypted";
}

void
cli_save_tell_left_out(struct cli_save *k, const struct gather *g)
{
    vec_foreach (&g->left_out, path)
        cli_note(k->b.cli, "%s: left out, since %s", *path, g->secrets_because);
}

void
cli_save_json_left_out(struct json_writer *w, void *gather)
{
    const struct gather *g = gather;
    json_open_list(w, "secrets_left_out");
    vec_foreach (&g->left_out, path)
        json_strn(w, NULL, *path, strlen(*path));
    json_close_list(w);
}
