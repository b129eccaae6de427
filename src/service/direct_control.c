/* The supervisor's control socket. */

#include "service/direct_int.h"

#include "base/mem.h"
#include "base/quantity.h"
#include "fmt/json.h"
#include "http/local.h"
#include "sys/sock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINES_MAX 100000
#define FOLLOWERS_MAX 16
#define CONNECTIONS_MAX 64 /* some are left when all follow */
#define SERVICES "/services/"

void
direct_control_print(struct direct *d, struct buf *out)
{
    struct json_writer w;
    json_init(&w, out, false);
    json_open_map(&w, NULL);
    json_str(&w, "containment", contain_word(d->contain.kind));
    json_str(&w, "promise", contain_promise(d->contain.kind));
    json_u64(&w, "pid", (uint64_t)getpid());
    if (d->ending_us)
        json_u64(&w, "stopped_us", d->ending_us);
    service_source_print(&d->config.source, &w);
    json_open_list(&w, "services");
    for (size_t i = 0; i < d->units.count; i++) {
        json_open_map(&w, NULL);
        service_status_print(&d->units.items[i]->status, &w);
        json_close_map(&w);
    }
    json_close_list(&w);
    json_close_map(&w);
}

static void
answer_services(struct direct *d, struct http_request *r)
{
    _cleanup_buf_ struct buf body = BUF_INIT(DIRECT_ANSWER_MAX);
    direct_control_print(d, &body);
    http_answer(r, 200, "application/json", body.data, body.len);
}

static void
answer_following(struct direct *d, struct http_request *r)
{
    struct err err;
    if (direct_watch_count(d) < DIRECT_WATCHERS_MAX) {
        direct_watch_begin(d, r);
        return;
    }
    (void)err_set(&err, ERR_SERVICE_BUSY, "%d follow the services already", DIRECT_WATCHERS_MAX);
    err_fix(&err, "citadel status");
    http_local_answer_error(r, &err);
}

/* ---- logs ---- */

/* One who reads what a log gets. What it does not take in time is left out, and it is told so: nobody
 * is kept waiting, and what is kept for it is bounded. */
struct follower {
    struct follower *next;
    struct unit *unit;
    struct http_request *request;
    bool is_slow;
    uint64_t missed_bytes;
};

static bool
read_number(const char *digits, size_t len, size_t *ret_n)
{
    size_t n = 0;
    if (len < 1 || len > 6)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (digits[i] < '0' || digits[i] > '9')
            return false;
        n = n * 10 + (size_t)(digits[i] - '0');
    }
    *ret_n = n;
    return true;
}

/* lines=N and follow=1, in any order; false for anything else. */
static bool
read_query(const char *at, size_t len, size_t *ret_lines, bool *ret_follow)
{
    static const char lines[] = "lines=", follow[] = "follow=1";
    while (len) {
        const char *amp = memchr(at, '&', len);
        size_t part = amp ? (size_t)(amp - at) : len, name = sizeof(lines) - 1;
        if (part == sizeof(follow) - 1 && memcmp(at, follow, part) == 0)
            *ret_follow = true;
        else if (part < name || memcmp(at, lines, name) != 0 ||
                 !read_number(at + name, part - name, ret_lines))
            return false;
        at += part + (amp != NULL);
        len -= part + (amp != NULL);
    }
    return *ret_lines <= LINES_MAX;
}

static void
follow(struct unit *u, struct http_request *r)
{
    struct follower *f = mem_new(struct follower);
    *f = (struct follower){.next = u->followers, .unit = u, .request = r};
    u->followers = f;
    r->user = f;
}

static void
on_finished(struct http_request *r, bool answered unused_arg)
{
    struct follower *f = r->user;
    if (!f)
        return;
    struct follower **at = &f->unit->followers;
    while (*at != f)
        at = &(*at)->next;
    *at = f->next;
    free(f);
}

static void
on_writable(struct http_request *r)
{
    struct follower *f = r->user;
    char text[100];
    if (!f || !f->is_slow)
        return;
    int len = snprintf(text, sizeof(text), "... %llu bytes are left out: they came too fast\n",
                       (unsigned long long)f->missed_bytes);
    f->is_slow = f->missed_bytes && !http_answer_write(r, text, (size_t)len);
    f->missed_bytes = 0;
}

static void
feed(struct follower *f, const struct buf *lines)
{
    if (f->is_slow)
        f->missed_bytes += lines->len;
    else if (lines->len)
        f->is_slow = !http_answer_write(f->request, lines->data, lines->len);
}

void
direct_control_feed(struct unit *u, const struct buf *lines)
{
    for (struct follower *f = u->followers, *next; f; f = next) {
        next = f->next;
        feed(f, lines);
    }
}

void
direct_control_dismiss(struct unit *u)
{
    while (u->followers) {
        struct follower *f = u->followers;
        u->followers = f->next;
        f->request->user = NULL;
        http_answer_end(f->request);
        free(f);
    }
}

