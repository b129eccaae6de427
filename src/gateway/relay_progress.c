/* Who waits for a stream is told why: by comments, which clients of streams pass over. The
 * first of them begins his answer, with 200, before anybody has answered; so from there on a
 * failure is an event, and what else the head of an answer would say is a comment. Another
 * back end may still be asked.
 *
 * Not told is who asks as a gateway: it would take the stream for an
 * answer, and ask nobody else. */

#include "config/config.h"
#include "fmt/json.h"
#include "gateway/problem.h"
#include "gateway/relay_int.h"
#include "http/sse.h"

#include <stdio.h>

#define AGAIN_US UINT64_C(5000000) /* proxies cut a stream that is silent for half a minute */
#define COMMENT_MAX KIB
#define REFUSAL_MAX (64 * KIB)      /* of an engine */
#define EVENT_MAX (8 * REFUSAL_MAX) /* if each of its lines had one byte */
#define TREE_MAX MIB

/* ---- while it waits ---- */

static void
begin(struct passage *p)
{
    p->state = PASSAGE_TOLD;
    p->account.row.status = 200;
    reply_begin(p->request, 200, &p->reply);
    http_answer_field(p->request, "Content-Type", "text/event-stream");
    http_answer_field(p->request, "Cache-Control", "no-cache");
    http_answer_stream(p->request);
}

/* Whoever does not read is cut by the server before this is much. */
static void
comment(struct passage *p, const char *text)
{
    _cleanup_buf_ struct buf out = BUF_INIT(COMMENT_MAX);
    sse_write_comment(&out, text);
    (void)http_answer_write(p->request, out.data, out.len);
}

static bool
tells_wait(const struct passage *p, char *text, size_t size)
{
    if (!claim_waits(&p->account.claim))
        return visit_waits(&p->visit, text, size);
    (void)snprintf(text, size, "%s is asked once what the key uses is written down",
                   p->target->name);
    return true;
}

/* As long as nobody was told, an engine that works on it may still say by
 * its status what it thinks. */
static void
on_progress(struct loop_timer *timer)
{
    struct passage *p = container_of(timer, struct passage, progress);
    char text[COMMENT_MAX / 2];
    bool waits = tells_wait(p, text, sizeof(text));
    if (!waits && p->state == PASSAGE_SEEKS)
        return;
    if (p->state == PASSAGE_SEEKS)
        begin(p);
    if (!waits)
        (void)snprintf(text, sizeof(text), "%s works on it", p->target->name);
    comment(p, text);
}

void
passage_progress_begin(struct passage *p)
{
    uint64_t after_us = p->routing->config->gateway.progress_after_us;
    if (!after_us || !p->question->ask.stream || !route_generates(p->route) || p->is_from_peer)
        return;
    p->progress.expired = on_progress;
    loop_timer_start(p->relay->loop, &p->progress, after_us, MIN(after_us, AGAIN_US));
}

void
passage_progress_stop(struct passage *p)
{
    loop_timer_stop(&p->progress);
}

/* ---- the answer ---- */

static void
write_event(struct passage *p, const struct err *error)
{
    _cleanup_buf_ struct buf event = BUF_INIT(PROBLEM_MAX);
    problem_write_event(&event, p->route->dialect, error, p->reply.id, 0);
    (void)http_answer_write(p->request, event.data, event.len);
}

void
passage_told_fail(struct passage *p, const struct err *error)
{
    write_event(p, error);
    http_answer_end(p->request);
}

void
passage_told_head(struct passage *p, const struct http1_head *head)
{
    char text[COMMENT_MAX / 2];
    p->account.row.status = head->status;
    if (p->target != p->asked) {
        (void)snprintf(text, sizeof(text), "X-Citadel-Fallback: %s", p->target->name);
        comment(p, text);
    }
    if (head->status == 200 && p->is_stream)
        return;
    p->state = PASSAGE_REFUSED;
    p->is_stream = false;
    p->refusal = (struct buf)BUF_INIT(REFUSAL_MAX);
}

/* What clients know for an error. */
static bool
is_error(const struct buf *body)
{
    _cleanup_arena_ struct arena arena;
    struct value *v = NULL;
    arena_init(&arena, TREE_MAX);
    return buf_error(body) == 0 &&
           json_parse(&arena, body->data, body->len, JSON_STRICT, &v, NULL, NULL) == 0 &&
           value_get(v, "error");
}

void
passage_told_end(struct passage *p, const struct err *error)
{
    _cleanup_buf_ struct buf event = BUF_INIT(EVENT_MAX);
    struct err none;
    if (!error && is_error(&p->refusal)) {
        sse_write(&event, p->route->dialect == DIALECT_OPENAI ? NULL : "error", p->refusal.data,
                  p->refusal.len);
        (void)http_answer_write(p->request, event.data, event.len);
    } else {
        (void)err_set(&none, ERR_ENGINE_LOST, "%s answered with %u, and no stream", p->target->name,
                      p->account.row.status);
        write_event(p, error ? error : &none);
    }
    http_answer_end(p->request);
}
