/* /v1/audio/transcriptions and translations: a form with a file in it. What is heard is the file's
 * name. */

#include "base/text.h"
#include "sim/form.h"
#include "sim/generate.h"
#include "sim/routes.h"
#include "sim/sim.h"
#include "sim/since.h"

#include <stdio.h>
#include <string.h>

#define BYTES_A_SECOND 32000 /* 16 kHz, 16 bit, one channel */

struct speech {
    uint64_t bytes;
    const char *format, *language;
};

static uint64_t
seconds_of(const struct speech *speech)
{
    return (speech->bytes + BYTES_A_SECOND - 1) / BYTES_A_SECOND;
}

/* ---- answers ---- */

static void
write_segments(struct json_writer *w, const struct generation *g, double seconds)
{
    const struct choice *c = &g->choices[0];
    json_open_list(w, "segments");
    json_open_map(w, NULL);
    json_u64(w, "id", 0);
    json_real(w, "avg_logprob", generate_logprob(0));
    json_real(w, "compression_ratio", 1.1);
    json_real(w, "end", seconds);
    json_null(w, "no_speech_prob");
    json_u64(w, "seek", 0);
    json_u64(w, "start", 0);
    json_u64(w, "temperature", 0);
    json_strn(w, "text", c->said, (size_t)(c->said_end - c->said));
    json_open_list(w, "tokens");
    for (uint64_t i = 0; i < c->seq.wanted_tokens; i++)
        json_u64(w, NULL, i);
    json_close_list(w);
    json_close_map(w);
    json_close_list(w);
    json_null(w, "words");
}

static void
answer_verbose(struct generation *g)
{
    const struct speech *speech = g->more;
    const struct choice *c = &g->choices[0];
    double seconds = (double)speech->bytes / BYTES_A_SECOND;
    char text[32];
    struct json_writer w = call_open_map(g->call);
    (void)snprintf(text, sizeof(text), "%.2f", seconds);
    json_str(&w, "duration", text);
    json_str(&w, "language", speech->language);
    json_strn(&w, "text", c->said, (size_t)(c->said_end - c->said));
    write_segments(&w, g, seconds);
    json_close_map(&w);
    call_answer_out(g->call);
}

static void
answer_whole(struct generation *g)
{
    const struct speech *speech = g->more;
    const struct choice *c = &g->choices[0];
    size_t len = (size_t)(c->said_end - c->said);
    if (text_eq(speech->format, "verbose_json")) {
        answer_verbose(g);
        return;
    }
    if (text_eq(speech->format, "text")) {
        call_answer(g->call, 200, "text/plain; charset=utf-8", c->said, len);
        return;
    }
    struct json_writer w = call_open_map(g->call);
    json_strn(&w, "text", c->said, len);
    if (g->release >= SINCE_AUDIO_USAGE) {
        json_open_map(&w, "usage");
        json_str(&w, "type", "duration");
        json_u64(&w, "seconds", seconds_of(speech));
        json_close_map(&w);
    }
    json_close_map(&w);
    call_answer_out(g->call);
}

/* ---- a stream ---- */

static struct json_writer
open_chunk(struct generation *g)
{
    struct json_writer w = call_open_map(g->call);
    generate_write_head(&w, g, "transcription.chunk");
    json_open_list(&w, "choices");
    return w;
}

static bool
send_chunk(struct json_writer *w, struct generation *g)
{
    json_close_map(w);
    return generate_send(g, NULL, &g->call->out);
}

static void
stream_open(struct generation *g unused_arg)
{
}

static bool
send_delta(struct generation *g, const struct choice *c, const char *text, size_t len, bool last)
{
    struct json_writer w = open_chunk(g);
    json_open_map(&w, NULL);
    json_open_map(&w, "delta");
    json_strn(&w, "content", text, len);
    json_close_map(&w);
    if (last) {
        json_str(&w, "finish_reason", generate_finish_name(g, c));
        json_str(&w, "stop_reason", c->stop);
    }
    json_close_map(&w);
    json_close_list(&w);
    return send_chunk(&w, g);
}

