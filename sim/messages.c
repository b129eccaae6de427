/* /v1/messages: another form of the same. */

#include "base/text.h"
#include "sim/generate.h"
#include "sim/routes.h"
#include "sim/sim.h"
#include "sim/texts.h"

#include <string.h>

/* ---- answers ---- */

static const char *
reason_of(const struct generation *g, const struct choice *c)
{
    if (c->finish == FINISH_LENGTH)
        return "max_tokens";
    return g->tool ? "tool_use" : "end_turn";
}

static void
write_usage(struct json_writer *w, const struct generation *g, uint64_t made)
{
    json_open_map(w, "usage");
    json_u64(w, "input_tokens", g->prompt_tokens);
    json_u64(w, "output_tokens", made);
    json_close_map(w);
}

/* A list of blocks, as the answer has it: a text, or a call of a tool with the map that it said. */
static void
write_blocks(struct json_writer *w, struct generation *g, const struct choice *c)
{
    struct value *input = NULL;
    size_t len = (size_t)(c->said_end - c->said);
    json_open_list(w, "content");
    json_open_map(w, NULL);
    json_str(w, "type", g->tool ? "tool_use" : "text");
    if (!g->tool) {
        json_strn(w, "text", c->said, len);
    } else {
        json_str(w, "id", g->tool_id);
        json_str(w, "name", g->tool);
        if (json_parse(&g->call->arena, c->said, len, JSON_STRICT, &input, NULL, NULL) == 0) {
            json_value(w, "input", input);
        } else { /* it was cut off */
            json_open_map(w, "input");
            json_close_map(w);
        }
    }
    json_close_map(w);
    json_close_list(w);
}

static void
answer_whole(struct generation *g)
{
    const struct choice *c = &g->choices[0];
    struct json_writer w = call_open_map(g->call);
    json_str(&w, "id", g->id);
    json_str(&w, "type", "message");
    json_str(&w, "role", "assistant");
    write_blocks(&w, g, c);
    json_str(&w, "model", g->model);
    json_str(&w, "stop_reason", reason_of(g, c));
    write_usage(&w, g, generate_made(g));
    json_close_map(&w);
    call_answer_out(g->call);
}

/* ---- a stream ---- */

static struct json_writer
open_event(struct generation *g, const char *type)
{
    struct json_writer w = call_open_map(g->call);
    json_str(&w, "type", type);
    return w;
}

static bool
send_event(struct json_writer *w, struct generation *g, const char *type)
{
    json_close_map(w);
    return generate_send(g, type, &g->call->out);
}

static void
open_block(struct generation *g)
{
    struct json_writer w = open_event(g, "content_block_start");
    json_open_map(&w, "content_block");
    json_str(&w, "type", g->tool ? "tool_use" : "text");
    if (g->tool) {
        json_str(&w, "id", g->tool_id);
        json_str(&w, "name", g->tool);
        json_open_map(&w, "input");
        json_close_map(&w);
    } else {
        json_str(&w, "text", "");
    }
    json_close_map(&w);
    json_u64(&w, "index", 0);
    (void)send_event(&w, g, "content_block_start");
}

static void
stream_open(struct generation *g)
{
    struct json_writer w = open_event(g, "message_start");
    json_open_map(&w, "message");
    json_str(&w, "id", g->id);
    json_open_list(&w, "content");
    json_close_list(&w);
    json_str(&w, "model", g->model);
    json_null(&w, "stop_reason");
    json_null(&w, "stop_sequence");
    write_usage(&w, g, 0);
    json_close_map(&w);
    (void)send_event(&w, g, "message_start");
    open_block(g);
}

static bool
stream_token(struct generation *g, struct choice *c unused_arg, const char *text, size_t len)
{
    struct json_writer w = open_event(g, "content_block_delta");
    json_open_map(&w, "delta");
    json_str(&w, "type", g->tool ? "input_json_delta" : "text_delta");
    json_strn(&w, g->tool ? "partial_json" : "text", text, len);
    json_close_map(&w);
    json_u64(&w, "index", 0);
    return send_event(&w, g, "content_block_delta");
}

static bool
stream_close(struct generation *g, struct choice *c)
{
    struct json_writer w = open_event(g, "content_block_stop");
    json_u64(&w, "index", 0);
    (void)send_event(&w, g, "content_block_stop");
    w = open_event(g, "message_delta");
    json_open_map(&w, "delta");
    json_str(&w, "stop_reason", reason_of(g, c));
    json_close_map(&w);
    write_usage(&w, g, generate_made(g));
    return send_event(&w, g, "message_delta");
}

static void
stream_end(struct generation *g)
{
    struct json_writer w = open_event(g, "message_stop");
    (void)send_event(&w, g, "message_stop");
}

/* ---- the request ---- */

static const struct dialect messages = {.prefix = "chatcmpl-",
                                        .stops = "stop_sequences",
                                        .whole = answer_whole,
                                        .open = stream_open,
                                        .token = stream_token,
                                        .close = stream_close,
                                        .end = stream_end};

/* Reads messages, with what stands before them: a text, or a list of parts. */
static void
read_messages(struct generation *g)
{
    _cleanup_buf_ struct buf before = BUF_INIT(64 * MIB);
    const struct value *list = ask_needed_list(&g->ask, "messages");
    if (!list)
        return;
    texts_add_content(&before, ask_any(&g->ask, "system"));
    if (!list->first)
        ask_fail(&g->ask, "messages must have at least one message.");
    else
        generate_read_messages(g, list, before.data);
}

void
messages_answer(struct call *call, const struct value *body)
{
    struct generation *g = generate_new(call, body, &messages);
    if (!g)
        return;
    (void)ask_needed(&g->ask, "max_tokens");
    generate_read(g);
    generate_read_max(g, "max_tokens");
    read_messages(g);
    if (!g->ask.failed)
        generate_read_tools(g, &g->prompts[0]);
    generate_begin(g);
}

void
messages_count(struct call *call, const struct value *body)
{
    struct generation *g = generate_new(call, body, &messages);
    if (!g)
        return;
    (void)ask_text(&g->ask, "model", &g->model);
    read_messages(g);
    if (g->ask.failed || !call_admit(call, g->model))
        return;
    struct json_writer w = call_open_map(call);
    json_u64(&w, "input_tokens", g->prompts[0].tokens);
    json_close_map(&w);
    call_answer_out(call);
}
