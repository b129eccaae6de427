#include "service/client.h"

#include "base/buf.h"
#include "base/mem.h"
#include "fmt/json.h"
#include "http/fetch.h"
#include "http/local.h"
#include "run/run.h"
#include "service/direct.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define BODY_MAX (4 * MIB)
#define TREE_MAX (64 * MIB)
#define SERVICES_MAX 10000
#define SHIM_US (1000 * 1000ULL)

static int
fetch(const char *socket_path, const char *method, const char *target, uint64_t timeout_us,
      struct buf *body, struct err *reterr)
{
    _cleanup_free_ char *address = mem_printf("unix:%s", socket_path);
    const struct http_fetch wish = {.address = address,
                                    .host = "localhost",
                                    .method = method,
                                    .target = target,
                                    .timeout_us = timeout_us};
    unsigned status;
    int r = http_fetch(&wish, &status, body, reterr);
    return r < 0 ? r : (int)status;
}

/* Why nobody answers there. */
static int
explain_silence(const char *path, struct err *reterr)
{
    struct stat st;
    int r;
    if (stat(path, &st) == 0 && geteuid() != 0 && st.st_uid != geteuid()) {
        r = err_set(reterr, ERR_NOT_PERMITTED, "only root and user %u may ask the supervisor at %s",
                    (unsigned)st.st_uid, path);
        err_fix(reterr, "the same with sudo");
        return r;
    }
    r = err_set(reterr, ERR_SERVICE_DOWN, "no supervisor answers at %s", path);
    err_fix(reterr, "citadel up");
    return r;
}

static int
ask(const char *run_dir, const char *method, const char *target, struct arena *arena,
    struct value **ret_root, struct err *reterr)
{
    _cleanup_free_ char *path = mem_printf("%s/" DIRECT_SOCKET_NAME, run_dir);
    _cleanup_buf_ struct buf body = BUF_INIT(BODY_MAX);
    struct err err = {0};
    int status = fetch(path, method, target, 0, &body, &err);
    if (status < 0 && err.id == ERR_HTTP_CONNECT)
        return explain_silence(path, reterr);
    if (status < 0) {
        err_prefix(&err, "the supervisor at %s", path);
        if (reterr)
            *reterr = err;
        return status;
    }
    if (status != 200)
        return http_local_read_error("the supervisor", (unsigned)status, body.data, body.len,
                                     reterr);
    return json_parse(arena, body.data, body.len, JSON_STRICT, ret_root, NULL, reterr);
}

static int
read_view(const struct value *root, struct service_view *ret_view, struct err *reterr)
{
    value_copy_str(value_get(root, "containment"), ret_view->containment,
                   sizeof(ret_view->containment));
    value_copy_str(value_get(root, "promise"), ret_view->promise, sizeof(ret_view->promise));
    ret_view->pid = value_u32(value_get(root, "pid"));
    (void)value_u64(value_get(root, "stopped_us"), &ret_view->stopped_us);
    service_source_read(value_get(root, "source"), &ret_view->source);
    const struct value *list = value_get(root, "services");
    for (const struct value *v = list ? list->first : NULL; v; v = v->next)
        if (ret_view->items.count == SERVICES_MAX ||
            !service_status_read(v, &vec_add(&ret_view->items)->status))
            return err_set(reterr, ERR_HTTP_ANSWER,
                           "the supervisor tells of services in a way that is not known here");
    return 0;
}

int
service_view_parse(const char *text, size_t len, struct service_view *ret_view, struct err *reterr)
{
    _cleanup_arena_ struct arena arena;
    struct value *root = NULL;
    *ret_view = (struct service_view){0};
    arena_init(&arena, TREE_MAX);
    int r = json_parse(&arena, text, len, JSON_STRICT, &root, NULL, reterr);
    return r < 0 ? r : read_view(root, ret_view, reterr);
}

int
service_view_read(const char *run_dir, struct service_view *ret_view, struct err *reterr)
{
    _cleanup_arena_ struct arena arena;
    struct value *root = NULL;
    *ret_view = (struct service_view){0};
    arena_init(&arena, TREE_MAX);
    int r = ask(run_dir, "GET", "/services", &arena, &root, reterr);
    return r < 0 ? r : read_view(root, ret_view, reterr);
}

void
service_view_ask(struct service_view *view, const char *run_dir, const char *name)
{
    vec_foreach (&view->items, seen) {
        if (seen->status.pid == 0 || !text_eq(seen->status.kind, "model") ||
            (name && !text_eq(name, seen->status.name)))
            continue;
        _cleanup_free_ char *path =
            mem_printf("%s/models/%s/" RUN_SOCKET_NAME, run_dir, seen->status.name);
        _cleanup_buf_ struct buf body = BUF_INIT(RUN_STATE_MAX);
        if (access(path, W_OK) < 0 && errno == EACCES)
            continue; /* it would answer others */
        seen->has_run = fetch(path, "GET", "/state", SHIM_US, &body, NULL) == 200 &&
                        run_state_parse(body.data, body.len, &seen->run, NULL) == 0;
        seen->silent = !seen->has_run && seen->status.state == SERVICE_READY;
    }
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

int
service_ask(const char *run_dir, const char *name, const char *verb, struct err *reterr)
{
    _cleanup_arena_ struct arena arena;
    _cleanup_free_ char *target = mem_printf("/services/%s/%s", name, verb);
    struct value *root;
    arena_init(&arena, TREE_MAX);
    return ask(run_dir, "POST", target, &arena, &root, reterr);
}

int
service_ask_read(const char *run_dir, enum service_read what, struct err *reterr)
{
    static const char *const targets[] = {
        [SERVICE_READ_GENERATION] = "/switch", [SERVICE_READ_AGAIN] = "/reload"};
    _cleanup_arena_ struct arena arena;
    struct value *root;
    arena_init(&arena, TREE_MAX);
    return ask(run_dir, "POST", targets[what], &arena, &root, reterr);
}
