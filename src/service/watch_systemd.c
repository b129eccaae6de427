/* One connection to the bus hears systemd's signals and joins the loop by its descriptor. It is made by a
 * work, and what the signals are about is read by one, since calls to a bus that hangs, or to a manager
 * that is busy, block; several signals are one reading. */

#include "service/systemd.h"
#include "service/watch_int.h"

#include "base/mem.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define GATHER_US UINT64_C(100000) /* signals that come within it are one piece of news */
#define AGAIN_US UINT64_C(2000000) /* until a bus that was lost is tried again */

struct watching {
    struct service_watch *watch;
    struct bus bus;
    struct loop_fd fd;
    struct loop_timer timer, gather, again;
    struct work work; /* the reading */
    bool reads, news; /* and something has happened since it began */
    struct service_view view;
    struct err err;
    struct work connecting; /* has the bus while it is under way */
    bool connects;
    struct err why_not;
};

/* Works hold it beyond its watch. */
static void
free_unless_used(struct watching *s)
{
    if (s->watch->closed && !s->reads && !s->connects)
        free(s);
}

/* ---- reading ---- */

static void
read_view(struct work *work)
{
    struct watching *s = container_of(work, struct watching, work);
    s->err = (struct err){0};
    (void)!systemd_view_read(s->watch->config, &s->view, &s->err);
}

static void begin_reading(struct watching *s);

static void
on_read(struct work *work, bool cancelled unused_arg)
{
    struct watching *s = container_of(work, struct watching, work);
    struct service_watch *w = s->watch;
    s->reads = false;
    if (s->err.id == ERR_NONE)
        watch_tell_seen(w, &s->view);
    else
        watch_tell_lost(w, &s->err);
    service_view_finish(&s->view);
    if (s->news && !w->closed)
        begin_reading(s);
    free_unless_used(s);
    watch_let_go(w);
}

static void
begin_reading(struct watching *s)
{
    s->news = s->reads;
    if (s->reads)
        return;
    s->reads = true;
    s->watch->under_way++;
    s->work.run = read_view;
    s->work.done = on_read;
    work_start(s->watch->loop, &s->work);
}

static void
on_gathered(struct loop_timer *timer)
{
    begin_reading(container_of(timer, struct watching, gather));
}

static void
look(struct service_watch *w)
{
    struct watching *s = w->own;
    if (!loop_timer_is_set(&s->gather))
        loop_timer_start(w->loop, &s->gather, GATHER_US, 0);
}

/* ---- hearing ---- */

/* Of the manager: jobs of ours, and that all units are read anew. Not that a unit was loaded or
 * forgotten, which changes nothing, and which a look can bring about. */
static bool
is_of_ours(const struct watching *s, sd_bus_message *m)
{
    const struct libsystemd *sd = s->bus.sd;
    const char *member = sd->bus_message_get_member(m), *path, *unit = NULL;
    uint32_t id;
    int r = 0;
    if (text_eq(member, "Reloading"))
        return true;
    if (text_eq(member, "JobNew") || text_eq(member, "JobRemoved"))
        r = sd->bus_message_read(m, "uos", &id, &path, &unit);
    return r > 0 && text_starts(unit, "citadel-");
}

/* The objects of units are named with what is no letter as _XX. */
static int
on_signal(sd_bus_message *m, void *arg, sd_bus_error *error unused_arg)
{
    struct watching *s = arg;
    const char *path = s->bus.sd->bus_message_get_path(m);
    if (path && (strstr(path, "/citadel_2d") || is_of_ours(s, m)))
        look(s->watch);
    return 0;
}

static int
add_matches(struct watching *s, struct err *reterr)
{
    static const char *const matches[] = {
        "type='signal',sender='org.freedesktop.systemd1',path='" BUS_MANAGER_PATH
        "',interface='" BUS_MANAGER "'",
        "type='signal',sender='org.freedesktop.systemd1',"
        "path_namespace='/org/freedesktop/systemd1/unit',"
        "interface='org.freedesktop.DBus.Properties',member='PropertiesChanged'",
    };
    int r = bus_call(&s->bus, BUS_MANAGER_PATH, BUS_MANAGER, "Subscribe", NULL, reterr, "");
    for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(matches); i++) {
        r = s->bus.sd->bus_add_match(s->bus.connection, NULL, matches[i], on_signal, s);
        if (r < 0)
            return err_set_errno(reterr, -r, "systemd's signals cannot be watched");
    }
    return MIN(r, 0);
}

