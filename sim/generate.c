/* Chat and text completions. A token is a word with the space before it. */

#include "base/text.h"
#include "fmt/value.h"
#include "http/sse.h"
#include "sim/routes.h"
#include "sys/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SAID_BYTES_MAX (64 * MIB)
#define COMPLETION_TOKENS 16 /* of a text completion that asks for no number, as OpenAI has it */

enum finish { FINISH_NOT, FINISH_STOP, FINISH_LENGTH };

struct sim_generation {
    bool chat, stream, include_usage;
    char id[48];
    uint64_t created_s;
    uint64_t prompt_tokens, tokens, max_tokens;
    const char *answer; /* the words to be said, all */
    const char *next;   /* of them */
    enum finish finish;
    bool begun; /* the first chunk of a chat names the role */
    bool running;
    struct buf text; /* of an answer that is not streamed; or the chunk being made */
};

static const char *
finish_word(enum finish finish)
{
    return finish == FINISH_STOP ? "stop" : finish == FINISH_LENGTH ? "length" : NULL;
}

/* The length of the first word and the spaces before it; 0 at the end. */
static size_t
word_len(const char *text)
{
    size_t blank = strspn(text, " \t\r\n"), word = strcspn(text + blank, " \t\r\n");
    return word ? blank + word : 0;
}

static uint64_t
count_words(const char *text)
{
    uint64_t count = 0;
    for (size_t len; (len = word_len(text)); text += len)
        count++;
    return count;
}

/* ---- what is asked ---- */

static void
answer_missing(struct http_request *r, const char *name)
{
    char param[64];
    (void)snprintf(param, sizeof(param), "body.%s", name);
    sim_answer_error(r, 400, "Bad Request", param,
                     "1 validation error:\n  {'type': 'missing', 'loc': ('body', '%s'), 'msg': "
                     "'Field required'}",
                     name);
}

static void
answer_wrong(struct http_request *r, const char *name, const char *wanted)
{
    char param[64];
    (void)snprintf(param, sizeof(param), "body.%s", name);
    sim_answer_error(r, 400, "Bad Request", param,
                     "1 validation error:\n  {'loc': ('body', '%s'), 'msg': 'Input should be a "
                     "valid %s'}",
                     name, wanted);
}

/* The text of a message: a string, or a list of parts of which those of text count. */
static void
add_content(struct buf *out, const struct value *content)
{
    if (value_str(content))
        buf_add_str(out, value_str(content));
    for (const struct value *part = content && content->type == VALUE_LIST ? content->first : NULL;
         part; part = part->next) {
        const char *text = value_str(value_get(part, "text"));
        if (text)
            buf_add_str(out, text);
    }
}

/* The last message is what is answered; all of them are the prompt's tokens. */
static bool
read_messages(struct sim_call *call, const struct value *messages, struct buf *last,
              uint64_t *ret_tokens)
{
    if (!messages) {
        answer_missing(call->request, "messages");
        return false;
    }
    if (messages->type != VALUE_LIST || !messages->first) {
        answer_wrong(call->request, "messages", "list of messages");
        return false;
    }
    *ret_tokens = 0;
    for (const struct value *m = messages->first; m; m = m->next) {
        if (m->type != VALUE_MAP || !value_str(value_get(m, "role"))) {
            answer_wrong(call->request, "messages", "list of maps with a role and a content");
            return false;
        }
        buf_clear(last);
        add_content(last, value_get(m, "content"));
        *ret_tokens += count_words(last->data);
    }
    return true;
}

static bool
read_prompt(struct sim_call *call, const struct value *prompt, struct buf *text,
            uint64_t *ret_tokens)
{
    if (!prompt) {
        answer_missing(call->request, "prompt");
        return false;
    }
    if (!value_str(prompt)) {
        answer_wrong(call->request, "prompt", "string");
        return false;
    }
    buf_add_str(text, value_str(prompt));
    *ret_tokens = count_words(text->data);
    return true;
}

static bool
read_count(struct sim_call *call, const struct value *body, const char *name, uint64_t *n)
{
    const struct value *v = value_get(body, name);
    if (!v || v->type == VALUE_NULL || (value_u64(v, n) && *n > 0))
        return true;
    answer_wrong(call->request, name, "integer greater than 0");
    return false;
}

