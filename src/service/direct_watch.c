/* Those who follow what all services are. Each change is told to all of them as one line, with
 * everything; who does not take it in time is told the latest when it can, and nothing in between. */

#include "service/direct_int.h"

#include "base/mem.h"

#include <stdlib.h>

struct watcher {
    struct watcher *next;
    struct direct *direct;
    struct http_request *request;
    bool is_behind, is_slow;
};

static void
tell(struct watcher *w)
{
    _cleanup_buf_ struct buf line = BUF_INIT(DIRECT_ANSWER_MAX);
    w->is_behind = w->is_slow;
    if (w->is_slow)
        return;
    direct_control_print(w->direct, &line);
    buf_add_char(&line, '\n');
    w->is_slow = !http_answer_write(w->request, line.data, line.len);
}

static void
on_writable(struct http_request *r)
{
    struct watcher *w = r->user;
    w->is_slow = false;
    if (w->is_behind)
        tell(w);
}

static void
on_finished(struct http_request *r, bool answered unused_arg)
{
    struct watcher *gone = r->user, **at = &gone->direct->watchers;
    while (*at != gone)
        at = &(*at)->next;
    *at = gone->next;
    free(gone);
}

static void
on_tell(struct loop_defer *defer)
{
    struct direct *d = container_of(defer, struct direct, tell);
    for (struct watcher *w = d->watchers, *next; w; w = next) {
        next = w->next;
        tell(w);
    }
}

void
direct_watch_changed(struct direct *d)
{
    d->tell.run = on_tell;
    if (d->watchers)
        loop_defer(d->loop, &d->tell);
}

size_t
direct_watch_count(const struct direct *d)
{
    size_t count = 0;
    for (const struct watcher *w = d->watchers; w; w = w->next)
        count++;
    return count;
}

void
direct_watch_begin(struct direct *d, struct http_request *r)
{
    static const struct http_request_ops ops = {.finished = on_finished, .writable = on_writable};
    struct watcher *w = mem_new(struct watcher);
    *w = (struct watcher){.next = d->watchers, .direct = d, .request = r};
    d->watchers = w;
    r->ops = &ops;
    r->user = w;
    http_answer_begin(r, 200);
    http_answer_field(r, "Content-Type", "application/jsonl");
    http_answer_stream(r);
    tell(w);
}