static void
arm(struct watching *s)
{
    uint64_t at_us, now_us = loop_now_us(s->watch->loop);
    int events = s->bus.sd->bus_get_events(s->bus.connection);
    loop_fd_change(&s->fd, LOOP_READ | (events > 0 && (events & POLLOUT) ? LOOP_WRITE : 0u));
    if (s->bus.sd->bus_get_timeout(s->bus.connection, &at_us) > 0 && at_us != UINT64_MAX)
        loop_timer_start(s->watch->loop, &s->timer, at_us > now_us ? at_us - now_us : 0, 0);
    else
        loop_timer_stop(&s->timer);
}

static void
disconnect(struct watching *s)
{
    loop_fd_stop(&s->fd);
    loop_timer_stop(&s->timer);
    bus_close(&s->bus);
}

static void
lose(struct watching *s, const struct err *why)
{
    disconnect(s);
    watch_tell_lost(s->watch, why);
    loop_timer_start(s->watch->loop, &s->again, AGAIN_US, 0);
}

static void
process(struct watching *s)
{
    struct err err;
    int r;
    do
        r = s->bus.sd->bus_process(s->bus.connection, NULL);
    while (r > 0);
    if (r < 0) {
        (void)err_set_errno(&err, -r, "the system bus was lost");
        lose(s, &err);
    } else {
        arm(s);
    }
}

static void
on_ready(struct loop_fd *watch, unsigned events unused_arg)
{
    process(container_of(watch, struct watching, fd));
}

static void
on_timeout(struct loop_timer *timer)
{
    process(container_of(timer, struct watching, timer));
}

static void
connect_bus(struct work *work)
{
    struct watching *s = container_of(work, struct watching, connecting);
    s->why_not = (struct err){0};
    int r = bus_open(&s->bus, &s->why_not);
    if (r == 0)
        r = add_matches(s, &s->why_not);
    if (r < 0)
        bus_close(&s->bus);
}

static int
join_loop(struct watching *s, struct err *reterr)
{
    int r = s->bus.sd->bus_get_fd(s->bus.connection);
    r = r < 0 ? r : loop_fd_start(s->watch->loop, &s->fd, r, LOOP_READ);
    return r < 0 ? err_set_errno(reterr, -r, "the system bus cannot be watched") : 0;
}

static void
on_connected(struct work *work, bool cancelled unused_arg)
{
    struct watching *s = container_of(work, struct watching, connecting);
    struct service_watch *w = s->watch;
    s->connects = false;
    if (w->closed) {
        bus_close(&s->bus);
    } else if (s->why_not.id != ERR_NONE || join_loop(s, &s->why_not) < 0) {
        lose(s, &s->why_not);
    } else {
        process(s); /* what came while the matches were added */
        look(w);
    }
    free_unless_used(s);
    watch_let_go(w);
}

static void
begin_connecting(struct watching *s)
{
    s->connects = true;
    s->watch->under_way++;
    s->connecting.run = connect_bus;
    s->connecting.done = on_connected;
    work_start(s->watch->loop, &s->connecting);
}

static void
on_again(struct loop_timer *timer)
{
    begin_connecting(container_of(timer, struct watching, again));
}

static int
open_systemd(struct service_watch *w, struct err *reterr unused_arg)
{
    struct watching *s = mem_new(struct watching);
    *s = (struct watching){.watch = w,
                           .fd.ready = on_ready,
                           .timer.expired = on_timeout,
                           .gather.expired = on_gathered,
                           .again.expired = on_again};
    w->own = s;
    begin_connecting(s);
    return 0;
}

static void
close_systemd(struct service_watch *w)
{
    struct watching *s = w->own;
    if (!s->connects)
        disconnect(s);
    loop_timer_stop(&s->gather);
    loop_timer_stop(&s->again);
    free_unless_used(s);
}

/* ---- orders ---- */

static void
run_order(struct work *work)
{
    struct order *o = container_of(work, struct order, work);
    const char *name = o->name;
    const struct systemd_wish wish = {
        /* systemd tries nothing again that ended with 75: for it, that is a start like any other. */
        .verb = o->order == SERVICE_ORDER_AGAIN ? "start" : service_order_word(o->order),
        .names = &name,
        .count = 1};
    if (o->order == SERVICE_ORDER_FORGIVE)
        (void)!systemd_forgive(name, &o->err);
    else
        (void)!systemd_change(&wish, &o->err);
}

static void
on_order_done(struct work *work, bool cancelled unused_arg)
{
    watch_order_done(container_of(work, struct order, work));
}

static void
give(struct order *o)
{
    o->work.run = run_order;
    o->work.done = on_order_done;
    work_start(o->watch->loop, &o->work);
}

const struct service_watch_kind service_watch_systemd = {
    .open = open_systemd, .close = close_systemd, .look = look, .give = give};
