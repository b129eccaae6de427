#include "cli/backup.h"

#include "base/mem.h"
#include "base/quantity.h"
#include "base/text.h"
#include "cli/load_config.h"
#include "plan/need.h"
#include "secrets/use.h"
#include "sys/clock.h"
#include "sys/work.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BEAT_US UINT64_C(2000000)

/* ---- the repository ---- */

/* One that lies on the disk of paths.backup is only there when that is mounted. */
static const char *
mount_of(const struct config *config, const char *where)
{
    const char *disk = config->paths.backup;
    size_t len = strlen(disk);
    bool below = strncmp(where, disk, len) == 0 && (where[len] == '/' || where[len] == '\0');
    return below && config->storage.require_mounts ? disk : NULL;
}

/* Where a repository is, and what its options say. */
struct place {
    const char *options; /* "backup" */
    const char *where;
    const struct config_secret *password, *credentials;
    const char *ca, *ssh_key, *ssh_known_hosts;
};

static struct place
main_place(const struct config *config)
{
    const struct config_backup *o = &config->backup;
    return (struct place){.options = "backup",
                          .where = o->repository,
                          .password = &o->password,
                          .credentials = &o->credentials,
                          .ca = o->ca,
                          .ssh_key = o->ssh_key,
                          .ssh_known_hosts = o->ssh_known_hosts};
}

static struct place
copy_place(const struct config *config, const char *to)
{
    const struct config_backup_copy *o = &config->backup.copy;
    return (struct place){.options = "backup.copy",
                          .where = to ? to : o->to,
                          .password = &o->password,
                          .credentials = &o->credentials,
                          .ca = o->ca,
                          .ssh_key = o->ssh_key,
                          .ssh_known_hosts = o->ssh_known_hosts};
}

static int
fetch_secret(struct cli_backup *b, const struct place *place, const char *option,
             const struct config_secret *from, struct secret *ret)
{
    int r = secret_fetch_of(b->config, from, ret, &b->cli->err);
    if (r < 0)
        err_prefix(&b->cli->err, "%s.%s", place->options, option);
    return r;
}

static int
open_at(struct cli_backup *b, const struct place *place, const struct repository_wish *wish,
        struct repository **ret)
{
    struct repository_wish there = *wish;
    _cleanup_secret_ struct secret credentials = {0};
    _cleanup_free_ char *copies = mem_printf("%s/repositories", b->config->paths.state);
    int r = fetch_secret(b, place, "credentials", place->credentials, &credentials);
    if (r < 0)
        return r;
    there.where = place->where;
    there.mount = mount_of(b->config, place->where);
    there.access = (struct repository_access){.copies = copies,
                                              .ssh_key = place->ssh_key,
                                              .ssh_known_hosts = place->ssh_known_hosts,
                                              .ca = place->ca,
                                              .s3_key = &credentials};
    return repository_open(&there, ret, &b->cli->err);
}

static int
open_repository(struct cli_backup *b, const struct repository_wish *wish)
{
    const struct place place = main_place(b->config);
    int r = open_at(b, &place, wish, &b->repository);
    return r < 0 ? r : loop_new(&b->loop, &b->cli->err);
}

int
cli_backup_password(struct cli_backup *b, struct secret *ret)
{
    const struct place place = main_place(b->config);
    return fetch_secret(b, &place, "password", place.password, ret);
}

/* With a passphrase nothing is ever written in clear: whoever can write to the store could else
 * put a repository of his own there. */
