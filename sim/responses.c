/* /v1/responses. Nothing is stored, as vLLM does unless it is told to; so there is none to be found
 * later. */

#include "base/text.h"
#include "sim/generate.h"
#include "sim/routes.h"
#include "sim/sim.h"
#include "sim/texts.h"

#include <stdio.h>
#include <string.h>

/* What a response tells besides the generation. */
struct extras {
    char item_id[CALL_ID_MAX], call_id[CALL_ID_MAX];
    const char *instructions;
    const struct value *metadata, *tools, *tool_choice;
    double temperature, top_p;
};

enum state { IN_PROGRESS, COMPLETED, INCOMPLETE };

static const char *
state_name(enum state state)
{
    static const char *const names[] = {"in_progress", "completed", "incomplete"};
    return names[state];
}

static enum state
end_state(const struct generation *g)
{
    return g->choices[0].finish == FINISH_LENGTH ? INCOMPLETE : COMPLETED;
}

/* ---- items ---- */

static void
write_text_part(struct json_writer *w, const char *name, const char *text, size_t len, bool whole)
{
    json_open_map(w, name);
    json_open_list(w, "annotations");
    json_close_list(w);
    json_strn(w, "text", text, len);
    json_str(w, "type", "output_text");
    if (whole) {
        json_null(w, "logprobs");
    } else {
        json_open_list(w, "logprobs");
        json_close_list(w);
    }
    json_close_map(w);
}

static void
write_item(struct json_writer *w, const char *name, const struct generation *g, enum state state)
{
    const struct extras *extras = g->more;
    const struct choice *c = &g->choices[0];
    size_t len = state == IN_PROGRESS ? 0 : (size_t)(c->said_end - c->said);
    json_open_map(w, name);
    if (g->tool) {
        json_strn(w, "arguments", c->said, len);
        json_str(w, "call_id", extras->call_id);
        json_str(w, "name", g->tool);
        json_str(w, "type", "function_call");
        json_str(w, "id", extras->item_id);
        json_str(w, "status", state_name(state));
    } else {
        json_str(w, "id", extras->item_id);
        json_open_list(w, "content");
        if (state != IN_PROGRESS)
            write_text_part(w, NULL, c->said, len, true);
        json_close_list(w);
        json_str(w, "role", "assistant");
        json_str(w, "status", state_name(state));
        json_str(w, "type", "message");
    }
    json_close_map(w);
}

/* ---- the response ---- */

static void
open_lists(struct json_writer *w, const char *first, const char *second)
{
    json_open_list(w, first);
    json_close_list(w);
    json_open_list(w, second);
    json_close_list(w);
    json_close_map(w);
}

static void
write_usage(struct json_writer *w, const struct generation *g, enum state state)
{
    uint64_t made = generate_made(g);
    if (state == IN_PROGRESS) {
        json_null(w, "usage");
        return;
    }
    json_open_map(w, "usage");
    json_u64(w, "input_tokens", g->prompt_tokens);
    json_open_map(w, "input_tokens_details");
    json_u64(w, "cached_tokens", g->cached_tokens);
    open_lists(w, "input_tokens_per_turn", "cached_tokens_per_turn");
    json_u64(w, "output_tokens", made);
    json_open_map(w, "output_tokens_details");
    json_u64(w, "reasoning_tokens", 0);
    json_u64(w, "tool_output_tokens", 0);
    open_lists(w, "output_tokens_per_turn", "tool_output_tokens_per_turn");
    json_u64(w, "total_tokens", g->prompt_tokens + made);
    json_close_map(w);
}

static void
write_incomplete(struct json_writer *w, enum state state)
{
    if (state != INCOMPLETE) {
        json_null(w, "incomplete_details");
        return;
    }
    json_open_map(w, "incomplete_details");
    json_str(w, "reason", "max_output_tokens");
    json_close_map(w);
}

static void
write_value(struct json_writer *w, const char *name, const struct value *value,
            const char *otherwise)
{
    if (value)
        json_value(w, name, value);
    else
        json_str(w, name, otherwise);
}

static void
write_tools(struct json_writer *w, const struct extras *extras)
{
    if (extras->tools) {
        json_value(w, "tools", extras->tools);
        return;
    }
    json_open_list(w, "tools");
    json_close_list(w);
}

