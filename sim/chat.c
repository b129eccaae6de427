/* /v1/chat/completions */

#include "base/text.h"
#include "sim/generate.h"
#include "sim/routes.h"
#include "sim/sim.h"
#include "sim/since.h"

#include <string.h>

/* ---- the whole answer ---- */

static void
write_logprob(struct json_writer *w, const char *text, size_t len, uint64_t n)
{
    json_open_map(w, NULL);
    json_strn(w, "token", text, len);
    json_real(w, "logprob", generate_logprob(n));
    json_open_list(w, "bytes");
    for (size_t i = 0; i < len; i++)
        json_u64(w, NULL, (unsigned char)text[i]);
    json_close_list(w);
}

/* Of a token: itself, and words that it might have been. */
static void
write_token(struct json_writer *w, const struct generation *g, const char *text, size_t len)
{
    static const char other[] = " other";
    write_logprob(w, text, len, 0);
    json_open_list(w, "top_logprobs");
    for (uint64_t n = 0; n < g->top_logprobs; n++) {
        if (n == 0)
            write_logprob(w, text, len, 0);
        else
            write_logprob(w, other, sizeof(other) - 1, n);
        json_close_map(w);
    }
    json_close_list(w);
    json_close_map(w);
}

static void
write_logprobs(struct json_writer *w, const struct generation *g, const char *text, const char *end)
{
    if (!g->logprobs || !text) {
        json_null(w, "logprobs");
        return;
    }
    json_open_map(w, "logprobs");
    json_open_list(w, "content");
    for (size_t len; (len = word_len(text, end)); text += len)
        write_token(w, g, text, len);
    json_close_list(w);
    json_close_map(w);
}

static void
write_tool_call(struct json_writer *w, const struct generation *g, const struct choice *c)
{
    json_open_list(w, "tool_calls");
    if (g->tool) {
        json_open_map(w, NULL);
        json_str(w, "id", g->tool_id);
        json_str(w, "type", "function");
        json_open_map(w, "function");
        json_str(w, "name", g->tool);
        json_strn(w, "arguments", c->said, (size_t)(c->said_end - c->said));
        json_close_map(w);
        json_close_map(w);
    }
    json_close_list(w);
}

static void
write_message(struct json_writer *w, const struct generation *g, const struct choice *c)
{
    unsigned release = g->release;
    json_open_map(w, "message");
    json_str(w, "role", "assistant");
    if (g->tool)
        json_null(w, "content");
    else
        json_strn(w, "content", c->said, (size_t)(c->said_end - c->said));
    json_null(w, "refusal");
    json_null(w, "annotations");
    json_null(w, "audio");
    json_null(w, "function_call");
    write_tool_call(w, g, c);
    if (release >= SINCE_REASONING)
        json_null(w, "reasoning");
    if (release < SINCE_ONE_REASONING)
        json_null(w, "reasoning_content");
    json_close_map(w);
}

static void
write_choice(struct json_writer *w, const struct generation *g, const struct choice *c)
{
    json_open_map(w, NULL);
    json_u64(w, "index", c->index);
    write_message(w, g, c);
    write_logprobs(w, g, c->said, c->said_end);
    json_str(w, "finish_reason", generate_finish_name(g, c));
    json_str(w, "stop_reason", c->stop);
    json_null(w, "token_ids");
    if (g->release >= SINCE_FINGERPRINT)
        json_null(w, "routed_experts");
    json_close_map(w);
}

static void
answer_whole(struct generation *g)
{
    struct json_writer w = call_open_map(g->call);
    generate_write_head(&w, g, "chat.completion");
    json_open_list(&w, "choices");
    for (size_t i = 0; i < g->choice_count; i++)
        write_choice(&w, g, &g->choices[i]);
    json_close_list(&w);
    json_null(&w, "service_tier");
    if (g->release >= SINCE_FINGERPRINT)
        generate_write_fingerprint(&w, g);
    else
        json_null(&w, "system_fingerprint");
    generate_write_usage(&w, g, generate_made(g), true);
    json_null(&w, "prompt_logprobs");
    json_null(&w, "prompt_token_ids");
    if (g->release >= SINCE_FINGERPRINT)
        json_null(&w, "prompt_text");
    json_null(&w, "kv_transfer_params");
    if (g->release >= SINCE_TRANSFERS) {
        json_null(&w, "ec_transfer_params");
        json_null(&w, "metrics");
    }
    json_close_map(&w);
    call_answer_out(g->call);
}

/* ---- a stream ---- */

static void
open_chunk(struct json_writer *w, struct generation *g)
{
    *w = call_open_map(g->call);
    generate_write_head(w, g, "chat.completion.chunk");
    json_open_list(w, "choices");
}

static void
open_delta(struct json_writer *w, struct generation *g, const struct choice *c)
{
    open_chunk(w, g);
    json_open_map(w, NULL);
    json_u64(w, "index", c->index);
    json_open_map(w, "delta");
}

static bool
send_chunk(struct json_writer *w, struct generation *g)
{
    json_close_map(w);
    return generate_send(g, NULL, &g->call->out);
}

