#include "role/access_log.h"

#include "base/mem.h"
#include "config/config.h"
#include "fmt/json.h"
#include "gateway/ledger.h"
#include "role/losses.h"
#include "sys/line_file.h"
#include "sys/work.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What a pipe takes at once, or not at all (pipe(7)). */
#define PIPE_BYTES 4096

/* ---- a file ---- */

struct access_file {
    struct access_log *log; /* NULL: it was closed */
    struct loop *loop;
    char *path;
    struct buf next; /* lines */
    uint64_t next_count;
    struct loop_timer delay;

    /* the work's, while it runs */
    struct work work;
    bool is_running;
    struct line_file file;
    struct buf lines;
    uint64_t count;
    int error; /* 0: all were written */
};

static void
on_run(struct work *work)
{
    struct access_file *f = container_of(work, struct access_file, work);
    f->error = -line_file_add(&f->file, f->lines.data, f->lines.len);
}

static void
start(struct access_file *f)
{
    loop_timer_stop(&f->delay);
    f->lines = f->next;
    f->count = f->next_count;
    f->next = (struct buf)BUF_INIT(ACCESS_LOG_WAITING_BYTES);
    f->next_count = 0;
    f->is_running = true;
    work_start_alone(f->loop, &f->work);
}

static void
on_delay(struct loop_timer *timer)
{
    start(container_of(timer, struct access_file, delay));
}

static void
free_file(struct access_file *f)
{
    line_file_close(&f->file);
    buf_finish(&f->next);
    free(f->path);
    free(f);
}

/* Goes on with what has come meanwhile, or goes when it was closed. */
static void
go_on(struct access_file *f)
{
    if (f->next_count && f->log)
        loop_timer_start(f->loop, &f->delay, ACCESS_LOG_DELAY_US, 0);
    else if (f->next_count)
        start(f);
    else if (!f->log)
        free_file(f);
}

static void
on_done(struct work *work, bool cancelled unused_arg)
{
    struct access_file *f = container_of(work, struct access_file, work);
    f->is_running = false;
    buf_finish(&f->lines);
    if (f->log && f->error) {
        f->log->lost += f->count;
        f->log->error = f->error;
        if (f->log->lost_some)
            f->log->lost_some(f->log);
    }
    go_on(f);
}

static struct access_file *
file_new(struct access_log *log, struct loop *loop, const struct config *config)
{
    struct access_file *f = mem_new(struct access_file);
    *f = (struct access_file){.log = log,
                              .loop = loop,
                              .path = mem_printf("%s/services/access.log", config->paths.logs),
                              .next = BUF_INIT(ACCESS_LOG_WAITING_BYTES),
                              .delay.expired = on_delay,
                              .work = {.run = on_run, .done = on_done}};
    f->work.writes = f->path;
    line_file_init(&f->file, f->path, 0640, ACCESS_LOG_BYTES);
    return f;
}

static void
file_close(struct access_file *f)
{
    f->log = NULL;
    loop_timer_stop(&f->delay);
    if (!f->is_running)
        go_on(f);
}

static bool
file_add(struct access_file *f, const struct buf *line)
{
    if (f->next.len + line->len > ACCESS_LOG_WAITING_BYTES)
        return false;
    buf_add(&f->next, line->data, line->len);
    f->next_count++;
    if (!f->is_running && !loop_timer_is_set(&f->delay))
        loop_timer_start(f->loop, &f->delay, ACCESS_LOG_DELAY_US, 0);
    return true;
}

/* ---- standard error ---- */

static void
give(struct access_log *log)
{
    if (log->count == 0)
        return;
    bool has_room = losses_has_room(log->fd);
    ssize_t n = has_room ? write(log->fd, log->text.data, log->text.len) : -1;
    if (n != (ssize_t)log->text.len) {
        log->error = has_room && n < 0 ? errno : 0;
        log->lost += log->count;
    }
    buf_clear(&log->text);
    log->count = 0;
}

static void
on_end(struct loop_defer *defer)
{
    give(container_of(defer, struct access_log, at_end));
}

static bool
give_later(struct access_log *log, const struct buf *line)
{
    if (log->text.len + line->len > PIPE_BYTES)
        give(log);
    buf_add(&log->text, line->data, line->len);
    if (log->count++ == 0)
        loop_defer(log->loop, &log->at_end);
    return true;
}

/* ---- lines ---- */

void
access_log_open(struct access_log *log, struct loop *loop, const struct config *config)
{
    *log = (struct access_log){.loop = loop,
                               .fd = -1,
                               .text = BUF_INIT(PIPE_BYTES),
                               .at_end.run = on_end,
                               .lost = log->lost,
                               .lost_some = log->lost_some};
    if (config->gateway.access_log == CONFIG_ACCESS_LOG_JOURNAL)
        log->fd = dup(STDERR_FILENO);
    if (config->gateway.access_log == CONFIG_ACCESS_LOG_FILE)
        log->file = file_new(log, loop, config);
}

void
access_log_close(struct access_log *log)
{
    if (log->fd >= 0) {
        loop_defer_cancel(log->loop, &log->at_end);
        give(log);
        cleanup_close(&log->fd);
        log->fd = -1;
        buf_finish(&log->text);
    }
    if (log->file)
        file_close(take_ptr(log->file));
}

void
access_log_add(struct access_log *log, const struct ledger_row *row, const char *id,
               const char *address)
{
    _cleanup_buf_ struct buf line = BUF_INIT(PIPE_BYTES);
    struct json_writer w;
    if (!log->file && log->fd < 0)
        return;
    json_init(&w, &line, false);
    json_open_map(&w, NULL);
    ledger_print(row, id, &w);
    if (address)
        json_str(&w, "address", address);
    json_close_map(&w);
    buf_add_char(&line, '\n');
    bool taken =
        buf_error(&line) == 0 && (log->file ? file_add(log->file, &line) : give_later(log, &line));
    if (taken)
        return;
    log->lost++;
    log->error = 0;
}

const char *
access_log_name(const struct access_log *log)
{
    return log->file ? log->file->path : "the access log";
}

const char *
access_log_why(const struct access_log *log)
{
    if (log->error)
        return strerror(log->error);
    return log->file ? "its disk is too slow" : "who reads it is too slow";
}
