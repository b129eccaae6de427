/* A changed configuration, while answers are under way: none of them is cut, and none waits for the
 * disks that it is on. A work reads it, and the files that it names; the loop takes it up. What the
 * gateway reads only when it starts (its addresses, the paths) makes it refuse the whole: who asked
 * starts it anew.
 *
 * What was renewed stands under its old name: files that the configuration names (certificates, the
 * keys of peers, whom those are trusted by) are read whether or not an option has changed. */

#include "role/gateway_int.h"

#include "base/mem.h"
#include "config/reread.h"
#include "fmt/json.h"
#include "http/local.h"
#include "service/service.h"
#include "sys/log.h"
#include "sys/work.h"

#include <stdlib.h>

/* Who asked hears of a disk that hangs before he loses patience. */
#define PATIENCE_US UINT64_C(8000000)

/* Who waits for the answer of one. */
struct asker {
    struct reload *reload;
    struct http_request *request;
    struct asker *next;
    struct loop_timer patience;
};

/* One is under way, and one waits for all who asked since: it reads what there is as it begins. */
struct reload {
    struct gateway *gateway;
    struct asker *askers, **last; /* of one that waits there is one at least */

    /* the work's, while it runs */
    struct work work;
    const struct config *before;
    struct config_reread reread;
    struct gateway_papers papers;
    int result;
    struct err err;
};

/* ---- on the thread ---- */

/* Whoever starts may do without a collector; one that works is not lost by a reload. */
static int
read_papers(struct reload *l)
{
    int r = gateway_papers_read(l->reread.config, &l->papers, &l->err);
    if (r < 0 || l->papers.no_collector.id == ERR_NONE)
        return r;
    l->err = l->papers.no_collector;
    err_prefix(&l->err, "what was read before holds");
    return -err_row(l->err.id)->err;
}

static void
on_run(struct work *work)
{
    struct reload *l = container_of(work, struct reload, work);
    l->result = config_reread(l->before, SERVICE_GATEWAY, &l->reread, &l->err);
    if (l->result == 0 && !l->reread.restart)
        l->result = read_papers(l);
}

/* ---- what was read ---- */

static void
tell_what_changed(const struct config_diff *diff)
{
    if (diff->count == 0)
        log_info("no option changed; keys and certificates were read anew");
    else
        log_info("%zu option%s changed, the first: %s", diff->count, diff->count == 1 ? "" : "s",
                 diff->items[0].path);
}

static int
take_up(struct gateway *g, struct reload *l, struct err *reterr)
{
    int r = relay_configure(g->relay, l->reread.config, l->papers.peers, reterr);
    if (r < 0)
        return r;
    g->config = take_ptr(l->reread.config);
    gateway_speak_tls(g, &l->papers);
    config_set_log_level(g->config);
    gateway_limits_changed(g);
    gateway_told_watch(g, &l->papers);
    gateway_monitor_look(g);
    if (g->was_local != gateway_is_local(g))
        gateway_listen_anew(g);
    tell_what_changed(&l->reread.diff);
    return 0;
}

/* ---- who asks ---- */

static void
forget(struct reload *l)
{
    gateway_papers_finish(&l->papers); /* which may be of its configuration */
    config_reread_finish(&l->reread);
    free(l);
}

/* He waits no longer; what nobody waits for is not begun. */
static void
leave(struct asker *a)
{
    struct reload *l = a->reload;
    struct asker **at = &l->askers;
    while (*at != a)
        at = &(*at)->next;
    *at = a->next;
    if (!*at)
        l->last = at;
    loop_timer_stop(&a->patience);
    a->request->user = NULL;
    free(a);
    if (!l->askers && l == l->gateway->waiting_reload)
        forget(take_ptr(l->gateway->waiting_reload));
}

static void
on_late(struct loop_timer *timer)
{
    struct asker *a = container_of(timer, struct asker, patience);
    struct http_request *request = a->request;
    struct gateway *g = a->reload->gateway;
    const char *file = g->config->name;
    unsigned after_s = (unsigned)(PATIENCE_US / 1000000);
    struct err late;
    if (a->reload == g->waiting_reload) {
        (void)err_set(&late, ERR_STORAGE_FAILED,
                      "%s is not read anew: the reload before this one is not over after %u s, "
                      "since its disk hangs, or that of a file that it names",
                      file, after_s);
        err_fix(&late, "see to that disk, then reload again; what was read before holds");
    } else {
        (void)err_set(&late, ERR_STORAGE_FAILED,
                      "%s, or a file that it names, is not read after %u s: its disk hangs", file,
                      after_s);
        err_fix(&late, "see to that disk; what was read before holds until it answers");
    }
    leave(a);
    http_local_answer_error(request, &late);
}

static void
on_asker_gone(struct http_request *r, bool answered unused_arg)
{
    if (r->user)
        leave(r->user);
}

static void
join(struct reload *l, struct http_request *r)
{
    static const struct http_request_ops ops = {.finished = on_asker_gone};
    struct asker *a = mem_new(struct asker);
    *a = (struct asker){l, r, NULL, {.expired = on_late}};
    *l->last = a;
    l->last = &a->next;
    r->ops = &ops;
    r->user = a;
    loop_timer_start(l->gateway->life.loop, &a->patience, PATIENCE_US, 0);
}

/* ---- one after the other ---- */

static void
conclude(struct gateway *g, struct reload *l)
{
    _cleanup_buf_ struct buf body = BUF_INIT(CONTROL_ANSWER_MAX);
    struct json_writer w;
    json_init(&w, &body, false);
    if (l->result == 0)
        config_reread_print(&l->reread, &w);
    if (l->result == 0 && !l->reread.restart) {
        notify_reloading(&g->life.notify);
        l->result = take_up(g, l, &l->err);
        notify_state(&g->life.notify, g->drains ? "STOPPING=1" : "READY=1");
    }
    if (!l->askers && l->result < 0)
        log_err(&l->err);
    for (struct asker *a; (a = l->askers);) {
        struct http_request *request = a->request;
        leave(a);
        if (l->result < 0)
            http_local_answer_error(request, &l->err);
        else
            http_local_answer(request, 200, &body);
    }
}

static void
begin(struct gateway *g, struct reload *l)
{
    g->reload = l;
    l->before = g->config;
    work_start_alone(g->life.loop, &l->work);
}

/* At the end nothing is taken up any more: whoever asked has gone. */
static void
on_read(struct work *work, bool cancelled unused_arg)
{
    struct reload *l = container_of(work, struct reload, work);
    struct gateway *g = l->gateway;
    if (!g->has_ended)
        conclude(g, l);
    forget(l);
    g->reload = NULL;
    if (g->waiting_reload)
        begin(g, take_ptr(g->waiting_reload));
}

static struct reload *
make(struct gateway *g)
{
    struct reload *l = mem_new(struct reload);
    l->gateway = g;
    l->last = &l->askers;
    l->work = (struct work){.run = on_run, .done = on_read};
    return l;
}

void
gateway_reload(struct gateway *g, struct http_request *r)
{
    if (!g->reload)
        begin(g, make(g));
    else if (!g->waiting_reload)
        g->waiting_reload = make(g);
    join(g->waiting_reload ? g->waiting_reload : g->reload, r);
}
