/* A changed configuration, while all goes on. What the monitor reads only when it starts (its port,
 * the paths) makes it refuse the whole: who asked starts it anew. */

#include "role/monitor_int.h"

#include "config/reread.h"

#define LOADED_MAX 16

/* Works that are under way read names and paths of the configuration of then. */
static bool
is_idle(const struct monitor *m)
{
    return service_watch_is_idle(m->watch) && !m->places->looking;
}

static void
forget_older(struct monitor *m)
{
    size_t kept = 0;
    vec_foreach (&m->loaded, at) {
        if (*at == m->config)
            m->loaded.items[kept++] = *at;
        else
            config_free(*at);
    }
    m->loaded.count = kept;
}

static int
check_room(struct monitor *m, struct err *reterr)
{
    if (is_idle(m))
        forget_older(m);
    if (m->loaded.count < LOADED_MAX)
        return 0;
    int r = err_set(reterr, ERR_SERVICE_BUSY,
                    "a disk or the system bus has not answered for %d changes of the configuration",
                    LOADED_MAX);
    err_fix(reterr, "citadel restart monitor");
    return r;
}

static void
take(struct monitor *m, struct config *now)
{
    vec_push(&m->loaded, now);
    m->config = now;
    config_set_log_level(now);
    m->history.keep_us = now->monitor.events_keep_us;
    service_watch_configure(m->watch, now);
    monitor_services_configure(m);
    monitor_health_configure(m);
    monitor_look_all(m);
}

int
monitor_reload(struct monitor *m, const char *by, struct json_writer *w, struct err *reterr)
{
    _cleanup_config_reread_ struct config_reread reread = {0};
    int r = check_room(m, reterr);
    if (r == 0)
        r = config_reread(m->config, SERVICE_MONITOR, &reread, reterr);
    if (r < 0)
        return r;
    config_reread_print(&reread, w);
    if (reread.restart || reread.diff.count == 0)
        return 0;
    notify_reloading(&m->life.notify);
    take(m, take_ptr(reread.config));
    monitor_tell(m, EVENT_CONFIG_TAKEN, NULL, by, "%zu option%s changed, the first: %s",
                 reread.diff.count, reread.diff.count == 1 ? "" : "s", reread.diff.items[0].path);
    notify_state(&m->life.notify, "READY=1");
    return 0;
}