/* Model, stream and the number of tokens. */
static bool
read_wishes(struct sim_call *call, const struct value *body, struct sim_generation *g)
{
    const struct value *stream = value_get(body, "stream");
    const char *model = value_str(value_get(body, "model"));
    if (model && !text_eq(model, call->sim->model)) {
        sim_answer_error(call->request, 404, "NotFoundError", "model",
                         "The model `%s` does not exist.", model);
        return false;
    }
    if (stream && stream->type != VALUE_NULL && !value_bool(stream, &g->stream)) {
        answer_wrong(call->request, "stream", "boolean");
        return false;
    }
    (void)value_bool(value_get(value_get(body, "stream_options"), "include_usage"),
                     &g->include_usage);
    g->max_tokens = g->chat ? call->sim->max_model_len : COMPLETION_TOKENS;
    return read_count(call, body, "max_tokens", &g->max_tokens) &&
           read_count(call, body, "max_completion_tokens", &g->max_tokens);
}

static bool
fits(struct sim_call *call, const struct sim_generation *g)
{
    uint32_t max = call->sim->max_model_len;
    if (g->prompt_tokens < max)
        return true;
    sim_answer_error(call->request, 400, "BadRequestError", "input_tokens",
                     "This model's maximum context length is %u tokens. However, your request has "
                     "%" PRIu64 " input tokens. Please reduce the length of the input messages.",
                     max, g->prompt_tokens);
    return false;
}

/* ---- what is said ---- */

static void
open_object(struct json_writer *w, const struct sim_call *call, const char *object)
{
    json_open_map(w, NULL);
    json_str(w, "id", call->generation->id);
    json_str(w, "object", object);
    json_u64(w, "created", call->generation->created_s);
    json_str(w, "model", call->sim->model);
}

static void
write_usage(struct json_writer *w, const struct sim_generation *g)
{
    json_open_map(w, "usage");
    json_u64(w, "prompt_tokens", g->prompt_tokens);
    json_u64(w, "total_tokens", g->prompt_tokens + g->tokens);
    json_u64(w, "completion_tokens", g->tokens);
    json_close_map(w);
}

static void
write_message(struct json_writer *w, const struct sim_generation *g)
{
    json_open_map(w, "message");
    json_str(w, "role", "assistant");
    json_strn(w, "content", g->text.data, g->text.len);
    json_null(w, "refusal");
    json_open_list(w, "tool_calls");
    json_close_list(w);
    json_close_map(w);
}

static void
answer_whole(struct sim_call *call)
{
    struct sim_generation *g = call->generation;
    _cleanup_buf_ struct buf body = BUF_INIT(2 * SAID_BYTES_MAX);
    struct json_writer w;
    json_init(&w, &body, false);
    open_object(&w, call, g->chat ? "chat.completion" : "text_completion");
    json_open_list(&w, "choices");
    json_open_map(&w, NULL);
    json_u64(&w, "index", 0);
    if (g->chat)
        write_message(&w, g);
    else
        json_strn(&w, "text", g->text.data, g->text.len);
    json_null(&w, "logprobs");
    json_str(&w, "finish_reason", finish_word(g->finish));
    json_null(&w, "stop_reason");
    json_close_map(&w);
    json_close_list(&w);
    json_null(&w, "system_fingerprint");
    write_usage(&w, g);
    json_close_map(&w);
    sim_answer_json(call->request, &body);
}

/* A chunk with some text; the last one has none, but says why it is the last. */
static bool
stream_chunk(struct sim_call *call, const char *text, size_t len, bool last)
{
    struct sim_generation *g = call->generation;
    _cleanup_buf_ struct buf body = BUF_INIT(SAID_BYTES_MAX), event = BUF_INIT(SAID_BYTES_MAX);
    struct json_writer w;
    json_init(&w, &body, false);
    open_object(&w, call, g->chat ? "chat.completion.chunk" : "text_completion");
    json_open_list(&w, "choices");
    json_open_map(&w, NULL);
    json_u64(&w, "index", 0);
    if (g->chat) {
        json_open_map(&w, "delta");
        if (!g->begun)
            json_str(&w, "role", "assistant");
        json_strn(&w, "content", text, len);
        json_close_map(&w);
    } else {
        json_strn(&w, "text", text, len);
    }
    json_null(&w, "logprobs");
    json_str(&w, "finish_reason", last ? finish_word(g->finish) : NULL);
    json_close_map(&w);
    json_close_list(&w);
    json_close_map(&w);
    g->begun = true;
    sse_write(&event, NULL, body.data, body.len);
    return http_answer_write(call->request, event.data, event.len);
}