static void
write_wishes(struct json_writer *w, const struct generation *g)
{
    const struct extras *extras = g->more;
    json_bool(w, "parallel_tool_calls", true);
    json_real(w, "temperature", extras->temperature);
    write_value(w, "tool_choice", extras->tool_choice, "auto");
    write_tools(w, extras);
    json_real(w, "top_p", extras->top_p);
    json_bool(w, "background", false);
    json_u64(w, "max_output_tokens",
             g->max_tokens ? g->max_tokens
                           : g->call->sim->settings.max_model_len - g->prompt_tokens);
    json_null(w, "max_tool_calls");
    json_null(w, "previous_response_id");
    json_null(w, "prompt");
    json_null(w, "reasoning");
    json_str(w, "service_tier", "auto");
}

static void
write_response(struct json_writer *w, const char *name, const struct generation *g,
               enum state state)
{
    const struct extras *extras = g->more;
    json_open_map(w, name);
    json_str(w, "id", g->id);
    json_u64(w, "created_at", g->created_s);
    write_incomplete(w, state);
    json_str(w, "instructions", extras->instructions);
    write_value(w, "metadata", extras->metadata, NULL);
    json_str(w, "model", g->model);
    json_str(w, "object", "response");
    json_open_list(w, "output");
    if (state != IN_PROGRESS)
        write_item(w, NULL, g, state);
    json_close_list(w);
    write_wishes(w, g);
    json_str(w, "status", state_name(state));
    json_null(w, "text");
    json_null(w, "top_logprobs");
    json_str(w, "truncation", "disabled");
    write_usage(w, g, state);
    json_null(w, "user");
    json_null(w, "input_messages");
    json_null(w, "output_messages");
    json_close_map(w);
}

static void
answer_whole(struct generation *g)
{
    struct json_writer w;
    buf_clear(&g->call->out);
    json_init(&w, &g->call->out, false);
    write_response(&w, NULL, g, end_state(g));
    call_answer_out(g->call);
}

/* ---- a stream: each event has its number, and most tell of which item they are ---- */

static bool
send_event(struct json_writer *w, struct generation *g, const char *type)
{
    json_u64(w, "sequence_number", g->event_count++);
    json_str(w, "type", type);
    json_close_map(w);
    return generate_send(g, type, &g->call->out);
}

static void
send_response(struct generation *g, const char *type, enum state state)
{
    struct json_writer w = call_open_map(g->call);
    write_response(&w, "response", g, state);
    (void)send_event(&w, g, type);
}

static void
send_item(struct generation *g, const char *type, enum state state)
{
    struct json_writer w = call_open_map(g->call);
    write_item(&w, "item", g, state);
    json_u64(&w, "output_index", 0);
    (void)send_event(&w, g, type);
}

static void
write_place(struct json_writer *w, const struct generation *g)
{
    const struct extras *extras = g->more;
    json_str(w, "item_id", extras->item_id);
}

static void
send_part(struct generation *g, const char *type, const char *text, size_t len, bool whole)
{
    struct json_writer w = call_open_map(g->call);
    json_u64(&w, "content_index", 0);
    write_place(&w, g);
    json_u64(&w, "output_index", 0);
    write_text_part(&w, "part", text, len, whole);
    (void)send_event(&w, g, type);
}

static void
stream_open(struct generation *g)
{
    send_response(g, "response.created", IN_PROGRESS);
    send_response(g, "response.in_progress", IN_PROGRESS);
    send_item(g, "response.output_item.added", IN_PROGRESS);
    if (!g->tool)
        send_part(g, "response.content_part.added", "", 0, false);
}

static void
write_no_logprobs(struct json_writer *w)
{
    json_open_list(w, "logprobs");
    json_close_list(w);
}

static bool
stream_token(struct generation *g, struct choice *c unused_arg, const char *text, size_t len)
{
    struct json_writer w = call_open_map(g->call);
    if (!g->tool)
        json_u64(&w, "content_index", 0);
    json_strn(&w, "delta", text, len);
    write_place(&w, g);
    if (!g->tool)
        write_no_logprobs(&w);
    json_u64(&w, "output_index", 0);
    return send_event(
        &w, g, g->tool ? "response.function_call_arguments.delta" : "response.output_text.delta");
}