static int
unlock_at(struct cli_backup *b, const struct place *place, struct repository *repository)
{
    _cleanup_secret_ struct secret password = {0};
    int r = fetch_secret(b, place, "password", place->password, &password);
    if (r < 0 || repository->is_encrypted == secret_is_set(&password))
        return r < 0 || !repository->is_encrypted
                   ? r
                   : repository_unlock(repository, &password, &b->cli->err);
    if (repository->is_encrypted) {
        r = err_set(&b->cli->err, ERR_SEAL_NO_KEY,
                    "the repository %s is encrypted, and %s.password is not set", repository->where,
                    place->options);
        err_fix(&b->cli->err,
                "citadel secrets set backup; then set %s.password to {credential: backup}",
                place->options);
    } else {
        r = err_set(&b->cli->err, ERR_REPOSITORY_CLEAR,
                    "%s.password is set, and the repository %s is not encrypted", place->options,
                    repository->where);
        err_fix(&b->cli->err,
                "make another for it: in another place, by citadel backup init; or take "
                "%s.password out",
                place->options);
    }
    return r;
}

int
cli_backup_unlock(struct cli_backup *b)
{
    const struct place place = main_place(b->config);
    return unlock_at(b, &place, b->repository);
}

/* ---- the other repository ---- */

static int
need_copy(struct cli_backup *b, const struct place *place)
{
    if (place->where)
        return 0;
    int r = err_set(&b->cli->err, ERR_USAGE, "backup.copy.to is not set: nothing says where to");
    err_fix(&b->cli->err, "set it; or give --to REPOSITORY");
    return r;
}

int
cli_backup_open_other(struct cli_backup *b, const char *to, struct repository **ret)
{
    const struct place place = copy_place(b->config, to);
    int r = need_copy(b, &place);
    if (r == 0)
        r = open_at(b, &place, &(struct repository_wish){0}, ret);
    if (r == -ENOENT && b->cli->err.id == ERR_REPOSITORY_NONE)
        err_fix(&b->cli->err, "citadel backup init --copy makes that of backup.copy.to");
    return r < 0 ? r : unlock_at(b, &place, *ret);
}

int
cli_backup_make_other(struct cli_backup *b, const struct seal_key_file *keys, size_t count,
                      struct repository **ret)
{
    const struct place place = copy_place(b->config, NULL);
    const struct repository_wish wish = {.make = true, .keys = keys, .keys_count = count};
    int r = need_copy(b, &place);
    return r < 0 ? r : open_at(b, &place, &wish, ret);
}

int
cli_backup_other_password(struct cli_backup *b, struct secret *ret)
{
    const struct place place = copy_place(b->config, NULL);
    return fetch_secret(b, &place, "password", place.password, ret);
}

/* ---- beginning ---- */

int
cli_backup_begin(struct cli *cli, struct cli_backup *ret)
{
    *ret = (struct cli_backup){.cli = cli, .threads = work_use_all_cores()};
    return cli_load_config(cli, &ret->config);
}

int
cli_backup_find_repository(struct cli_backup *b)
{
    return open_repository(b, &(struct repository_wish){0});
}

int
cli_backup_open(struct cli *cli, struct cli_backup *ret)
{
    int r = cli_backup_begin(cli, ret);
    if (r == 0)
        r = cli_backup_find_repository(ret);
    return r < 0 ? r : cli_backup_unlock(ret);
}

int
cli_backup_make(struct cli_backup *b, const struct seal_key_file *keys, size_t count)
{
    return open_repository(
        b, &(struct repository_wish){.make = true, .keys = keys, .keys_count = count});
}

static int
need_encryption(struct cli_backup *b)
{
    if (b->repository->is_encrypted)
        return 0;
    int r = err_set(&b->cli->err, ERR_USAGE, "the repository %s is not encrypted: it has no keys",
                    b->repository->where);
    err_fix(&b->cli->err, "citadel backup init makes one that is, where backup.password is set");
    return r;
}

int
cli_backup_open_locked(struct cli *cli, struct cli_backup *ret)
{
    int r = cli_backup_begin(cli, ret);
    if (r == 0)
        r = cli_backup_find_repository(ret);
    return r < 0 ? r : need_encryption(ret);
}

int
cli_backup_open_encrypted(struct cli *cli, struct cli_backup *ret)
{
    int r = cli_backup_open_locked(cli, ret);
    return r < 0 ? r : cli_backup_unlock(ret);
}

