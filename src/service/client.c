#include "service/client.h"

#include "base/buf.h"
#include "base/mem.h"
#include "fmt/json.h"
#include "http/fetch.h"
#include "run/run.h"
#include "service/direct.h"

#include <errno.h>
#include <stdio.h>

#define BODY_MAX (4 * MIB)
#define TREE_MAX (64 * MIB)

static int
fetch(const char *socket_path, const char *method, const char *target, struct buf *body,
      struct err *reterr)
{
    _cleanup_free_ char *address = mem_printf("unix:%s", socket_path);
    const struct http_fetch wish = {
        .address = address, .host = "localhost", .method = method, .target = target};
    unsigned status;
    int r = http_fetch(&wish, &status, body, reterr);
    return r < 0 ? r : (int)status;
}

/* What the other side told as its error, as our own. */
static int
take_error(struct arena *arena, const struct buf *body, unsigned status, struct err *reterr)
{
    struct value *root;
    const char *id = NULL, *what = NULL, *fix = NULL;
    enum err_id own = ERR_HTTP_ANSWER;
    if (json_parse(arena, body->data, body->len, JSON_STRICT, &root, NULL, NULL) == 0) {
        id = value_str(value_get(root, "id"));
        what = value_str(value_get(root, "what"));
        fix = value_str(value_get(root, "fix"));
    }
    for (enum err_id i = ERR_NONE + 1; id && i < ERR_COUNT; i++)
        if (text_eq(err_row(i)->name, id))
            own = i;
    int r = what ? err_set(reterr, own, "%s", what)
                 : err_set(reterr, own, "the supervisor answered %u", status);
    if (fix)
        err_fix(reterr, "%s", fix);
    return r;
}

static int
ask(const char *run_dir, const char *method, const char *target, struct arena *arena,
    struct value **ret_root, struct err *reterr)
{
    _cleanup_free_ char *path = mem_printf("%s/" DIRECT_SOCKET_NAME, run_dir);
    _cleanup_buf_ struct buf body = BUF_INIT(BODY_MAX);
    struct err err = {0};
    int status = fetch(path, method, target, &body, &err);
    if (status == -ENOENT || status == -ECONNREFUSED || err.id == ERR_HTTP_CONNECT) {
        int r = err_set(reterr, ERR_SERVICE_DOWN, "no supervisor answers at %s", path);
        err_fix(reterr, "citadel up");
        return r;
    }
    if (status < 0) {
        if (reterr)
            *reterr = err;
        return status;
    }
    if (status != 200)
        return take_error(arena, &body, (unsigned)status, reterr);
    return json_parse(arena, body.data, body.len, JSON_STRICT, ret_root, NULL, reterr);
}

/* A shim that does not answer is not there: its supervisor knows more. */
static void
ask_shim(const char *run_dir, struct service_seen *seen)
{
    _cleanup_free_ char *path =
        mem_printf("%s/models/%s/" RUN_SOCKET_NAME, run_dir, seen->status.name);
    _cleanup_buf_ struct buf body = BUF_INIT(256 * KIB);
    if (seen->status.pid && fetch(path, "GET", "/state", &body, NULL) == 200)
        seen->has_run = run_state_parse(body.data, body.len, &seen->run, NULL) == 0;
}

int
service_view_read(const char *run_dir, struct service_view *ret_view, struct err *reterr)
{
    _cleanup_arena_ struct arena arena;
    struct service_view view = {0};
    struct value *root;
    uint64_t pid = 0;
    arena_init(&arena, TREE_MAX);
    int r = ask(run_dir, "GET", "/services", &arena, &root, reterr);
    if (r < 0)
        return r;
    const char *containment = value_str(value_get(root, "containment"));
    (void)snprintf(view.containment, sizeof(view.containment), "%s",
                   containment ? containment : "");
    (void)value_u64(value_get(root, "pid"), &pid);
    view.pid = pid <= INT32_MAX ? (unsigned)pid : 0;
    const struct value *services = value_get(root, "services");
    for (const struct value *v = services ? services->first : NULL; v; v = v->next) {
        struct service_seen *seen = vec_add(&view.items);
        if (!service_status_read(v, &seen->status)) {
            service_view_finish(&view);
            return err_set(reterr, ERR_HTTP_ANSWER,
                           "the supervisor tells of services in a way that is not known here");
        }
        ask_shim(run_dir, seen);
    }
    *ret_view = view;
    return 0;
}

void
service_view_finish(struct service_view *view)
{
    vec_finish(&view->items);
}

const struct service_seen *
service_view_find(const struct service_view *view, const char *name)
{
    vec_foreach (&view->items, seen)
        if (text_eq(seen->status.name, name))
            return seen;
    return NULL;
}

bool
service_is_healthy(const struct service_seen *seen, const char **ret_why)
{
    const struct service_status *s = &seen->status;
    bool troubled = seen->has_run && seen->run.phase == RUN_DEGRADED;
    *ret_why = s->reason[0] ? s->reason : s->status[0] ? s->status : service_state_word(s->state);
    if (troubled && seen->run.why.id != ERR_NONE)
        *ret_why = seen->run.why.what;
    return (s->state == SERVICE_READY && !troubled) || s->state == SERVICE_STOPPED;
}

int
service_ask(const char *run_dir, const char *name, const char *verb, struct err *reterr)
{
    _cleanup_arena_ struct arena arena;
    _cleanup_free_ char *target = mem_printf("/services/%s/%s", name, verb);
    struct value *root;
    arena_init(&arena, TREE_MAX);
    return MIN(ask(run_dir, "POST", target, &arena, &root, reterr), 0);
}
