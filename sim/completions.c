/* /v1/completions */

#include "base/text.h"
#include "sim/generate.h"
#include "sim/routes.h"
#include "sim/sim.h"
#include "sim/since.h"
#include "sim/texts.h"

#include <string.h>

#define DEFAULT_TOKENS 16 /* when no number is asked for, as OpenAI has it */
#define PROMPTS_MAX 1024
#define TEXT_BYTES_MAX (64 * MIB)

/* ---- answers ---- */

static void
write_top(struct json_writer *w, const struct generation *g, const char *text, const char *end)
{
    json_open_list(w, "top_logprobs");
    for (size_t len; (len = word_len(text, end)); text += len) {
        char *name = arena_strndup(&g->call->arena, text, len);
        json_open_map(w, NULL);
        if (name)
            json_real(w, name, generate_logprob(0));
        if (g->top_logprobs > 1)
            json_real(w, " other", generate_logprob(1));
        json_close_map(w);
    }
    json_close_list(w);
}

static void
write_logprobs(struct json_writer *w, const struct generation *g, const struct choice *c,
               const char *from, const char *end)
{
    size_t len;
    if (!g->logprobs) {
        json_null(w, "logprobs");
        return;
    }
    json_open_map(w, "logprobs");
    json_open_list(w, "text_offset");
    for (const char *text = from; (len = word_len(text, end)); text += len)
        json_u64(w, NULL, (uint64_t)(text - c->said));
    json_close_list(w);
    json_open_list(w, "token_logprobs");
    for (const char *text = from; (len = word_len(text, end)); text += len)
        json_real(w, NULL, generate_logprob(0));
    json_close_list(w);
    json_open_list(w, "tokens");
    for (const char *text = from; (len = word_len(text, end)); text += len)
        json_strn(w, NULL, text, len);
    json_close_list(w);
    write_top(w, g, from, end);
    json_close_map(w);
}

static void
write_text(struct json_writer *w, const struct generation *g, const struct choice *c)
{
    size_t said = (size_t)(c->said_end - c->said);
    char *text = g->echo ? arena_alloc(&g->call->arena, c->prompt->len + said + 1) : NULL;
    if (!text) {
        json_strn(w, "text", c->said, said);
        return;
    }
    memcpy(text, c->prompt->text, c->prompt->len);
    memcpy(text + c->prompt->len, c->said, said);
    json_strn(w, "text", text, c->prompt->len + said);
}

static void
write_choice(struct json_writer *w, const struct generation *g, const struct choice *c)
{
    json_open_map(w, NULL);
    json_u64(w, "index", c->index);
    write_text(w, g, c);
    write_logprobs(w, g, c, c->said, c->said_end);
    json_str(w, "finish_reason", generate_finish_name(g, c));
    json_str(w, "stop_reason", c->stop);
    json_null(w, "token_ids");
    json_null(w, "prompt_logprobs");
    json_null(w, "prompt_token_ids");
    if (g->release >= SINCE_FINGERPRINT)
        json_null(w, "routed_experts");
    json_close_map(w);
}

static void
open_answer(struct json_writer *w, struct generation *g)
{
    *w = call_open_map(g->call);
    generate_write_head(w, g, "text_completion");
    json_open_list(w, "choices");
}

static void
answer_whole(struct generation *g)
{
    struct json_writer w;
    open_answer(&w, g);
    for (size_t i = 0; i < g->choice_count; i++)
        write_choice(&w, g, &g->choices[i]);
    json_close_list(&w);
    json_null(&w, "service_tier");
    if (g->release >= SINCE_FINGERPRINT)
        generate_write_fingerprint(&w, g);
    else
        json_null(&w, "system_fingerprint");
    generate_write_usage(&w, g, generate_made(g), true);
    json_null(&w, "kv_transfer_params");
    if (g->release >= SINCE_TRANSFERS) {
        json_null(&w, "ec_transfer_params");
        json_null(&w, "metrics");
    }
    json_close_map(&w);
    call_answer_out(g->call);
}

/* ---- a stream ---- */

static bool
send_chunk(struct generation *g, const struct choice *c, const char *text, size_t len,
           const char *finish)
{
    struct json_writer w;
    open_answer(&w, g);
    json_open_map(&w, NULL);
    json_u64(&w, "index", c->index);
    json_strn(&w, "text", text, len);
    write_logprobs(&w, g, c, text, text + len);
    json_str(&w, "finish_reason", finish);
    json_str(&w, "stop_reason", finish ? c->stop : NULL);
    json_null(&w, "prompt_token_ids");
    json_null(&w, "token_ids");
    json_close_map(&w);
    json_close_list(&w);
    if (g->continuous_usage)
        generate_write_usage(&w, g, generate_made(g), false);
    else
        json_null(&w, "usage");
    json_close_map(&w);
    return generate_send(g, NULL, &g->call->out);
}

static void
stream_open(struct generation *g)
{
    bool logprobs = g->logprobs;
    g->logprobs = false; /* the prompt has none */
    for (size_t i = 0; g->echo && i < g->choice_count; i++) {
        const struct choice *c = &g->choices[i];
        (void)send_chunk(g, c, c->prompt->text, c->prompt->len, NULL);
    }
    g->logprobs = logprobs;
}

static bool
stream_token(struct generation *g, struct choice *c, const char *text, size_t len)
{
    return send_chunk(g, c, text, len, NULL);
}

static bool
stream_close(struct generation *g, struct choice *c)
{
    return send_chunk(g, c, c->said_end, 0, generate_finish_name(g, c));
}

static void
stream_end(struct generation *g)
{
    struct json_writer w;
    if (g->usage) {
        open_answer(&w, g);
        json_close_list(&w);
        generate_write_usage(&w, g, generate_made(g), false);
        json_close_map(&w);
        (void)generate_send(g, NULL, &g->call->out);
    }
    generate_send_done(g);
}

/* ---- the request ---- */

static const struct dialect completions = {.prefix = "cmpl-",
                                           .stops = "stop",
                                           .many = true,
                                           .whole = answer_whole,
                                           .open = stream_open,
                                           .token = stream_token,
                                           .close = stream_close,
                                           .end = stream_end};

static void
read_prompts(struct generation *g, const struct value *v)
{
    size_t count = texts_count(v);
    if (count == 0 || count > PROMPTS_MAX) {
        ask_fail(&g->ask, "prompt must be from 1 to %d prompts, got %zu.", PROMPTS_MAX, count);
        return;
    }
    struct prompt *prompts = generate_add_prompts(g, count);
    const struct value *one = texts_first(v);
    for (size_t i = 0; prompts && i < count && !g->ask.failed; i++, one = one->next) {
        _cleanup_buf_ struct buf text = BUF_INIT(TEXT_BYTES_MAX);
        if (texts_read(&g->ask, "prompt", one, &text))
            (void)generate_set_prompt(g, &prompts[i], text.data, text.len);
    }
}

void
completions_answer(struct call *call, const struct value *body)
{
    struct generation *g = generate_new(call, body, &completions);
    if (!g)
        return;
    const struct value *prompt = ask_needed(&g->ask, "prompt");
    generate_read(g);
    g->max_tokens = DEFAULT_TOKENS;
    generate_read_max(g, "max_tokens");
    (void)ask_bool(&g->ask, "echo", &g->echo);
    g->logprobs = ask_count(&g->ask, "logprobs", &g->top_logprobs);
    generate_read_format(g, ask_map(&g->ask, "response_format"));
    if (!g->ask.failed)
        read_prompts(g, prompt);
    generate_begin(g);
}