void
cli_backup_close(struct cli_backup *b)
{
    if (b->loop)
        loop_free(b->loop);
    repository_free(b->repository);
    config_freep(&b->config);
}

unsigned
cli_backup_parity(const struct cli_backup *b)
{
    const double percent = b->config->backup.parity_percent;
    return (unsigned)percent + (percent > (unsigned)percent);
}

/* ---- what runs ---- */

void
cli_backup_ended(int r, const struct err *err, void *arg)
{
    struct cli_backup *b = arg;
    b->has_ended = true;
    b->r = r;
    if (r < 0)
        b->cli->err = *err;
    loop_stop(b->loop);
}

/* What is under way ends first, which another host may take minutes for: who asks twice does not
 * wait. */
static void
stop(struct cli_backup *b, struct loop_signal *watch, int signo)
{
    if (b->was_stopped) {
        loop_signal_stop(watch);
        (void)raise(signo);
    }
    b->was_stopped = true;
    b->task->stop(b->task->engine);
}

static void
on_interrupt(struct loop_signal *watch, int signo)
{
    stop(container_of(watch, struct cli_backup, interrupt), watch, signo);
}

static void
on_end(struct loop_signal *watch, int signo)
{
    stop(container_of(watch, struct cli_backup, end), watch, signo);
}

static void
on_beat(struct loop_timer *timer)
{
    struct cli_backup *b = container_of(timer, struct cli_backup, beat);
    quantity_text is, all, rate, left;
    uint64_t done = 0, total = 0, us = clock_now_us() - b->began_us;
    b->task->look(b->task->engine, &done, &total);
    uint64_t a_second = us ? (uint64_t)((double)done * 1e6 / (double)us) : 0;
    if (a_second == 0 || done > total)
        return;
    cli_note(b->cli, "%s: %s of %s, %s/s, %s left", b->task->what, quantity_show_bytes(done, is),
             quantity_show_bytes(total, all), quantity_show_bytes(a_second, rate),
             quantity_print_us((total - done) / a_second * 1000000, left));
}

int
cli_backup_wait(struct cli_backup *b, const struct cli_backup_task *task, uint64_t *ret_us)
{
    b->task = task;
    b->began_us = clock_now_us();
    b->has_ended = false;
    b->beat.expired = on_beat;
    b->interrupt.received = on_interrupt;
    b->end.received = on_end;
    if (isatty(STDERR_FILENO))
        loop_timer_start(b->loop, &b->beat, BEAT_US, BEAT_US);
    /* Without them it just ends, which costs no more than a crash does. */
    (void)!loop_signal_start(b->loop, &b->interrupt, SIGINT);
    (void)!loop_signal_start(b->loop, &b->end, SIGTERM);
    while (!b->has_ended)
        loop_run(b->loop);
    loop_signal_stop(&b->interrupt);
    loop_signal_stop(&b->end);
    loop_timer_stop(&b->beat);
    *ret_us = clock_now_us() - b->began_us;
    return b->r;
}

/* ---- snapshots ---- */

const struct snapshot_row *
cli_backup_find(struct cli_backup *b, const struct snapshots *all, const char *word)
{
    const struct snapshot_row *row = snapshots_find(all, word, &b->cli->err);
    if (!row || !row->is_damaged)
        return row;
    (void)err_set(&b->cli->err, ERR_SNAPSHOT_DAMAGED, "the snapshot %s is not what was written",
                  row->name);
    err_fix(&b->cli->err, "citadel backup list");
    return NULL;
}

void
cli_backup_json(struct json_writer *w, const struct snapshot_row *row)
{
    json_str(w, "snapshot", row->name);
    json_bool(w, "damaged", row->is_damaged);
    if (row->is_damaged)
        return;
    json_str(w, "host", row->head.host);
    json_str(w, "subject", row->head.subject);
    json_str(w, "name", row->head.name);
    json_str(w, "type", row->head.type);
    json_strn(w, "source", row->head.source, strlen(row->head.source));
    json_i64(w, "begun_us", row->head.begun_ns / 1000);
    json_i64(w, "ended_us", row->end.ended_ns / 1000);
    json_u64(w, "files", row->end.files);
    json_u64(w, "bytes", row->end.bytes);
    json_u64(w, "new_bytes", row->end.new_bytes);
    json_u64(w, "stored_bytes", row->end.stored_bytes);
}

