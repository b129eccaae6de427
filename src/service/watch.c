#include "service/watch_int.h"

#include "base/mem.h"
#include "config/config.h"
#include "service/systemd.h"

#include <stdio.h>
#include <stdlib.h>

const char *
service_order_word(enum service_order order)
{
    static const char *const words[] = {
#define ORDER(name, word, help) [SERVICE_ORDER_##name] = (word),
        SERVICE_ORDERS(ORDER)
#undef ORDER
    };
    return words[order];
}

void
watch_tell_seen(struct service_watch *w, const struct service_view *view)
{
    w->lost = false;
    if (!w->closed)
        w->ops->seen(w->arg, view);
}

void
watch_tell_lost(struct service_watch *w, const struct err *why)
{
    bool before = w->lost;
    w->lost = true;
    if (!before && !w->closed)
        w->ops->lost(w->arg, why);
}

/* Of our own supervisor where one answers, as for the verbs; else of systemd. */
static const struct service_watch_kind *
choose(const struct config *config)
{
    _cleanup_service_view_ struct service_view view = {0};
    bool ours = !systemd_is_here() || service_view_read(config->paths.run, &view, NULL) == 0;
    return ours ? &service_watch_direct : &service_watch_systemd;
}

int
service_watch_new(struct loop *loop, const struct config *config,
                  const struct service_watch_ops *ops, void *arg, struct service_watch **ret_watch,
                  struct err *reterr)
{
    struct service_watch *w = mem_new(struct service_watch);
    *w = (struct service_watch){
        .loop = loop, .config = config, .ops = ops, .arg = arg, .kind = choose(config)};
    int r = w->kind->open(w, reterr);
    if (r < 0) {
        free(w);
        return r;
    }
    *ret_watch = w;
    return 0;
}

void
watch_let_go(struct service_watch *w)
{
    if (--w->under_way == 0 && w->closed)
        free(w);
}

void
service_watch_free(struct service_watch *w)
{
    w->closed = true;
    w->under_way++;
    w->kind->close(w);
    watch_let_go(w);
}

bool
service_watch_is_by_systemd(const struct service_watch *w)
{
    return w->kind == &service_watch_systemd;
}

void
service_watch_configure(struct service_watch *w, const struct config *config)
{
    w->config = config;
    w->kind->look(w);
}

bool
service_watch_is_idle(const struct service_watch *w)
{
    return w->under_way == 0;
}

void
service_watch_look(struct service_watch *w)
{
    w->kind->look(w);
}

/* ---- orders ---- */

void
service_watch_order(struct service_watch *w, const char *name, enum service_order order)
{
    struct order *o = mem_new(struct order);
    *o = (struct order){.next = w->orders, .watch = w, .order = order};
    (void)snprintf(o->name, sizeof(o->name), "%s", name);
    w->orders = o;
    w->under_way++;
    w->kind->give(o);
}

void
watch_order_done(struct order *o)
{
    struct service_watch *w = o->watch;
    struct order **at = &w->orders;
    while (*at != o)
        at = &(*at)->next;
    *at = o->next;
    if (!w->closed)
        w->ops->ordered(w->arg, o->name, o->order, &o->err);
    free(o);
    watch_let_go(w);
}
