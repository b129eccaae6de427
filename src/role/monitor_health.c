/* What is asked every so often: the shims, the GPUs, the disks; and whether what a model lacked is
 * there again. */

#include "role/monitor_int.h"

#include "base/mem.h"
#include "config/config.h"
#include "gpu/memory.h"
#include "gpu/nvml.h"
#include "run/run.h"
#include "sys/listener.h"
#include "sys/log.h"

#include <stdio.h>

#define SHIM_US UINT64_C(10000000)  /* busy machines answer late */
#define PROBE_US UINT64_C(20000000) /* a driver that wakes up takes seconds */
#define ROOM_US UINT64_C(1000000)   /* nobody tells when a port or memory comes free */
#define SAFETY_LOOKS 10             /* so many rounds, and services are asked without news */
#define DISK_GROWN_BYTES (1 * GIB)

/* ---- shims ---- */

static void
note_health(struct watched *w)
{
    const char *why;
    bool well = monitor_is_well(w, &why);
    if (w->status.state == SERVICE_READY && well == w->unwell) {
        w->unwell = !well;
        monitor_tell(w->monitor, well ? EVENT_WELL : EVENT_UNWELL, w->status.name, NULL, "%s",
                     well ? "it is as it should be" : why);
    }
    monitor_look(w);
}

static void
on_state(struct http_call *call, const struct err *error)
{
    struct watched *w = call->user;
    w->call = NULL;
    w->has_run = !error && call->head.status == 200 &&
                 run_state_parse(call->content.data, call->content.len, &w->run, NULL) == 0;
    if (w->status.state != SERVICE_READY)
        return;
    w->silent_looks = w->has_run ? 0 : w->silent_looks + 1;
    note_health(w);
}

static struct http_client *
client_of(struct watched *w)
{
    struct monitor *m = w->monitor;
    _cleanup_free_ char *address =
        mem_printf("unix:%s/models/%s/" RUN_SOCKET_NAME, m->config->paths.run, w->status.name);
    struct http_client_config limits = http_client_config_default;
    struct err err;
    limits.idle_max = 0;
    limits.total_us = SHIM_US;
    limits.body_bytes_max = RUN_STATE_MAX;
    if (!w->client && http_client_new(m->loop, address, "localhost", &limits, &w->client, &err) < 0)
        log_err(&err);
    return w->client;
}

void
monitor_ask(struct watched *w)
{
    static const struct http_call_ops ops = {.finished = on_state};
    struct http_client *client = w->model && !w->call ? client_of(w) : NULL;
    if (!client)
        return;
    w->call = http_call_new(client, "GET", "/state", &ops, w);
    http_call_whole(w->call, NULL, 0);
}

struct lifecycle_known
monitor_known(const struct watched *w)
{
    return (struct lifecycle_known){.status = &w->status,
                                    .record = w->model ? &w->record : NULL,
                                    .run = w->has_run ? &w->run : NULL,
                                    .is_silent = w->silent_looks > 0,
                                    .lost = w->lost.id == ERR_NONE ? NULL : w->lost.what};
}

bool
monitor_is_well(const struct watched *w, const char **ret_why)
{
    struct lifecycle_known known = monitor_known(w);
    return lifecycle_is_well(&known, ret_why);
}

/* ---- room ---- */

static struct room
room_of(const struct watched *w)
{
    const struct monitor *m = w->monitor;
    const struct place *disk = &m->places->items[PLACE_MODELS];
    struct room room = {.gpus_known = m->gpus.known,
                        .port_taken = listener_find(0, w->model->port) != LISTENER_NONE,
                        .disk_known = m->places->known && disk->err.id == ERR_NONE,
                        .disk_bytes = disk->free_bytes};
    for (size_t i = 0; m->gpus.known && i < m->gpus.inventory.count; i++) {
        struct gpu_memory_use use;
        if (gpu_memory_use(&m->gpus.inventory.gpus[i], &use))
            room.gpu_bytes += use.free_bytes;
    }
    return room;
}

bool
monitor_lacks_something(const struct watched *w)
{
    return w->model && w->is_there && w->status.state == SERVICE_NOT_NOW && !w->record.hold.set;
}

