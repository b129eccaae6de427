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

/* One is under way at a time: each reads what is there when it was asked for. */
struct reload {
    struct gateway *gateway;
    struct http_request *request; /* NULL: nobody waits for the answer */
    struct reload *next;
    struct loop_timer patience;

    /* the work's, while it runs */
    struct work work;
    const struct config *before;
    struct config_reread reread;
    struct gateway_papers papers;
    int result;
    struct err err;
};

/* ---- on the thread ---- */

static void
on_run(struct work *work)
{
    struct reload *l = container_of(work, struct reload, work);
    l->result = config_reread(l->before, SERVICE_GATEWAY, &l->reread, &l->err);
    if (l->result == 0 && !l->reread.restart)
        l->result = gateway_papers_read(l->reread.config, &l->papers, &l->err);
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
    if (!l->request && l->result < 0)
        log_err(&l->err);
    else if (l->request && l->result < 0)
        http_local_answer_error(l->request, &l->err);
    else if (l->request)
        http_local_answer(l->request, 200, &body);
}

/* ---- one after the other ---- */

static void
leave(struct reload *l)
{
    loop_timer_stop(&l->patience);
    if (l->request)
        l->request->user = NULL;
    l->request = NULL;
}

static void
forget(struct reload *l)
{
    leave(l);
    gateway_papers_finish(&l->papers); /* which may be of its configuration */
    config_reread_finish(&l->reread);
    free(l);
}

static void
begin(struct gateway *g)
{
    struct reload *l = g->reloads;
    if (!l)
        return;
    l->before = g->config;
    work_start_alone(g->life.loop, &l->work);
}

/* At the end nothing is taken up any more. */
static void
on_read(struct work *work, bool cancelled unused_arg)
{
    struct reload *l = container_of(work, struct reload, work);
    struct gateway *g = l->gateway;
    if (!g->has_ended)
        conclude(g, l);
    do {
        g->reloads = l->next;
        forget(l);
    } while (g->has_ended && (l = g->reloads));
    begin(g);
}

static void
on_late(struct loop_timer *timer)
{
    struct reload *l = container_of(timer, struct reload, patience);
    const char *file = l->gateway->config->name;
    struct err late;
    (void)err_set(&late, ERR_STORAGE_FAILED,
                  "%s, or a file that it names, is not read after %u s: its disk hangs", file,
                  (unsigned)(PATIENCE_US / 1000000));
    err_fix(&late, "see to that disk; what was read before holds until it answers");
    http_local_answer_error(l->request, &late);
    leave(l);
}

static void
on_asker_gone(struct http_request *r, bool answered unused_arg)
{
    if (r->user)
        leave(r->user);
}

void
gateway_reload(struct gateway *g, struct http_request *r)
{
    static const struct http_request_ops ops = {.finished = on_asker_gone};
    struct reload *l = mem_new(struct reload), **last = &g->reloads;
    *l = (struct reload){.gateway = g,
                         .request = r,
                         .patience = {.expired = on_late},
                         .work = {.run = on_run, .done = on_read}};
    r->ops = &ops;
    r->user = l;
    while (*last)
        last = &(*last)->next;
    *last = l;
    loop_timer_start(g->life.loop, &l->patience, PATIENCE_US, 0);
    if (g->reloads == l)
        begin(g);
}
