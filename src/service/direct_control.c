/* The supervisor's control socket. */

#include "service/direct_int.h"

#include "base/mem.h"
#include "fmt/json.h"
#include "sys/sock.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BODY_MAX (4 * MIB)
#define LINES_MAX 100000
#define FOLLOWERS_MAX 16 /* of a service */

static void
answer_error(struct http_request *r, const struct err *err)
{
    _cleanup_buf_ struct buf body = BUF_INIT(BODY_MAX);
    const struct err_row *row = err_row(err->id);
    struct json_writer w;
    json_init(&w, &body, false);
    json_open_map(&w, NULL);
    json_str(&w, "id", row->name);
    json_str(&w, "what", err->what);
    json_str(&w, "fix", err->fix[0] ? err->fix : NULL);
    json_u64(&w, "exit", row->exit);
    json_close_map(&w);
    http_answer(r, (unsigned)row->http_status, "application/json", body.data, body.len);
}

static void
answer_services(struct direct *d, struct http_request *r)
{
    _cleanup_buf_ struct buf body = BUF_INIT(BODY_MAX);
    struct json_writer w;
    json_init(&w, &body, false);
    json_open_map(&w, NULL);
    json_str(&w, "containment", contain_word(d->contain.kind));
    json_str(&w, "promise", contain_promise(d->contain.kind));
    json_u64(&w, "pid", (uint64_t)getpid());
    json_open_list(&w, "services");
    for (size_t i = 0; i < d->config.count; i++)
        service_status_print(&d->units[i].status, &w);
    json_close_list(&w);
    json_close_map(&w);
    http_answer(r, 200, "application/json", body.data, body.len);
}

/* ---- logs ---- */

/* lines=N and follow=1, in any order; false for anything else. */
static bool
read_query(const char *at, size_t len, size_t *ret_lines, bool *ret_follow)
{
    while (len) {
        const char *amp = memchr(at, '&', len);
        size_t part = amp ? (size_t)(amp - at) : len;
        if (part > 6 && part < 14 && memcmp(at, "lines=", 6) == 0) {
            *ret_lines = strtoul(at + 6, NULL, 10); /* ends at '&' or the blank behind the target */
        } else if (part == 8 && memcmp(at, "follow=1", 8) == 0) {
            *ret_follow = true;
        } else {
            return false;
        }
        at += part + (amp != NULL);
        len -= part + (amp != NULL);
    }
    return *ret_lines <= LINES_MAX;
}

static void
follow(struct unit *u, struct http_request *r)
{
    struct follower *f = mem_new(struct follower);
    f->request = r;
    f->next = u->followers;
    u->followers = f;
}

static void
unfollow(struct direct *d, const struct http_request *r)
{
    for (size_t i = 0; i < d->config.count; i++)
        for (struct follower **f = &d->units[i].followers; *f;) {
            struct follower *gone = *f;
            if (gone->request != r) {
                f = &gone->next;
                continue;
            }
            *f = gone->next;
            free(gone);
        }
}

/* One that cannot keep up loses its connection when the server's ceiling is reached. */
void
direct_control_feed(struct unit *u, const struct buf *lines)
{
    for (struct follower *f = u->followers, *next; f; f = next) {
        next = f->next;
        (void)http_answer_write(f->request, lines->data, lines->len);
    }
}

static size_t
count_followers(const struct unit *u)
{
    size_t count = 0;
    for (const struct follower *f = u->followers; f; f = f->next)
        count++;
    return count;
}

static void
answer_log(struct unit *u, struct http_request *r)
{
    _cleanup_buf_ struct buf text = BUF_INIT(BODY_MAX);
    size_t lines = 100;
    bool goes_on = false;
    struct err err;
    if (!read_query(r->head.bytes + r->head.query.at, r->head.query.len, &lines, &goes_on)) {
        (void)err_set(&err, ERR_VALUE, "the query may be lines=0 to %d, and follow=1", LINES_MAX);
        answer_error(r, &err);
        return;
    }
    if (goes_on && count_followers(u) == FOLLOWERS_MAX) {
        (void)err_set(&err, ERR_SERVICE_BUSY, "%d follow the log of %s already", FOLLOWERS_MAX,
                      u->service->name);
        answer_error(r, &err);
        return;
    }
    log_file_tail(u->service->log_path, lines, &text);
    if (!goes_on) {
        http_answer(r, 200, "text/plain; charset=utf-8", text.data, text.len);
        return;
    }
    http_answer_begin(r, 200);
    http_answer_field(r, "Content-Type", "text/plain; charset=utf-8");
    http_answer_stream(r);
    if (text.len)
        (void)http_answer_write(r, text.data, text.len);
    follow(u, r);
}

/* ---- start, stop, restart ---- */

static bool
act(struct unit *u, const char *verb, size_t len)
{
    if (len == 5 && memcmp(verb, "start", 5) == 0)
        unit_want(u, true);
    else if (len == 4 && memcmp(verb, "stop", 4) == 0)
        unit_want(u, false);
    else if (len == 7 && memcmp(verb, "restart", 7) == 0)
        unit_restart(u);
    else
        return false;
    return true;
}

