/* The shim's own socket: a few paths, for root and for the account that runs it. */

#include "run/run.h"
#include "run/shim_int.h"

#include "config/reread.h"
#include "fmt/json.h"
#include "http/local.h"
#include "sys/log.h"
#include "sys/sock.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define BODY_MAX (64 * KIB)
#define RELOAD_MAX (4 * MIB) /* two texts for each option of a model */

void
control_answer_state(struct shim *s, struct http_request *r)
{
    _cleanup_buf_ struct buf body = BUF_INIT(BODY_MAX);
    run_state_print(&s->state, &body);
    http_answer(r, 200, "application/json", body.data, body.len);
}

static void
on_state(struct shim *s, struct http_request *r)
{
    control_answer_state(s, r);
}

static void
on_sleep(struct shim *s, struct http_request *r)
{
    struct err err;
    bool two = http1_is(&r->head, r->head.query, "level=2");
    if (two || r->head.query.len == 0 || http1_is(&r->head, r->head.query, "level=1")) {
        sleep_begin(s, r, two ? 2 : 1);
        return;
    }
    (void)err_set(&err, ERR_VALUE, "'%.*s' is not how deep it shall sleep", (int)r->head.query.len,
                  r->head.bytes + r->head.query.at);
    err_fix(&err, "level=1 or level=2");
    http_local_answer_error(r, &err);
}

static void
on_wake(struct shim *s, struct http_request *r)
{
    sleep_wake(s, r);
}

static void
on_drain(struct shim *s, struct http_request *r)
{
    leave_drained(s);
    control_answer_state(s, r);
}

/* Of what a model reads, that is how much is told; for the rest it would have to start anew. A supervisor
 * to whom it is ready hears of it. */
static void
take_up(struct shim *s, struct config *now)
{
    bool ready = s->state.phase >= RUN_READY && s->state.phase < RUN_DRAINING;
    if (ready)
        notify_reloading(&s->notify);
    config_set_log_level(now);
    config_free(s->latest);
    s->latest = now;
    if (ready)
        notify_state(&s->notify, "READY=1");
}

static void
on_reload(struct shim *s, struct http_request *r)
{
    _cleanup_config_reread_ struct config_reread reread = {0};
    _cleanup_buf_ struct buf body = BUF_INIT(RELOAD_MAX);
    struct json_writer w;
    struct err err = {0};
    const struct config *before = s->latest ? s->latest : s->config;
    if (config_reread(before, s->model->name, &reread, &err) < 0) {
        http_local_answer_error(r, &err);
        return;
    }
    json_init(&w, &body, false);
    config_reread_print(&reread, &w);
    if (!reread.restart)
        take_up(s, take_ptr(reread.config));
    http_answer(r, buf_error(&body) < 0 ? 500 : 200, "application/json", body.data, body.len);
}

static const struct {
    enum http_method method;
    const char *path;
    void (*take)(struct shim *s, struct http_request *r);
} paths[] = {
    {HTTP_GET, "/state", on_state},    {HTTP_POST, "/sleep", on_sleep},
    {HTTP_POST, "/wake", on_wake},     {HTTP_POST, "/drain", on_drain},
    {HTTP_POST, "/reload", on_reload},
};

static void
on_finished(struct http_request *r, bool answered unused_arg)
{
    struct shim *s = r->arg;
    for (size_t i = 0; i < SHIM_ASKERS_MAX; i++)
        if (s->askers[i] == r)
            s->askers[i] = NULL; /* it goes on without them */
}

static void
on_request(struct http_request *r)
{
    static const struct http_request_ops ops = {.finished = on_finished};
    struct shim *s = r->arg;
    struct err err;
    r->ops = &ops;
    if (!http_local_admits(r, HTTP_LOCAL_OWN))
        return;
    for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
        if (r->head.method == paths[i].method && http1_is(&r->head, r->head.path, paths[i].path)) {
            paths[i].take(s, r);
            return;
        }
    (void)err_set(&err, ERR_NOT_FOUND,
                  "there is GET /state, and POST /sleep, /wake, /drain and /reload; nothing else");
    http_local_answer_error(r, &err);
}

int
control_open(struct shim *s, struct err *reterr)
{
    const struct http_service service = {.request = on_request, .arg = s};
    struct http_server_config config = http_server_config_default;
    struct sock_addr addr;
    const char *text = arena_printf(&s->arena, "unix:%s/" RUN_SOCKET_NAME, s->dir);
    s->socket_path = text ? text + strlen("unix:") : NULL;
    int r = text ? sock_addr_parse(text, &addr, reterr) : -ENOMEM;
    int fd = r < 0 ? r : sock_listen(&addr, 0600, reterr);
    if (fd < 0)
        return fd;
    config.connections_max = 64;
    config.body_bytes_max = config.content_bytes_max = BODY_MAX;
    config.answer_bytes_max = RELOAD_MAX + BODY_MAX;
    s->server = http_server_new(s->loop, &config, &service);
    return http_server_listen(s->server, fd, reterr);
}

void
control_close(struct shim *s)
{
    if (!s->server)
        return;
    (void)unlink(s->socket_path); /* while we are still the only one */
    http_server_free(s->server);
    s->server = NULL;
}