static void
stream_end(struct sim_call *call)
{
    struct sim_generation *g = call->generation;
    _cleanup_buf_ struct buf body = BUF_INIT(64 * KIB), event = BUF_INIT(128 * KIB);
    struct json_writer w;
    (void)stream_chunk(call, "", 0, true);
    if (g->include_usage) {
        json_init(&w, &body, false);
        open_object(&w, call, g->chat ? "chat.completion.chunk" : "text_completion");
        json_open_list(&w, "choices");
        json_close_list(&w);
        write_usage(&w, g);
        json_close_map(&w);
        sse_write(&event, NULL, body.data, body.len);
    }
    sse_write(&event, NULL, "[DONE]", strlen("[DONE]"));
    (void)http_answer_write(call->request, event.data, event.len);
    http_answer_end(call->request);
}

/* The next word; 0 when all are said or the limit is reached. */
static size_t
take_token(struct sim_call *call)
{
    struct sim_generation *g = call->generation;
    size_t len = word_len(g->next);
    if (len == 0 || g->tokens == g->max_tokens) {
        g->finish = len == 0 ? FINISH_STOP : FINISH_LENGTH;
        return 0;
    }
    g->next += len;
    g->tokens++;
    call->sim->generation_tokens++;
    call->sim->steps++;
    return len;
}

void
sim_generation_continue(struct sim_call *call)
{
    struct sim_generation *g = call->generation;
    if (!g || g->finish != FINISH_NOT)
        return;
    for (;;) {
        const char *word = g->next;
        size_t len = take_token(call);
        if (len == 0)
            break;
        if (!g->stream)
            buf_add(&g->text, word, len);
        else if (!stream_chunk(call, word, len, false))
            return;
    }
    if (g->stream)
        stream_end(call);
    else
        answer_whole(call);
}

void
sim_generation_finish(struct sim_call *call, bool answered)
{
    struct sim_generation *g = call->generation;
    if (!g)
        return;
    if (g->running) {
        call->sim->running--;
        if (!answered)
            call->sim->finished_abort++;
        else if (g->finish == FINISH_LENGTH)
            call->sim->finished_length++;
        else
            call->sim->finished_stop++;
    }
    buf_finish(&g->text);
    call->generation = NULL;
}

static void
begin(struct sim_call *call, const char *prompt)
{
    struct sim *sim = call->sim;
    struct sim_generation *g = call->generation;
    g->answer = g->next = arena_printf(&call->arena, "Simulated answer to: %s", prompt);
    if (!g->answer) {
        sim_answer_error(call->request, 500, "InternalServerError", NULL, "out of memory");
        return;
    }
    g->created_s = clock_wall_us() / 1000000;
    (void)snprintf(g->id, sizeof(g->id), "%s-%016" PRIx64, g->chat ? "chatcmpl" : "cmpl",
                   ++sim->calls);
    g->max_tokens = MIN(g->max_tokens, sim->max_model_len - g->prompt_tokens);
    g->running = true;
    sim->running++;
    sim->prompt_tokens += g->prompt_tokens;
    sim->steps++;
    if (g->stream) {
        http_answer_begin(call->request, 200);
        http_answer_field(call->request, "Content-Type", "text/event-stream; charset=utf-8");
        http_answer_field(call->request, "Cache-Control", "no-cache");
        http_answer_stream(call->request);
    }
    sim_generation_continue(call);
}

static void
generate(struct sim_call *call, const struct value *body, bool chat)
{
    _cleanup_buf_ struct buf prompt = BUF_INIT(SAID_BYTES_MAX);
    struct sim_generation *g = arena_new(&call->arena, struct sim_generation);
    if (!g) {
        sim_answer_error(call->request, 500, "InternalServerError", NULL, "out of memory");
        return;
    }
    *g = (struct sim_generation){.chat = chat, .text = BUF_INIT(SAID_BYTES_MAX)};
    call->generation = g;
    bool read = chat ? read_messages(call, value_get(body, "messages"), &prompt, &g->prompt_tokens)
                     : read_prompt(call, value_get(body, "prompt"), &prompt, &g->prompt_tokens);
    if (read && read_wishes(call, body, g) && fits(call, g))
        begin(call, prompt.data);
}

static void
answer_chat(struct sim_call *call, const struct value *body)
{
    generate(call, body, true);
}

static void
answer_completion(struct sim_call *call, const struct value *body)
{
    generate(call, body, false);
}

void
sim_chat(struct sim *sim, struct http_request *r)
{
    sim_take_json(sim, r, answer_chat);
}

void
sim_completions(struct sim *sim, struct http_request *r)
{
    sim_take_json(sim, r, answer_completion);
}