/* Closes the choice and the list of them. */
static void
close_choice(struct json_writer *w, const struct generation *g)
{
    json_close_map(w);
    json_close_list(w);
    if (g->continuous_usage)
        generate_write_usage(w, g, generate_made(g), false);
}

static void
stream_open(struct generation *g)
{
    for (size_t i = 0; i < g->choice_count; i++) {
        struct json_writer w;
        open_delta(&w, g, &g->choices[i]);
        json_str(&w, "role", "assistant");
        json_str(&w, "content", "");
        json_close_map(&w);
        json_null(&w, "logprobs");
        json_null(&w, "finish_reason");
        close_choice(&w, g);
        json_null(&w, "prompt_token_ids");
        if (g->release >= SINCE_FINGERPRINT)
            json_null(&w, "prompt_text");
        (void)send_chunk(&w, g);
    }
}

static void
write_tool_delta(struct json_writer *w, const struct generation *g, const char *text, size_t len)
{
    json_open_list(w, "tool_calls");
    json_open_map(w, NULL);
    if (!text) {
        json_str(w, "id", g->tool_id);
        json_str(w, "type", "function");
    }
    json_u64(w, "index", 0);
    json_open_map(w, "function");
    if (text)
        json_strn(w, "arguments", text, len);
    else
        json_str(w, "name", g->tool);
    json_close_map(w);
    json_close_map(w);
    json_close_list(w);
}

/* text: NULL for the beginning of a call of a tool. */
static bool
send_delta(struct generation *g, const struct choice *c, const char *text, size_t len)
{
    struct json_writer w;
    open_delta(&w, g, c);
    if (g->tool)
        write_tool_delta(&w, g, text, len);
    else
        json_strn(&w, "content", text, len);
    json_close_map(&w);
    write_logprobs(&w, g, text, text ? text + len : NULL);
    json_null(&w, "finish_reason");
    json_null(&w, "token_ids");
    close_choice(&w, g);
    return send_chunk(&w, g);
}

static bool
stream_token(struct generation *g, struct choice *c, const char *text, size_t len)
{
    if (g->tool && c->told_tokens == 1)
        (void)send_delta(g, c, NULL, 0);
    return send_delta(g, c, text, len);
}

static bool
stream_close(struct generation *g, struct choice *c)
{
    struct json_writer w;
    open_delta(&w, g, c);
    if (!g->tool && !g->call->sim->settings.auto_tools)
        json_str(&w, "content", "");
    json_close_map(&w);
    json_null(&w, "logprobs");
    json_str(&w, "finish_reason", generate_finish_name(g, c));
    json_str(&w, "stop_reason", c->stop);
    json_null(&w, "token_ids");
    close_choice(&w, g);
    if (!g->usage && g->release >= SINCE_FINGERPRINT)
        generate_write_fingerprint(&w, g);
    return send_chunk(&w, g);
}

static void
stream_end(struct generation *g)
{
    struct json_writer w;
    if (g->usage) {
        open_chunk(&w, g);
        json_close_list(&w);
        generate_write_usage(&w, g, generate_made(g), false);
        if (g->release >= SINCE_FINGERPRINT)
            generate_write_fingerprint(&w, g);
        (void)send_chunk(&w, g);
    }
    generate_send_done(g);
}

/* ---- the request ---- */

static const struct dialect chat = {.prefix = "chatcmpl-",
                                    .stops = "stop",
                                    .many = true,
                                    .whole = answer_whole,
                                    .open = stream_open,
                                    .token = stream_token,
                                    .close = stream_close,
                                    .end = stream_end};

static void
read_logprobs(struct generation *g)
{
    const uint64_t most = g->call->sim->settings.max_logprobs;
    (void)ask_bool(&g->ask, "logprobs", &g->logprobs);
    (void)ask_count(&g->ask, "top_logprobs", &g->top_logprobs);
    if (g->top_logprobs && !g->logprobs)
        ask_fail(&g->ask, "when using `top_logprobs`, `logprobs` must be set to true.");
    if (g->top_logprobs > most)
        ask_fail(&g->ask,
                 "Requested sample logprobs of %llu, which is greater than max allowed: %llu",
                 (unsigned long long)g->top_logprobs, (unsigned long long)most);
}

void
chat_answer(struct call *call, const struct value *body)
{
    struct generation *g = generate_new(call, body, &chat);
    if (!g)
        return;
    const struct value *messages = ask_needed_list(&g->ask, "messages");
    if (messages && !messages->first)
        ask_fail(&g->ask, "messages must have at least one message.");
    generate_read(g);
    generate_read_max(g, "max_tokens");
    generate_read_max(g, "max_completion_tokens");
    read_logprobs(g);
    generate_read_format(g, ask_map(&g->ask, "response_format"));
    if (!g->ask.failed)
        generate_read_messages(g, messages, NULL);
    if (!g->ask.failed)
        generate_read_tools(g, &g->prompts[0]);
    generate_begin(g);
}