static void
send_text_done(struct generation *g, const char *text, size_t len)
{
    struct json_writer w = call_open_map(g->call);
    json_u64(&w, "content_index", 0);
    write_place(&w, g);
    write_no_logprobs(&w);
    json_u64(&w, "output_index", 0);
    json_strn(&w, "text", text, len);
    (void)send_event(&w, g, "response.output_text.done");
    send_part(g, "response.content_part.done", text, len, true);
}

static void
send_arguments_done(struct generation *g, const char *text, size_t len)
{
    struct json_writer w = call_open_map(g->call);
    json_strn(&w, "arguments", text, len);
    write_place(&w, g);
    json_str(&w, "name", g->tool);
    json_u64(&w, "output_index", 0);
    (void)send_event(&w, g, "response.function_call_arguments.done");
}

static bool
stream_close(struct generation *g, struct choice *c)
{
    size_t len = (size_t)(c->said_end - c->said);
    if (g->tool)
        send_arguments_done(g, c->said, len);
    else
        send_text_done(g, c->said, len);
    send_item(g, "response.output_item.done", end_state(g));
    return true;
}

static void
stream_end(struct generation *g)
{
    enum state state = end_state(g);
    send_response(g, state == INCOMPLETE ? "response.incomplete" : "response.completed", state);
}

/* ---- the request ---- */

static const struct dialect responses = {.prefix = "resp_",
                                         .stops = "stop",
                                         .whole = answer_whole,
                                         .open = stream_open,
                                         .token = stream_token,
                                         .close = stream_close,
                                         .end = stream_end};

/* What a tool has put out stands where others have their content. */
static const struct value *
content_of(const struct value *item)
{
    const struct value *content = value_get(item, "content");
    return content ? content : value_get(item, "output");
}

/* Instructions and all items are the prompt, and the last item is the question. */
static void
read_input(struct generation *g, const struct value *input)
{
    _cleanup_buf_ struct buf text = BUF_INIT(64 * MIB);
    const struct extras *extras = g->more;
    size_t question = 0;
    if (extras->instructions)
        buf_printf(&text, "%s\n", extras->instructions);
    if (input->type == VALUE_STRING) {
        question = text.len;
        buf_add(&text, input->text, input->len);
    }
    for (const struct value *item = input->type == VALUE_LIST ? input->first : NULL; item;
         item = item->next) {
        question = text.len;
        texts_add_content(&text, content_of(item));
        if (item->next)
            buf_add_char(&text, '\n');
    }
    struct prompt *prompt = generate_add_prompts(g, 1);
    if (prompt && generate_set_prompt(g, prompt, text.data, text.len))
        prompt->question = prompt->text + question;
}

static void
read_extras(struct generation *g, struct extras *extras)
{
    struct sim *sim = g->call->sim;
    extras->temperature = 1;
    extras->top_p = 1;
    g->more = extras;
    (void)ask_text(&g->ask, "instructions", &extras->instructions);
    (void)ask_real(&g->ask, "temperature", &extras->temperature);
    (void)ask_real(&g->ask, "top_p", &extras->top_p);
    extras->metadata = ask_map(&g->ask, "metadata");
    extras->tools = ask_list(&g->ask, "tools");
    extras->tool_choice = ask_any(&g->ask, "tool_choice");
    call_make_id(sim, "call_", extras->call_id);
}

void
responses_answer(struct call *call, const struct value *body)
{
    struct generation *g = generate_new(call, body, &responses);
    struct extras *extras = g ? arena_new(&call->arena, struct extras) : NULL;
    if (!extras) {
        if (g)
            call_fail_of_memory(call);
        return;
    }
    const struct value *input = ask_needed(&g->ask, "input");
    if (input && input->type != VALUE_STRING && !(input->type == VALUE_LIST && input->first))
        ask_refuse(&g->ask, "input", "string_type", "Input should be a valid string", input);
    generate_read(g);
    generate_read_max(g, "max_output_tokens");
    read_extras(g, extras);
    generate_read_format(g, value_get(ask_map(&g->ask, "text"), "format"));
    if (input && !g->ask.failed)
        read_input(g, input);
    if (!g->ask.failed)
        generate_read_tools(g, &g->prompts[0]);
    call_make_id(call->sim, g->tool ? "fc_" : "msg_", extras->item_id);
    generate_begin(g);
}

void
responses_find(struct call *call, const struct value *body unused_arg)
{
    call_fail(call, 404, "invalid_request_error", "response_id", "Response with id '%s' not found.",
              call->name);
}
