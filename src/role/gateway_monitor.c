/* What the gateway has from the monitor: how the models are, asked for in the background, and that
 * one is brought which is needed. Without a monitor what requests find out counts, after a while in
 * which it may come back. */

#include "role/gateway_int.h"

#include "api/operations.h"
#include "base/mem.h"
#include "config/config.h"
#include "fmt/json.h"
#include "gateway/backend.h"
#include "http/client.h"
#include "http/local.h"
#include "run/state.h"
#include "service/service.h"

#include <stdio.h>
#include <stdlib.h>

#define ANSWER_BYTES_MAX (4 * MIB)
#define TREE_BYTES_MAX (64 * MIB)
#define ANSWER_US UINT64_C(5000000)
#define LOOK_US UINT64_C(2000000)
#define LOOK_SOON_US UINT64_C(250000) /* while requests wait for a model, or nobody was heard yet */
#define SLOTS_MAX 65536               /* as max_num_seqs may be */
#define SILENCE_US UINT64_C(10000000) /* what was said so long ago is nothing any more */

/* One that was asked for. */
struct wanted {
    struct gateway_monitor *monitor;
    char name[TEXT_NAME_MAX + 1];
    bool is_due; /* to be asked for once more, when the monitor is heard again */
};

static void ask_again(struct gateway_monitor *m);

/* ---- what it says of one ---- */

static const enum presence_state presences[SERVICE_STATE_COUNT] = {
    [SERVICE_STOPPED] = PRESENCE_COLD,    [SERVICE_WAITING] = PRESENCE_COMING,
    [SERVICE_STARTING] = PRESENCE_COMING, [SERVICE_READY] = PRESENCE_THERE,
    [SERVICE_STOPPING] = PRESENCE_AWAY,   [SERVICE_BACKING_OFF] = PRESENCE_COMING,
    [SERVICE_NOT_NOW] = PRESENCE_COLD,    [SERVICE_FAILED] = PRESENCE_COLD,
};

/* An engine that is up may still not answer. */
static enum presence_state
of_phase(const char *phase)
{
    if (text_eq(phase, run_phase_word(RUN_WAKING)))
        return PRESENCE_COMING;
    if (text_eq(phase, run_phase_word(RUN_SLEEPING)) ||
        text_eq(phase, run_phase_word(RUN_FALLING_ASLEEP)))
        return PRESENCE_AWAY;
    return PRESENCE_THERE;
}

static bool
read_presence(const struct value *v, struct service_status *status, struct presence *ret)
{
    const char *phase = value_str(value_get(v, "phase")), *waits = value_str(value_get(v, "waits"));
    bool ordered = false;
    if (!service_status_read(v, status))
        return false;
    (void)value_bool(value_get(v, "ordered"), &ordered);
    ret->state = presences[status->state];
    if (ret->state == PRESENCE_COLD && ordered)
        ret->state = PRESENCE_COMING;
    if (ret->state == PRESENCE_THERE && phase)
        ret->state = of_phase(phase);
    const char *why = status->reason[0]                ? status->reason
                      : ret->state == PRESENCE_COMING  ? status->status
                      : waits                          ? waits
                      : status->state == SERVICE_READY ? phase
                                                       : service_state_word(status->state);
    (void)snprintf(ret->why, sizeof(ret->why), "%s", ret->state == PRESENCE_THERE ? "" : why);
    ret->slots = MIN(value_u32(value_get(v, "slots")), SLOTS_MAX);
    return true;
}

/* ---- looking ---- */

static const struct value *
find(const struct value *list, const char *name)
{
    for (const struct value *v = list ? list->first : NULL; v; v = v->next)
        if (text_eq(value_str(value_get(v, "name")), name))
            return v;
    return NULL;
}

/* list: NULL: nobody says anything. A monitor that has just started does not know them all yet. */
static void
tell_backends(struct gateway_monitor *m, const struct value *list)
{
    struct relay *relay = m->gateway->relay;
    for (size_t i = 0; i < relay_backend_count(relay); i++) {
        struct backend *b = relay_backend_at(relay, i);
        const struct value *v = b && !backend_is_peer(b) ? find(list, backend_name(b)) : NULL;
        struct service_status status;
        struct presence presence = {0};
        if (!b || backend_is_peer(b) || (list && !v))
            continue;
        if (v && !read_presence(v, &status, &presence))
            presence = (struct presence){0};
        backend_set_presence(b, &presence, list ? &m->asker : NULL);
    }
}

static void
look_again(struct gateway_monitor *m)
{
    const struct relay *relay = m->gateway->relay;
    bool awaited = !m->was_heard;
    for (size_t i = 0; i < relay_backend_count(relay) && !awaited; i++) {
        const struct backend *b = relay_backend(relay, i);
        awaited = b && backend_queue(b)->waiting && backend_presence(b)->state != PRESENCE_THERE;
    }
    loop_timer_start(m->gateway->life.loop, &m->again, awaited ? LOOK_SOON_US : LOOK_US, 0);
}

/* False: it says nothing that we understand. */
static bool
hear(struct gateway_monitor *m, const struct buf *body)
{
    _cleanup_arena_ struct arena arena;
    struct value *answer = NULL;
    arena_init(&arena, TREE_BYTES_MAX);
    if (json_parse(&arena, body->data, body->len, JSON_STRICT, &answer, NULL, NULL) < 0)
        return false;
    const struct value *list = value_get(answer, "services");
    if (!list || list->type != VALUE_LIST)
        return false;
    m->heard_us = loop_now_us(m->gateway->life.loop);
    m->was_heard = true;
    tell_backends(m, list);
    ask_again(m);
    return true;
}