static const char *
candidate(size_t i, const void *arg)
{
    const struct direct *d = arg;
    return i < d->config.count ? d->units[i].service->name : NULL;
}

static void
answer_no_service(struct direct *d, struct http_request *r, const char *name, size_t len)
{
    struct err err;
    char text[TEXT_NAME_MAX + 1] = "";
    memcpy(text, name, MIN(len, sizeof(text) - 1));
    (void)err_set(&err, ERR_SERVICE_NONE, "there is no service '%s'", text);
    const char *nearest = text_nearest(text, candidate, d);
    if (nearest)
        err_fix(&err, "did you mean %s?", nearest);
    else
        err_fix(&err, "see `citadel status`");
    answer_error(r, &err);
}

static void
answer_no_path(struct http_request *r)
{
    struct err err;
    (void)err_set(&err, ERR_NOT_FOUND,
                  "there is GET /services and /services/NAME/log, POST "
                  "/services/NAME/start|stop|restart and /stop; nothing else");
    answer_error(r, &err);
}

/* "/services/NAME/VERB" */
static void
answer_service(struct direct *d, struct http_request *r)
{
    static const char start[] = "/services/";
    const char *path = r->head.bytes + r->head.path.at;
    size_t left = r->head.path.len - (sizeof(start) - 1);
    const char *name = path + sizeof(start) - 1;
    const char *slash = memchr(name, '/', left);
    size_t len = slash ? (size_t)(slash - name) : left;
    const char *verb = slash ? slash + 1 : NULL;
    size_t verb_len = slash ? left - len - 1 : 0;
    bool all = len == 3 && memcmp(name, "all", 3) == 0;
    struct unit *u = direct_find(d, name, len);
    bool is_post = r->head.method == HTTP_POST, known = false;
    if (!u && !all) {
        answer_no_service(d, r, name, len);
        return;
    }
    if (u && r->head.method == HTTP_GET && verb_len == 3 && memcmp(verb, "log", 3) == 0) {
        answer_log(u, r);
        return;
    }
    if (u)
        known = is_post && verb && act(u, verb, verb_len);
    for (size_t i = 0; !u && is_post && verb && i < d->config.count; i++)
        known = act(&d->units[i], verb, verb_len);
    if (known)
        answer_services(d, r);
    else
        answer_no_path(r);
}

static bool
is_allowed(struct http_request *r)
{
    struct sock_peer peer;
    return sock_peer(http_request_fd(r), &peer) == 0 && (peer.uid == 0 || peer.uid == geteuid());
}

static void
on_finished(struct http_request *r, bool answered unused_arg)
{
    unfollow(r->arg, r);
}

static bool
begins(const struct http_request *r, const char *start)
{
    return r->head.path.len > strlen(start) &&
           memcmp(r->head.bytes + r->head.path.at, start, strlen(start)) == 0;
}

static void
on_request(struct http_request *r)
{
    static const struct http_request_ops ops = {.finished = on_finished};
    struct direct *d = r->arg;
    struct err err;
    r->ops = &ops;
    if (!is_allowed(r)) {
        (void)err_set(&err, ERR_NOT_PERMITTED, "only root and user %u may ask", geteuid());
        answer_error(r, &err);
    } else if (r->head.method == HTTP_GET && http1_is(&r->head, r->head.path, "/services")) {
        answer_services(d, r);
    } else if (r->head.method == HTTP_POST && http1_is(&r->head, r->head.path, "/stop")) {
        direct_stop_all(d);
        answer_services(d, r);
    } else if (begins(r, "/services/")) {
        answer_service(d, r);
    } else {
        answer_no_path(r);
    }
}

int
direct_control_open(struct direct *d, struct err *reterr)
{
    const struct http_service service = {.request = on_request, .arg = d};
    struct http_server_config config = http_server_config_default;
    _cleanup_free_ char *text = mem_printf("unix:%s/" DIRECT_SOCKET_NAME, d->config.run_dir);
    struct sock_addr addr;
    int r = sock_addr_parse(text, &addr, reterr);
    int fd = r < 0 ? r : sock_listen(&addr, 0600, reterr);
    if (fd < 0)
        return fd;
    d->socket_path = mem_strdup(addr.path);
    config.connections_max = 64;
    config.body_bytes_max = config.content_bytes_max = 64 * KIB;
    config.answer_bytes_max = 2 * BODY_MAX;
    d->server = http_server_new(d->loop, &config, &service);
    return http_server_listen(d->server, fd, reterr);
}

void
direct_control_close(struct direct *d)
{
    if (d->server)
        http_server_free(d->server);
    d->server = NULL;
    if (d->socket_path)
        (void)unlink(d->socket_path);
    free(d->socket_path);
    d->socket_path = NULL;
}