static size_t
count_followers(const struct direct *d)
{
    size_t count = 0;
    for (size_t i = 0; i < d->units.count; i++)
        for (const struct follower *f = d->units.items[i]->followers; f; f = f->next)
            count++;
    return count;
}

static void
say_cut(struct http_request *r, const char *name)
{
    char line[400];
    quantity_text most;
    int len =
        snprintf(line, sizeof(line),
                 "... older lines are left out: only the last %s are told here; more: citadel "
                 "logs %s -n LINES --no-follow\n",
                 quantity_print_bytes(DIRECT_ANSWER_MAX, most), name);
    (void)!http_answer_write(r, line, (size_t)len);
}

static void
answer_lines(struct unit *u, struct http_request *r, size_t lines, bool goes_on)
{
    _cleanup_buf_ struct buf text = BUF_INIT(DIRECT_ANSWER_MAX);
    struct err err;
    int more = log_file_tail(u->service->log_path, lines, &text, &err);
    if (more < 0) {
        http_local_answer_error(r, &err);
        return;
    }
    http_answer_begin(r, 200);
    http_answer_field(r, "Content-Type", "text/plain; charset=utf-8");
    http_answer_stream(r);
    if (more)
        say_cut(r, u->service->name);
    if (goes_on) {
        follow(u, r);
        feed(r->user, &text);
    } else {
        (void)!http_answer_write(r, text.data, text.len);
        http_answer_end(r);
    }
}

static void
answer_log(struct unit *u, struct http_request *r)
{
    size_t lines = 100;
    bool goes_on = false;
    struct err err;
    if (!read_query(r->head.bytes + r->head.query.at, r->head.query.len, &lines, &goes_on)) {
        (void)err_set(&err, ERR_VALUE, "the query may be lines=0 to %d, and follow=1; not '%.*s'",
                      LINES_MAX, (int)MIN(r->head.query.len, (size_t)100),
                      r->head.bytes + r->head.query.at);
        http_local_answer_error(r, &err);
    } else if (goes_on && count_followers(u->direct) == FOLLOWERS_MAX) {
        (void)err_set(&err, ERR_SERVICE_BUSY, "%d follow logs already", FOLLOWERS_MAX);
        err_fix(&err, "citadel logs %s --no-follow", u->service->name);
        http_local_answer_error(r, &err);
    } else {
        answer_lines(u, r, lines, goes_on);
    }
}

/* ---- start, stop, restart ---- */

static void
act_start(struct unit *u)
{
    unit_want(u, true);
}

static void
act_stop(struct unit *u)
{
    unit_want(u, false);
}

static const struct {
    const char *word;
    void (*act)(struct unit *u);
    bool starts;
} acts[] = {
    {"start", act_start, true},
    {"stop", act_stop, false},
    {"restart", unit_restart, true},
    {"retry", unit_retry, true},
};

static const char *
candidate(size_t i, const void *arg)
{
    const struct direct *d = arg;
    return i < d->units.count ? d->units.items[i]->service->name : NULL;
}

static void
answer_no_service(struct direct *d, struct http_request *r, const char *name, size_t len)
{
    struct err err;
    char text[TEXT_NAME_MAX + 1] = "";
    memcpy(text, name, MIN(len, sizeof(text) - 1));
    (void)err_set(&err, ERR_SERVICE_NONE, "there is no service '%s'", text);
    err_fix_nearest(&err, text, candidate, d, "citadel status");
    http_local_answer_error(r, &err);
}

static void
answer_no_path(struct http_request *r)
{
    struct err err;
    (void)err_set(
        &err, ERR_NOT_FOUND,
        "there is GET /services and /services/NAME/log, POST "
        "/services/NAME/start|stop|restart|retry, /switch, /reload and /stop; nothing else");
    http_local_answer_error(r, &err);
}

static void
answer_ending(struct http_request *r)
{
    struct err err;
    (void)err_set(&err, ERR_SERVICE_DOWN, "citadel up is ending, and starts nothing any more");
    err_fix(&err, "wait for its end, then citadel up");
    http_local_answer_error(r, &err);
}

/* "NAME/VERB", as a slice of the path. */
struct wish {
    const char *name, *verb;
    size_t name_len, verb_len;
};

static struct wish
read_wish(const struct http_request *r)
{
    const char *at = r->head.bytes + r->head.path.at + strlen(SERVICES);
    size_t left = r->head.path.len - strlen(SERVICES);
    const char *slash = memchr(at, '/', left);
    struct wish w = {.name = at, .name_len = slash ? (size_t)(slash - at) : left};
    w.verb = slash ? slash + 1 : at + left;
    w.verb_len = left - (size_t)(w.verb - at);
    return w;
}

static bool
is_word(const char *text, size_t len, const char *word)
{
    return strlen(word) == len && memcmp(text, word, len) == 0;
}