void
cli_backup_json_key(struct json_writer *w, const struct seal_lock *lock)
{
    json_str(w, "label", lock->label);
    json_bool(w, "passphrase", lock->is_passphrase);
    json_bool(w, "only_adds", lock->only_adds);
}

static bool
may_be_taken(const struct config_model *m)
{
    return m->backup && plan_reads_files(m);
}

bool
cli_backup_takes_model(const struct config *config, size_t i)
{
    const struct config_model *models = config->models.items;
    for (size_t k = 0; k < i; k++)
        if (may_be_taken(&models[k]) && text_eq(models[k].path, models[i].path))
            return false;
    return may_be_taken(&models[i]);
}

/* ---- what is said of a snapshot ---- */

static void
tell_said(struct cli *cli, const struct snapshot_row *row, const char *word)
{
    if (cli->json) {
        json_open_map(cli->json, NULL);
        cli_backup_json(cli->json, row);
        json_close_map(cli->json);
    } else {
        cli_print(cli, "%.*s of %s %s\n", CLI_BACKUP_ID, row->name, row->head.name, word);
    }
}

/* With a row of all, which the caller finishes. */
static int
find_argument(struct cli_backup *b, struct snapshots *all, const struct snapshot_row **ret)
{
    int r = snapshots_read(b->repository, all, &b->cli->err);
    *ret = r == 0 ? cli_backup_find(b, all, b->cli->args[0]) : NULL;
    if (r == 0 && !*ret) {
        snapshots_finish(all);
        return -ENOENT;
    }
    return r;
}

int
cli_backup_say(struct cli *cli, enum mark_kind kind, const char *word)
{
    _cleanup_cli_backup_ struct cli_backup b = {0};
    struct snapshots all;
    const struct snapshot_row *row = NULL;
    struct block_id name;
    int r = cli_backup_open(cli, &b);
    if (r == 0)
        r = find_argument(&b, &all, &row);
    if (r < 0)
        return r;
    object_digest(row->name, name.bytes);
    const struct mark_wish wish = {.kind = kind, .names = &name, .count = 1};
    r = mark_write(b.repository, &wish, &cli->err);
    if (r == 0)
        tell_said(cli, row, word);
    snapshots_finish(&all);
    return r < 0 ? r : EXIT_CODE_OK;
}

static int
unsay(struct cli_backup *b, enum mark_kind kind, const char *was, const struct snapshot_row *row)
{
    _cleanup_marks_ struct marks marks = {0};
    struct block_id name;
    size_t count = 0;
    object_digest(row->name, name.bytes);
    int r = marks_read(b->repository, &marks, &b->cli->err);
    if (r == 0)
        r = marks_take_back(b->repository, &marks, kind, &name, &count, &b->cli->err);
    if (r < 0 || count > 0)
        return r;
    r = err_set(&b->cli->err, ERR_SNAPSHOT_STAYS, "the snapshot %.*s of %s is not %s",
                CLI_BACKUP_ID, row->name, row->head.name, was);
    err_fix(&b->cli->err, "citadel backup list");
    return r;
}

int
cli_backup_unsay(struct cli *cli, enum mark_kind kind, const char *was, const char *word)
{
    _cleanup_cli_backup_ struct cli_backup b = {0};
    struct snapshots all;
    const struct snapshot_row *row = NULL;
    int r = cli_backup_open(cli, &b);
    if (r == 0)
        r = find_argument(&b, &all, &row);
    if (r < 0)
        return r;
    r = unsay(&b, kind, was, row);
    if (r == 0)
        tell_said(cli, row, word);
    snapshots_finish(&all);
    return r < 0 ? r : EXIT_CODE_OK;
}