static void
on_looked(struct http_call *call, const struct err *error)
{
    struct gateway_monitor *m = call->user;
    m->look = NULL;
    bool heard = !error && call->head.status == 200 && hear(m, &call->content);
    if (!heard && m->heard_us && loop_now_us(m->gateway->life.loop) - m->heard_us > SILENCE_US) {
        m->heard_us = 0;
        tell_backends(m, NULL);
    }
    look_again(m);
}

static struct http_call *
call(struct gateway_monitor *m, enum operation_id id, const char *name,
     const struct http_call_ops *ops, void *user)
{
    _cleanup_free_ char *target =
        mem_printf("/%s%s%s", operations[id].path, name ? "/" : "", name ? name : "");
    struct http_call *made =
        http_call_new(m->client, http_method_name(operations[id].method), target, ops, user);
    http_call_whole(made, NULL, 0);
    return made;
}

static void
look(struct gateway_monitor *m)
{
    static const struct http_call_ops ops = {.finished = on_looked};
    loop_timer_stop(&m->again);
    if (m->look)
        http_call_cancel(m->look); /* what it would tell is older */
    m->look = call(m, OPERATION_SERVICES, NULL, &ops, m);
}

void
gateway_monitor_look(struct gateway *g)
{
    if (g->monitor.client)
        look(&g->monitor);
}

static void
on_again(struct loop_timer *timer)
{
    look(container_of(timer, struct gateway_monitor, again));
}

/* ---- asking for a model ---- */

static struct backend *
find_backend(struct relay *relay, const char *name)
{
    for (size_t i = 0; i < relay_backend_count(relay); i++) {
        struct backend *b = relay_backend_at(relay, i);
        if (b && !backend_is_peer(b) && text_eq(backend_name(b), name))
            return b;
    }
    return NULL;
}

static void
forget(struct gateway_monitor *m, struct wanted *wanted)
{
    size_t i = 0;
    while (m->wanted.items[i] != wanted)
        i++;
    m->wanted.items[i] = m->wanted.items[--m->wanted.count];
    free(wanted);
}

static void
on_asked(struct http_call *call, const struct err *error)
{
    struct wanted *wanted = call->user;
    struct gateway_monitor *m = wanted->monitor;
    struct backend *b = find_backend(m->gateway->relay, wanted->name);
    struct err why = {0};
    if (!error && call->head.status >= 300)
        (void)!http_local_read_error("the monitor", call->head.status, call->content.data,
                                     call->content.len, &why);
    /* One that has just ended, or does not know its services yet. */
    wanted->is_due = error || why.id == ERR_SERVICE_NONE;
    if (!wanted->is_due) {
        if (b)
            backend_was_asked(b, why.id == ERR_NONE ? NULL : &why);
        forget(m, wanted);
    }
    look(m);
}

static void
send_wish(struct gateway_monitor *m, struct wanted *wanted)
{
    static const struct http_call_ops ops = {.finished = on_asked};
    wanted->is_due = false;
    (void)call(m, OPERATION_ENSURE, wanted->name, &ops, wanted);
}

/* Those for which nobody waits any more are forgotten. */
static void
ask_again(struct gateway_monitor *m)
{
    for (size_t i = m->wanted.count; i-- > 0;) {
        struct wanted *wanted = m->wanted.items[i];
        struct backend *b = find_backend(m->gateway->relay, wanted->name);
        if (!wanted->is_due)
            continue;
        if (b && backend_is_asked_for(b) && backend_queue(b)->waiting) {
            send_wish(m, wanted);
            continue;
        }
        struct err why;
        (void)err_set(&why, ERR_MODEL_AWAY, "%s is not there, and the monitor does not know it",
                      wanted->name);
        if (b)
            backend_was_asked(b, &why);
        forget(m, wanted);
    }
}

static void
ask(void *arg, const char *name)
{
    struct gateway_monitor *m = arg;
    struct wanted *wanted = mem_new(struct wanted);
    wanted->monitor = m;
    (void)snprintf(wanted->name, sizeof(wanted->name), "%s", name);
    vec_push(&m->wanted, wanted);
    send_wish(m, wanted);
}

/* ---- a life ---- */

int
gateway_monitor_open(struct gateway *g, struct err *reterr)
{
    struct gateway_monitor *m = &g->monitor;
    struct http_client_config config = http_client_config_default;
    _cleanup_free_ char *address =
        mem_printf("unix:%s/" SERVICE_MONITOR_SOCKET, g->config->paths.run);
    if (!g->config->monitor.enabled)
        return 0;
    m->gateway = g;
    m->asker = (struct presence_asker){ask, m};
    m->again.expired = on_again;
    config.body_bytes_max = ANSWER_BYTES_MAX;
    config.idle_max = 1;
    config.total_us = ANSWER_US;
    int r = http_client_new(g->life.loop, address, "localhost", &config, &m->client, reterr);
    if (r == 0)
        look(m);
    return r;
}

void
gateway_monitor_close(struct gateway *g)
{
    struct gateway_monitor *m = &g->monitor;
    if (!m->client)
        return;
    loop_timer_stop(&m->again);
    http_client_free(m->client);
    vec_foreach (&m->wanted, at)
        free(*at);
    vec_finish(&m->wanted);
}
