#include "cli/backup_run.h"

static void
look_restore(const void *engine, uint64_t *ret_done, uint64_t *ret_total)
{
    const struct restore_told *told = restore_told(engine);
    *ret_done = told->bytes;
    *ret_total = told->total_bytes;
}

static void
stop_restore(void *engine)
{
    restore_stop(engine);
}

int
cli_backup_run_restore(struct cli_backup *b, const char *what, const struct restore_wish *wish,
                       struct restore_told *ret, uint64_t *ret_us)
{
    struct restore *engine = NULL;
    int r = restore_new(b->loop, wish, cli_backup_ended, b, &engine, &b->cli->err);
    if (r < 0)
        return r;
    const struct cli_backup_task task = {
        .what = what, .engine = engine, .look = look_restore, .stop = stop_restore};
    r = cli_backup_wait(b, &task, ret_us);
    *ret = *restore_told(engine);
    restore_free(engine);
    return r;
}

static void
look_export(const void *engine, uint64_t *ret_done, uint64_t *ret_total)
{
    const struct export_told *told = export_told(engine);
    *ret_done = told->bytes;
    *ret_total = told->total_bytes;
}

static void
stop_export(void *engine)
{
    export_stop(engine);
}

int
cli_backup_run_export(struct cli_backup *b, const char *what, const struct export_wish *wish,
                      struct export_told *ret, uint64_t *ret_us)
{
    struct export *engine = NULL;
    int r = export_new(b->loop, wish, cli_backup_ended, b, &engine, &b->cli->err);
    if (r < 0)
        return r;
    const struct cli_backup_task task = {
        .what = what, .engine = engine, .look = look_export, .stop = stop_export};
    r = cli_backup_wait(b, &task, ret_us);
    *ret = *export_told(engine);
    export_free(engine);
    return r;
}
