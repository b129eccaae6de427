#include "gateway/transcript.h"

#include "base/buf.h"
#include "base/mem.h"
#include "fmt/json.h"
#include "gateway/body.h"
#include "gateway/ledger.h"
#include "gateway/reply.h"
#include "sys/line_file.h"
#include "sys/work.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DELAY_US UINT64_C(200000) /* so that a thread is not woken for each request */
/* A control character is six bytes in JSON. */
#define LINE_MAX_BYTES (2 * 6 * TRANSCRIPT_TEXT_MAX + 16 * KIB)

struct transcript {
    struct transcripts *of;
    struct transcript *next;
    uint64_t turn; /* of the switch, when it began */
    struct buf body, answer;
    bool has_body, has_answer, is_cut;
    bool is_lost; /* there was no room for all of it */
    struct ledger_row row;
    char id[REPLY_ID_MAX + 1];
};

struct transcripts {
    struct loop *loop;
    char *path;
    bool is_on, is_ended;
    uint64_t turn;
    size_t held_bytes; /* of all texts */
    uint64_t lost;
    int error;
    struct transcript *first, **last; /* that wait to be written */
    struct loop_timer delay;

    /* the work's, while it runs */
    struct work work;
    bool is_running;
    struct transcript *batch;
    struct line_file file;
    uint64_t batch_lost;
    int batch_error;
};

/* ---- on the thread ---- */

static void
print_text(struct json_writer *w, const char *name, bool is_there, const struct buf *text)
{
    if (is_there)
        json_strn(w, name, text->data, text->len);
    else
        json_null(w, name);
}

static void
print(const struct transcript *s, struct buf *line)
{
    struct json_writer w;
    json_init(&w, line, false);
    json_open_map(&w, NULL);
    ledger_print(&s->row, s->id, &w);
    print_text(&w, "body", s->has_body, &s->body);
    print_text(&w, "answer", s->has_answer, &s->answer);
    json_bool(&w, "cut", s->is_cut);
    json_close_map(&w);
    buf_add_char(line, '\n');
}

static void
carry_out(struct transcripts *t)
{
    _cleanup_buf_ struct buf line = BUF_INIT(LINE_MAX_BYTES);
    for (const struct transcript *s = t->batch; s; s = s->next) {
        buf_clear(&line);
        print(s, &line);
        int r = buf_error(&line);
        if (r == 0)
            r = line_file_add(&t->file, line.data, line.len);
        t->batch_error = -r;
        t->batch_lost += r < 0;
    }
}

static void
on_run(struct work *work)
{
    carry_out(container_of(work, struct transcripts, work));
}

/* ---- on the loop ---- */

static void
drop_texts(struct transcript *s)
{
    s->of->held_bytes -= s->body.len + s->answer.len;
    buf_finish(&s->body);
    buf_finish(&s->answer);
}

static void
forget(struct transcript *s)
{
    drop_texts(s);
    free(s);
}

static void
forget_all(struct transcript *first)
{
    for (struct transcript *next; first; first = next) {
        next = first->next;
        forget(first);
    }
}

static struct transcript *
take_waiting(struct transcripts *t)
{
    t->last = &t->first;
    return take_ptr(t->first);
}

static void
conclude(struct transcripts *t)
{
    t->is_running = false;
    t->lost += t->batch_lost;
    t->error = t->batch_error;
    t->batch_lost = 0;
    forget_all(take_ptr(t->batch));
}

static void
start(struct transcripts *t)
{
    loop_timer_stop(&t->delay);
    t->batch = take_waiting(t);
    t->is_running = true;
    work_start_alone(t->loop, &t->work);
}

static void
free_all(struct transcripts *t)
{
    assert(t->held_bytes == 0);
    line_file_close(&t->file);
    free(t->path);
    free(t);
}

/* With what waits, after a while; at the end at once, and then it goes. */
static void
go_on(struct transcripts *t)
{
    if (t->is_running)
        return;
    if (t->is_ended)
        t->first ? start(t) : free_all(t);
    else if (t->first && !loop_timer_is_set(&t->delay))
        loop_timer_start(t->loop, &t->delay, DELAY_US, 0);
}

