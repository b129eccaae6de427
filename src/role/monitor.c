#include "role/monitor_int.h"

#include "base/mem.h"
#include "config/config.h"
#include "sys/clock.h"
#include "sys/log.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define DRAIN_US UINT64_C(5000000) /* below any TimeoutStopSec= */

/* ---- the history ---- */

static void
sync_history(struct work *work)
{
    struct monitor *m = container_of(work, struct monitor, sync);
    (void)!fdatasync(m->sync_fd);
}

static void sync_later(struct monitor *m);

static void
on_synced(struct work *work, bool cancelled unused_arg)
{
    struct monitor *m = container_of(work, struct monitor, sync);
    bool again = m->unsynced;
    cleanup_close(&m->sync_fd);
    m->unsynced = false;
    if (again)
        sync_later(m);
}

/* A disk may hang longer than anybody may wait here. */
static void
sync_later(struct monitor *m)
{
    m->unsynced = m->sync_fd >= 0;
    if (m->unsynced)
        return;
    m->sync_fd = fcntl(m->history.fd, F_DUPFD_CLOEXEC, 3); /* the history may begin a new file */
    if (m->sync_fd < 0)
        return;
    m->sync.run = sync_history;
    m->sync.done = on_synced;
    work_start(m->loop, &m->sync);
}

static void
log_event(const struct event *event)
{
    static void (*const logs[])(const char *, ...) = {
        [EVENT_INFO] = log_info, [EVENT_WARNING] = log_warning, [EVENT_ERROR] = log_error};
    const struct event_row *row = event_row(event->kind);
    logs[row->level]("%s%s%s: %s", event->service, event->service[0] ? ": " : "", row->id,
                     event->text);
}

void
monitor_tell(struct monitor *m, enum event_kind kind, const char *service, const char *by,
             const char *fmt, ...)
{
    struct event event = {.at_us = clock_wall_us(), .kind = kind};
    struct err err;
    va_list args;
    (void)snprintf(event.service, sizeof(event.service), "%s", service ? service : "");
    (void)snprintf(event.by, sizeof(event.by), "%s", by ? by : "");
    va_start(args, fmt);
    text_make_safe(event.text, sizeof(event.text),
                   vsnprintf(event.text, sizeof(event.text), fmt, args));
    va_end(args);
    log_event(&event);
    int r = history_add(&m->history, &event, &err);
    if (r < 0 && m->history_errno == 0)
        log_err(&err);
    m->history_errno = -MIN(r, 0);
    if (r == 0)
        sync_later(m);
}

/* ---- a life ---- */

static void
end(struct life *life)
{
    struct monitor *m = container_of(life, struct monitor, life);
    monitor_tell(m, EVENT_MONITOR_ENDED, NULL, NULL, "nobody watches from here on");
    notify_state(&m->life.notify, "STOPPING=1");
    loop_stop(m->loop);
}

static int
open_history(struct monitor *m, struct err *reterr)
{
    uint64_t torn = 0;
    int r = history_open(&m->history, m->config->paths.state, HISTORY_OF_SERVICES,
                         m->config->monitor.events_keep_us, 0, &torn, reterr);
    if (r == 0 && torn)
        monitor_tell(m, EVENT_LOG_TORN, NULL, NULL,
                     "the last line of the history was not whole; its %llu bytes are dropped",
                     (unsigned long long)torn);
    return r;
}

static int
open_all(struct monitor *m, const char *program, struct err *reterr)
{
    int r = life_open(&m->life, end, reterr);
    m->loop = m->life.loop;
    if (r == 0)
        r = monitor_control_open(m, reterr); /* the first: there is one monitor */
    if (r == 0)
        r = open_history(m, reterr);
    if (r == 0)
        r = service_watch_new(m->loop, m->config, &monitor_watch_ops, m, &m->watch, reterr);
    if (r < 0)
        return r;
    monitor_health_open(m, program);
    monitor_http_open(m);
    return 0;
}

/* failure: why it cannot live; NULL: it has. */
static void
close_all(struct monitor *m, const struct err *failure)
{
    if (!m->loop)
        return;
    life_leave(&m->life);
    monitor_control_close(m);
    if (m->http)
        monitor_http_close(m);
    if (m->places)
        monitor_health_close(m);
    if (m->watch)
        service_watch_free(m->watch);
    monitor_services_close(m);
    m->unsynced = false;
    if (!loop_drain(m->loop, DRAIN_US)) {
        log_warning("a disk or systemd still hangs; the monitor ends without its answer");
        if (failure)
            log_err(failure);
        _exit(
            failure
                ? (int)err_exit(failure)
                : EXIT_CODE_OK); /* a thread of ours waits for it, and nothing is left to be saved */
    }
    life_close(&m->life); /* after works that read a configuration */
    vec_foreach (&m->loaded, at)
        config_free(*at);
    vec_finish(&m->loaded);
    if (m->history.path)
        history_close(&m->history);
}

int
monitor_run(const struct config *config, const char *program, struct err *reterr)
{
    struct monitor m = {
        .config = config, .since_us = clock_wall_us(), .history.fd = -1, .sync_fd = -1};
    int r = open_all(&m, program, reterr);
    if (r == 0) {
        monitor_tell(&m, EVENT_MONITOR_STARTED, NULL, NULL, "services are run by %s",
                     service_watch_is_by_systemd(m.watch) ? "systemd" : "citadel up");
        notify_status(&m.life.notify, "watches");
        notify_state(&m.life.notify, "READY=1");
        loop_run(m.loop);
    }
    close_all(&m, r < 0 ? reterr : NULL);
    return r;
}