static bool
stream_token(struct generation *g, struct choice *c, const char *text, size_t len)
{
    return send_delta(g, c, text, len, false);
}

static bool
stream_close(struct generation *g, struct choice *c)
{
    return send_delta(g, c, "", 0, true);
}

static void
stream_end(struct generation *g)
{
    if (g->usage) {
        struct json_writer w = open_chunk(g);
        json_close_list(&w);
        generate_write_usage(&w, g, generate_made(g), false);
        (void)send_chunk(&w, g);
    }
    generate_send_done(g);
}

static const struct dialect audio = {.prefix = "transcribe-",
                                     .stops = "stop",
                                     .whole = answer_whole,
                                     .open = stream_open,
                                     .token = stream_token,
                                     .close = stream_close,
                                     .end = stream_end};

/* ---- the request ---- */

/* The fields as the body of any other endpoint: texts are read as what they stand for. */
static struct value *
make_body(struct arena *arena, const struct form *form)
{
    struct value *body = arena_new(arena, struct value), **last = body ? &body->first : NULL;
    for (size_t i = 0; body && i < form->count; i++) {
        const struct form_part *part = &form->parts[i];
        struct value *member = part->file ? NULL : arena_new(arena, struct value);
        if (!member)
            continue;
        member->type = VALUE_STRING;
        member->name = part->name;
        member->text = arena_strndup(arena, part->bytes, part->len);
        member->len = part->len;
        if (!member->text)
            return NULL;
        *last = member;
        last = &member->next;
        body->count++;
    }
    if (body)
        body->type = VALUE_MAP;
    return body;
}

static const struct form_part *
find_file(const struct form *form)
{
    for (size_t i = 0; i < form->count; i++)
        if (form->parts[i].file && text_eq(form->parts[i].name, "file"))
            return &form->parts[i];
    return NULL;
}

static void
read_request(struct generation *g, const struct form_part *file)
{
    struct speech *speech = arena_new(&g->call->arena, struct speech);
    struct prompt *prompt = speech ? generate_add_prompts(g, 1) : NULL;
    if (!prompt)
        return;
    *speech = (struct speech){.bytes = file->len, .format = "json", .language = "en"};
    g->more = speech;
    generate_read(g);
    g->usage = false;
    (void)ask_bool(&g->ask, "stream_include_usage", &g->usage);
    (void)ask_text(&g->ask, "response_format", &speech->format);
    (void)ask_text(&g->ask, "language", &speech->language);
    if (!text_eq(speech->format, "json") && !text_eq(speech->format, "text") &&
        !text_eq(speech->format, "verbose_json"))
        ask_fail(&g->ask, "Currently only support response_format: `text`, `json` or "
                          "`verbose_json`");
    if (!g->ask.failed)
        (void)generate_set_prompt(g, prompt, file->file, strlen(file->file));
}

void
audio_answer(struct call *call, const struct value *body_ unused_arg)
{
    struct form *form = arena_new(&call->arena, struct form);
    const struct buf *content = &call->request->content;
    struct err err;
    if (!form || !*call->boundary) {
        call_fail(call, 400, "BadRequestError", NULL, "a form with a boundary is needed");
        return;
    }
    if (form_parse(form, &call->arena, content->data, content->len, call->boundary, &err) < 0) {
        call_fail(call, 400, "BadRequestError", NULL, "%s", err.what);
        return;
    }
    const struct form_part *file = find_file(form);
    const struct value *body = make_body(&call->arena, form);
    struct generation *g = body ? generate_new(call, body, &audio) : NULL;
    if (!g)
        return;
    if (!file)
        ask_refuse(&g->ask, "file", "missing", "Field required", body);
    else
        read_request(g, file);
    generate_begin(g);
}