bool
monitor_has_room(struct watched *w)
{
    struct room now = room_of(w);
    const struct room *before = &w->lacked;
    bool woken = w->was_woken;
    w->was_woken = false;
    if (!w->knows_lacked) {
        w->lacked = now;
        w->knows_lacked = true;
        return woken;
    }
    return woken || (before->port_taken && !now.port_taken) ||
           (before->gpus_known && now.gpus_known &&
            now.gpu_bytes > before->gpu_bytes + GPU_MEMORY_SLACK_BYTES) ||
           (before->disk_known && now.disk_known &&
            now.disk_bytes > before->disk_bytes + DISK_GROWN_BYTES);
}

static void
on_room(struct loop_timer *timer)
{
    struct monitor *m = container_of(timer, struct monitor, room);
    uint64_t age = loop_now_us(m->loop) - m->gpus.asked_us;
    if (age >= m->config->monitor.gpu_interval_us)
        gpus_read(&m->gpus);
    vec_foreach (&m->services, at)
        if (monitor_lacks_something(*at))
            monitor_look(*at);
    monitor_watch_room(m);
}

void
monitor_watch_room(struct monitor *m)
{
    bool wanted = false;
    vec_foreach (&m->services, at)
        wanted |= monitor_lacks_something(*at);
    if (wanted && !loop_timer_is_set(&m->room))
        loop_timer_start(m->loop, &m->room, ROOM_US, 0);
    else if (!wanted)
        loop_timer_stop(&m->room);
}

/* ---- GPUs and disks ---- */

static const char *
trouble_of(const struct gpus *g)
{
    bool without = g->err.id == ERR_GPU_NO_LIBRARY || g->err.id == ERR_GPU_NO_DRIVER;
    if (g->err.id != ERR_NONE)
        return without ? NULL : g->err.what;
    for (size_t i = 0; g->known && i < g->inventory.count; i++)
        if (g->inventory.gpus[i].trouble)
            return nvml_code_text(g->inventory.gpus[i].trouble);
    return NULL;
}

static void
on_gpus(struct gpus *g)
{
    struct monitor *m = container_of(g, struct monitor, gpus);
    const char *trouble = trouble_of(g);
    if (trouble && !m->gpus_sick)
        monitor_tell(m, EVENT_GPU_SICK, NULL, NULL, "%s", trouble);
    else if (!trouble && m->gpus_sick)
        monitor_tell(m, EVENT_GPU_WELL, NULL, NULL, "the GPUs answer");
    m->gpus_sick = trouble != NULL;
    monitor_control_gpus_told(m);
    monitor_look_all(m);
}

static void
on_places(struct places *places)
{
    struct monitor *m = places->arg;
    for (unsigned i = 0; i < PLACE_COUNT; i++) {
        const struct place *d = &places->items[i];
        bool sick = d->err.id != ERR_NONE;
        if (sick != m->place_sick[i])
            monitor_tell(m, sick ? EVENT_DISK_SICK : EVENT_DISK_WELL, NULL, NULL, "%s: %s",
                         place_word((enum place_kind)i), sick ? d->err.what : "as it should be");
        m->place_sick[i] = sick;
    }
}

/* ---- every so often ---- */

static void
on_health(struct loop_timer *timer)
{
    struct monitor *m = container_of(timer, struct monitor, health);
    gpus_read(&m->gpus);
    places_look(m->places);
    vec_foreach (&m->services, at)
        if ((*at)->is_there && (*at)->status.state == SERVICE_READY)
            monitor_ask(*at);
        else
            monitor_look(*at); /* what is wanted of it may have changed */
    if (++m->rounds % SAFETY_LOOKS == 0)
        service_watch_look(m->watch);
}

void
monitor_health_open(struct monitor *m, const char *program)
{
    uint64_t every_us = m->config->monitor.health_interval_us;
    gpus_open(&m->gpus, m->loop, program, PROBE_US, on_gpus);
    m->places = places_new(m->loop, m->config, on_places, m);
    m->health.expired = on_health;
    m->room.expired = on_room;
    loop_timer_start(m->loop, &m->health, 0, every_us);
}

void
monitor_health_configure(struct monitor *m)
{
    uint64_t every_us = m->config->monitor.health_interval_us;
    places_configure(m->places, m->config);
    loop_timer_start(m->loop, &m->health, every_us, every_us);
}

void
monitor_health_close(struct monitor *m)
{
    loop_timer_stop(&m->health);
    loop_timer_stop(&m->room);
    gpus_close(&m->gpus);
    places_free(m->places);
}