static void
answer_act(struct direct *d, struct http_request *r, struct unit *one, const struct wish *w)
{
    size_t i = 0;
    while (i < ARRAY_SIZE(acts) && !is_word(w->verb, w->verb_len, acts[i].word))
        i++;
    if (i == ARRAY_SIZE(acts)) {
        answer_no_path(r);
        return;
    }
    if (acts[i].starts && d->ending) {
        answer_ending(r);
        return;
    }
    for (size_t n = 0; n < d->units.count; n++)
        if (!one || one == d->units.items[n])
            acts[i].act(d->units.items[n]);
    answer_services(d, r);
}

static void
answer_service(struct direct *d, struct http_request *r)
{
    struct wish w = read_wish(r);
    struct unit *u = direct_find(d, w.name, w.name_len);
    if (!u && !is_word(w.name, w.name_len, "all"))
        answer_no_service(d, r, w.name, w.name_len);
    else if (r->head.method == HTTP_POST)
        answer_act(d, r, u, &w);
    else if (u && r->head.method == HTTP_GET && is_word(w.verb, w.verb_len, "log"))
        answer_log(u, r);
    else
        answer_no_path(r);
}

/* ---- the whole ---- */

static void
answer_stop(struct direct *d, struct http_request *r)
{
    direct_stop_all(d);
    answer_services(d, r);
}

static void
answer_read(struct direct *d, struct http_request *r, enum service_read what)
{
    struct err err = {0};
    if (d->ending)
        answer_ending(r);
    else if (!d->config.read)
        answer_no_path(r);
    else if (d->config.read(d->config.arg, what, &err) < 0)
        http_local_answer_error(r, &err);
    else
        answer_services(d, r);
}

static void
answer_switch(struct direct *d, struct http_request *r)
{
    answer_read(d, r, SERVICE_READ_GENERATION);
}

static void
answer_reload(struct direct *d, struct http_request *r)
{
    answer_read(d, r, SERVICE_READ_AGAIN);
}

static void
answer_all(struct direct *d, struct http_request *r)
{
    if (http1_is(&r->head, r->head.query, "follow=1"))
        answer_following(d, r);
    else
        answer_services(d, r);
}

static const struct {
    enum http_method method;
    const char *path;
    void (*answer)(struct direct *d, struct http_request *r);
} wholes[] = {
    {HTTP_GET, "/services", answer_all},
    {HTTP_POST, "/stop", answer_stop},
    {HTTP_POST, "/switch", answer_switch},
    {HTTP_POST, "/reload", answer_reload},
};

static void
on_request(struct http_request *r)
{
    static const struct http_request_ops ops = {.finished = on_finished, .writable = on_writable};
    struct direct *d = r->arg;
    r->ops = &ops;
    r->user = NULL;
    if (!http_local_admits(r, HTTP_LOCAL_OWN))
        return;
    for (size_t i = 0; i < ARRAY_SIZE(wholes); i++)
        if (r->head.method == wholes[i].method &&
            http1_is(&r->head, r->head.path, wholes[i].path)) {
            wholes[i].answer(d, r);
            return;
        }
    if (r->head.path.len > strlen(SERVICES) &&
        memcmp(r->head.bytes + r->head.path.at, SERVICES, strlen(SERVICES)) == 0)
        answer_service(d, r);
    else
        answer_no_path(r);
}

static int
listen_here(struct direct *d, struct err *reterr)
{
    const struct sock_addr addr = {.family = AF_UNIX, .path = d->socket_path};
    int fd = sock_listen(&addr, 0600, reterr);
    if (fd < 0)
        return fd;
    (void)!lstat(d->socket_path, &d->socket_file);
    return http_server_listen(d->server, fd, reterr);
}

int
direct_control_open(struct direct *d, struct err *reterr)
{
    const struct http_service service = {.request = on_request, .arg = d};
    struct http_server_config config = http_server_config_default;
    d->socket_path = mem_printf("%s/" DIRECT_SOCKET_NAME, d->config.run_dir);
    config.connections_max = CONNECTIONS_MAX;
    config.body_bytes_max = config.content_bytes_max = 64 * KIB; /* nobody needs to send one */
    config.answer_bytes_max = 2 * DIRECT_ANSWER_MAX;
    config.high_bytes = 256 * KIB;
    config.low_bytes = 64 * KIB;
    d->server = http_server_new(d->loop, &config, &service);
    return listen_here(d, reterr);
}

void
direct_control_look(struct direct *d)
{
    if (direct_is_there(d->socket_path, &d->socket_file))
        return;
    http_server_unlisten(d->server);
    (void)!listen_here(d, NULL); /* or the next time */
}

void
direct_control_close(struct direct *d)
{
    if (d->server)
        http_server_free(d->server);
    d->server = NULL;
    if (d->socket_path && direct_is_there(d->socket_path, &d->socket_file))
        (void)unlink(d->socket_path);
    free(d->socket_path);
    d->socket_path = NULL;
}