static void
on_done(struct work *work, bool cancelled unused_arg)
{
    struct transcripts *t = container_of(work, struct transcripts, work);
    conclude(t);
    go_on(t);
}

static void
on_delay(struct loop_timer *timer)
{
    start(container_of(timer, struct transcripts, delay));
}

/* ---- one request ---- */

static void
add_text(struct transcript *s, struct buf *to, const char *bytes, size_t len)
{
    size_t fits = MIN(len, (size_t)TRANSCRIPT_TEXT_MAX - to->len);
    s->is_cut |= fits < len;
    if (s->is_lost || s->of->held_bytes + fits > TRANSCRIPT_HELD_MAX) {
        drop_texts(s);
        s->is_lost = true;
        return;
    }
    buf_add(to, bytes, fits);
    s->of->held_bytes += fits;
}

/* Of a large one the beginning is in memory. */
static void
take_body(struct transcript *s, const struct body *body)
{
    size_t there;
    const char *bytes = body_head(body, 0, &there);
    size_t len = MIN(there, (size_t)TRANSCRIPT_TEXT_MAX);
    static_assert(TRANSCRIPT_TEXT_MAX <= BODY_HEAD_BYTES, "all of that is there");
    s->has_body = true;
    s->is_cut = len < body->len;
    if (bytes)
        add_text(s, &s->body, bytes, len);
}

struct transcript *
transcript_begin(struct transcripts *t, const struct body *body)
{
    if (!t || !t->is_on)
        return NULL;
    struct transcript *s = mem_new(struct transcript);
    s->of = t;
    s->turn = t->turn;
    buf_init(&s->body, TRANSCRIPT_TEXT_MAX);
    buf_init(&s->answer, TRANSCRIPT_TEXT_MAX);
    if (body)
        take_body(s, body);
    return s;
}

void
transcript_hear(struct transcript *s, const char *bytes, size_t len)
{
    s->has_answer = true;
    if (s->turn == s->of->turn)
        add_text(s, &s->answer, bytes, len);
    else
        drop_texts(s);
}

void
transcript_end(struct transcript *s, const struct ledger_row *row, const char *id)
{
    if (!s)
        return;
    struct transcripts *t = s->of;
    if (s->turn != t->turn || s->is_lost) {
        t->lost += s->turn == t->turn;
        forget(s);
        return;
    }
    s->row = *row;
    (void)snprintf(s->id, sizeof(s->id), "%s", id);
    *t->last = s;
    t->last = &s->next;
    go_on(t);
}

/* ---- a life ---- */

struct transcripts *
transcripts_new(struct loop *loop, const char *path)
{
    struct transcripts *t = mem_new(struct transcripts);
    *t = (struct transcripts){.loop = loop, .path = mem_strdup(path)};
    line_file_init(&t->file, t->path, 0600, TRANSCRIPT_FILE_BYTES);
    t->last = &t->first;
    t->delay.expired = on_delay;
    t->work.run = on_run;
    t->work.done = on_done;
    t->work.writes = t->path;
    return t;
}

void
transcripts_switch(struct transcripts *t, bool on)
{
    if (t->is_on == on)
        return;
    t->is_on = on;
    t->turn++;
    loop_timer_stop(&t->delay);
    forget_all(take_waiting(t));
}

bool
transcripts_is_on(const struct transcripts *t)
{
    return t->is_on;
}

void
transcripts_end(struct transcripts *t)
{
    if (!t)
        return;
    loop_timer_stop(&t->delay);
    t->is_ended = true;
    go_on(t);
}

const char *
transcripts_path(const struct transcripts *t)
{
    return t->path;
}

uint64_t
transcripts_lost(const struct transcripts *t)
{
    return t->lost;
}

int
transcripts_error(const struct transcripts *t)
{
    return t->error;
}
