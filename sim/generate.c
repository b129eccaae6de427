#include "sim/generate.h"

#include "base/text.h"
#include "http/sse.h"
#include "sim/schema.h"
#include "sim/sim.h"
#include "sim/since.h"
#include "sim/texts.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define TEXT_BYTES_MAX (256 * MIB)
#define CUT_US 20000 /* in which what was sent before a cut gets through */

static const char answer_begins[] = "Simulated answer to: ";

static void pump(struct call *call);
static void finish(struct call *call, bool answered);

static const struct call_ops generation_ops = {.writable = pump, .finished = finish};

struct generation *
generate_new(struct call *call, const struct value *body, const struct dialect *dialect)
{
    struct generation *g = arena_new(&call->arena, struct generation);
    if (!g) {
        call_fail_of_memory(call);
        return NULL;
    }
    g->call = call;
    g->ask = (struct ask){.call = call, .body = body};
    g->dialect = dialect;
    g->model = sim_model(call->sim);
    g->release = call->sim->settings.release;
    g->n = 1;
    return g;
}

/* ---- wishes ---- */

static void
read_stops(struct generation *g)
{
    const char *name = g->dialect->stops;
    const struct value *stop = ask_any(&g->ask, name);
    const struct value *first = stop && stop->type == VALUE_LIST ? stop->first : stop;
    for (const struct value *v = first; v; v = stop == v ? NULL : v->next) {
        if (!value_str(v))
            ask_refuse(&g->ask, name, "string_type", "Input should be a valid string", v);
        else if (!*value_str(v))
            ask_fail(&g->ask, "stop cannot contain an empty string.");
        else if (g->stop_count == GENERATE_STOPS_MAX)
            ask_fail(&g->ask, "stop has more than %d strings.", GENERATE_STOPS_MAX);
        else
            g->stops[g->stop_count++] = value_str(v);
        if (g->ask.failed)
            return;
    }
}

/* What vLLM's SamplingParams refuse; nothing here depends on what they allow. */
static void
check_sampling(struct generation *g)
{
    double temperature = 1, top_p = 1, presence = 0, frequency = 0;
    struct ask *a = &g->ask;
    (void)ask_real(a, "temperature", &temperature);
    (void)ask_real(a, "top_p", &top_p);
    (void)ask_real(a, "presence_penalty", &presence);
    (void)ask_real(a, "frequency_penalty", &frequency);
    if (temperature < 0)
        ask_fail(a, "temperature must be non-negative, got %g.", temperature);
    if (top_p <= 0 || top_p > 1)
        ask_fail(a, "top_p must be in (0, 1], got %g.", top_p);
    if (presence < -2 || presence > 2)
        ask_fail(a, "presence_penalty must be in [-2, 2], got %g.", presence);
    if (frequency < -2 || frequency > 2)
        ask_fail(a, "frequency_penalty must be in [-2, 2], got %g.", frequency);
}

static void
read_stream(struct generation *g)
{
    struct ask *a = &g->ask;
    const struct value *options;
    g->usage = g->call->sim->settings.force_usage;
    (void)ask_bool(a, "stream", &g->stream);
    options = ask_map(a, "stream_options");
    if (options && !g->stream)
        ask_fail(a, "Stream options can only be defined when `stream=True`.");
    (void)value_bool(value_get(options, "include_usage"), &g->usage);
    (void)value_bool(value_get(options, "continuous_usage_stats"), &g->continuous_usage);
    g->continuous_usage = g->continuous_usage && g->usage;
}

void
generate_read(struct generation *g)
{
    struct ask *a = &g->ask;
    (void)ask_text(a, "model", &g->model);
    read_stream(g);
    if (g->dialect->many)
        (void)ask_count(a, "n", &g->n);
    (void)ask_count(a, "min_tokens", &g->min_tokens);
    (void)ask_bool(a, "ignore_eos", &g->ignore_eos);
    (void)ask_bool(a, "include_stop_str_in_output", &g->keep_stop);
    read_stops(g);
    check_sampling(g);
    if (g->n == 0 || g->n > GENERATE_CHOICES_MAX)
        ask_fail(a, "n must be from 1 to %d, got %" PRIu64 ".", GENERATE_CHOICES_MAX, g->n);
}

void
generate_read_max(struct generation *g, const char *name)
{
    uint64_t most;
    if (!ask_count(&g->ask, name, &most))
        return;
    if (most == 0)
        ask_fail(&g->ask, "%s must be at least 1, got 0.", name);
    g->max_tokens = most;
}

/* {"type": "json_object"}, or {"type": "json_schema", "json_schema": {"schema": ...}}; /v1/responses
 * has the schema without a map around it. */
void
generate_read_format(struct generation *g, const struct value *format)
{
    const char *type = value_str(value_get(format, "type"));
    const struct value *around = value_get(format, "json_schema");
    if (text_eq(type, "json_schema")) {
        g->json = true;
        g->schema = value_get(around ? around : format, "schema");
    } else if (text_eq(type, "json_object")) {
        g->json = true;
    }
}

/* ---- what answers have in common ---- */

void
generate_write_head(struct json_writer *w, const struct generation *g, const char *object)
{
    json_str(w, "id", g->id);
    json_str(w, "object", object);
    json_u64(w, "created", g->created_s);
    json_str(w, "model", g->model);
}

/* A stream leaves out what it has nothing to say about. */
void
generate_write_usage(struct json_writer *w, const struct generation *g, uint64_t made, bool whole)
{
    const struct settings *s = &g->call->sim->settings;
    json_open_map(w, "usage");
    json_u64(w, "prompt_tokens", g->prompt_tokens);
    json_u64(w, "total_tokens", g->prompt_tokens + made);
    json_u64(w, "completion_tokens", made);
    if (s->prompt_details) {
        json_open_map(w, "prompt_tokens_details");
        json_u64(w, "cached_tokens", g->cached_tokens);
        json_close_map(w);
    } else if (whole) {
        json_null(w, "prompt_tokens_details");
    }
    if (whole && s->release >= SINCE_COMPLETION_DETAILS)
        json_null(w, "completion_tokens_details");
    json_close_map(w);
}

void
generate_write_fingerprint(struct json_writer *w, const struct generation *g)
{
    const struct settings *s = &g->call->sim->settings;
    char gpus[32] = "", text[160];
    if (s->tensor_parallel > 1)
        (void)snprintf(gpus, sizeof(gpus), "-tp%" PRIu64, s->tensor_parallel);
    (void)snprintf(text, sizeof(text), "vllm-%s%s-00000000", s->version, gpus);
    json_str(w, "system_fingerprint", text);
}

void
generate_send_done(struct generation *g)
{
    static const char done[] = "data: [DONE]\n\n";
    (void)call_write(g->call, done, sizeof(done) - 1);
}

double
generate_logprob(uint64_t n)
{
    return -0.25 - 0.75 * (double)n;
}

/* ---- tools ---- */

static const char *
tool_name(const struct value *tool)
{
    const struct value *function = value_get(tool, "function");
    return value_str(value_get(function ? function : tool, "name"));
}

static const struct value *
tool_schema(const struct value *tool)
{
    const struct value *function = value_get(tool, "function");
    const struct value *schema = value_get(function ? function : tool, "parameters");
    return schema ? schema : value_get(tool, "input_schema");
}

static void
call_tool(struct generation *g, const struct value *tool)
{
    g->tool = tool_name(tool);
    g->schema = tool_schema(tool);
    g->json = true;
    call_make_id(g->call->sim, "chatcmpl-tool-", g->tool_id);
}

static const struct value *
find_tool(const struct value *tools, const char *name)
{
    for (const struct value *t = tools->first; t; t = t->next)
        if (tool_name(t) && text_eq(tool_name(t), name))
            return t;
    return NULL;
}

/* Without a word on it: the first whose name is in the question. */
static void
choose_tool(struct generation *g, const struct value *tools, const struct prompt *prompt)
{
    const struct settings *s = &g->call->sim->settings;
    if (!s->auto_tools || !s->tool_parser) {
        ask_fail(&g->ask, "\"auto\" tool choice requires --enable-auto-tool-choice and "
                          "--tool-call-parser to be set");
        return;
    }
    for (const struct value *t = tools->first; t; t = t->next)
        if (tool_name(t) && strstr(prompt->question, tool_name(t))) {
            call_tool(g, t);
            return;
        }
}

static void
force_tool(struct generation *g, const struct value *tools, const char *name)
{
    const struct value *tool = name ? find_tool(tools, name) : tools->first;
    if (!tool || !tool_name(tool))
        ask_fail(&g->ask, "The tool '%s' is not in `tools`.", name ? name : "");
    else
        call_tool(g, tool);
}

void
generate_read_tools(struct generation *g, const struct prompt *prompt)
{
    const struct value *tools = ask_list(&g->ask, "tools");
    const struct value *choice = ask_any(&g->ask, "tool_choice");
    const char *word = value_str(choice);
    if (choice && !word)
        word = value_str(value_get(choice, "type"));
    if (!tools || !tools->first || g->ask.failed) {
        if (choice && !text_eq(word, "none") && !text_eq(word, "auto"))
            ask_fail(&g->ask, "When using `tool_choice`, `tools` must be set.");
        return;
    }
    const struct value *function = value_get(choice, "function");
    const char *name = value_str(value_get(function ? function : choice, "name"));
    if (text_eq(word, "none"))
        return;
    if (name)
        force_tool(g, tools, name);
    else if (text_eq(word, "required") || text_eq(word, "any"))
        force_tool(g, tools, NULL);
    else
        choose_tool(g, tools, prompt);
}

/* ---- prompts ---- */

struct prompt *
generate_add_prompts(struct generation *g, size_t count)
{
    g->prompts = arena_alloc(&g->call->arena, count * sizeof(*g->prompts));
    g->prompt_count = count;
    if (!g->prompts)
        ask_fail_of_memory(&g->ask);
    return g->prompts;
}

bool
generate_set_prompt(struct generation *g, struct prompt *prompt, const char *text, size_t len)
{
    prompt->text = prompt->question = arena_strndup(&g->call->arena, text, len);
    prompt->len = len;
    if (prompt->text)
        prompt->tokens = MAX(word_count(text, len), 1u);
    else
        ask_fail_of_memory(&g->ask);
    return prompt->text;
}

/* All that was said before is the prompt, and what was said last is the question. */
void
generate_read_messages(struct generation *g, const struct value *messages, const char *before)
{
    _cleanup_buf_ struct buf text = BUF_INIT(TEXT_BYTES_MAX);
    size_t question = 0;
    if (before)
        buf_add_str(&text, before);
    if (!texts_read_messages(&g->ask, messages, &text, &question))
        return;
    struct prompt *prompt = buf_error(&text) < 0 ? NULL : generate_add_prompts(g, 1);
    if (!prompt)
        ask_fail_of_memory(&g->ask);
    else if (generate_set_prompt(g, prompt, text.data, text.len))
        prompt->question = prompt->text + question;
}

/* ---- what will be said ---- */

static const char *
find_stop(const struct generation *g, const char *text, const char **ret_stop)
{
    const char *first = NULL;
    for (size_t i = 0; i < g->stop_count; i++) {
        const char *at = strstr(text, g->stops[i]);
        if (at && (!first || at < first)) {
            first = at;
            *ret_stop = g->stops[i];
        }
    }
    return first;
}

/* The end of the first `most` tokens; *ret_tokens: how many there are. */
static const char *
end_of_tokens(const char *text, const char *end, uint64_t most, uint64_t *ret_tokens)
{
    uint64_t count = 0;
    for (size_t step; count < most && (step = word_len(text, end)); count++)
        text += step;
    *ret_tokens = count;
    return text;
}

/* The text, over and over, until it has so many tokens. */
static const char *
repeat(struct generation *g, const char *text, uint64_t tokens)
{
    uint64_t each = MAX(word_count(text, strlen(text)), 1u);
    uint64_t times = (tokens + each - 1) / each;
    size_t len = strlen(text);
    char *all = times <= TEXT_BYTES_MAX / (len + 1)
                    ? arena_alloc(&g->call->arena, times * (len + 1) + 1)
                    : NULL;
    for (uint64_t i = 0; all && i < times; i++) {
        memcpy(all + i * (len + 1), text, len);
        all[i * (len + 1) + len] = ' ';
    }
    return all;
}

static const char *
make_json(struct generation *g, const char *answer)
{
    _cleanup_buf_ struct buf out = BUF_INIT(TEXT_BYTES_MAX);
    struct json_writer w;
    json_init(&w, &out, false);
    if (g->schema) {
        schema_write(&w, NULL, g->schema, answer);
    } else {
        json_open_map(&w, NULL);
        if (!g->tool)
            json_str(&w, "answer", answer);
        json_close_map(&w);
    }
    return buf_error(&out) < 0 ? NULL : arena_strndup(&g->call->arena, out.data, out.len);
}

static const char *
make_answer(struct generation *g, const struct prompt *prompt)
{
    size_t len = strlen(prompt->question), before = sizeof(answer_begins) - 1;
    if (g->call->sim->rest.weights_lost)
        return "!";
    char *answer = arena_alloc(&g->call->arena, before + len + 1);
    if (!answer)
        return NULL;
    memcpy(answer, answer_begins, before);
    memcpy(answer + before, prompt->question, len);
    return g->json ? make_json(g, answer) : answer;
}

/* How much of the answer is said, and why it ends there. Without its weights the model never comes
 * to an end. */
static bool
compose(struct generation *g, struct choice *c, const char *answer, uint64_t most)
{
    uint64_t tokens;
    bool endless = g->ignore_eos || g->call->sim->rest.weights_lost;
    if (endless || (g->min_tokens && word_count(answer, strlen(answer)) < g->min_tokens))
        answer = repeat(g, answer, endless ? most : MIN(g->min_tokens, most));
    if (!answer)
        return false;
    const char *end = answer + strlen(answer), *stop = find_stop(g, answer, &c->stop);
    if (stop)
        end = stop + (g->keep_stop ? strlen(c->stop) : 0);
    c->said = c->next = answer;
    c->said_end = end_of_tokens(answer, end, most, &tokens);
    bool all = word_len(c->said_end, end) == 0;
    c->finish = all && !(endless && !stop) ? FINISH_STOP : FINISH_LENGTH;
    if (c->finish != FINISH_STOP)
        c->stop = NULL;
    if (!endless && !stop && g->min_tokens >= tokens && tokens < most)
        c->finish = FINISH_STOP;
    c->seq.wanted_tokens = tokens;
    return true;
}

static void on_moved(struct seq *seq);

static void
set_choice(struct generation *g, struct choice *c, unsigned index, const struct prompt *prompt)
{
    c->generation = g;
    c->index = index;
    c->prompt = prompt;
    c->seq.moved = on_moved;
    c->seq.prompt_tokens = prompt->tokens;
    c->seq.finish = c->finish;
    c->seq.n = g->n;
    c->seq.max_tokens =
        g->max_tokens ? g->max_tokens : g->call->sim->settings.max_model_len - prompt->tokens;
}

static void
count_cached(struct generation *g, struct choice *c)
{
    struct sim *sim = g->call->sim;
    if (!sim->settings.prefix_caching)
        return;
    c->seq.cached_tokens =
        prefix_take(&sim->prefix, c->prompt->text, c->prompt->len, sim->settings.block_tokens);
    g->cached_tokens += c->seq.cached_tokens;
}

static bool
make_choices(struct generation *g)
{
    struct arena *arena = &g->call->arena;
    g->choice_count = g->prompt_count * g->n;
    g->choices = arena_alloc(arena, g->choice_count * sizeof(*g->choices));
    for (size_t i = 0; g->choices && i < g->choice_count; i++) {
        const struct prompt *prompt = &g->prompts[i / g->n];
        struct choice *c = &g->choices[i], *same = i % g->n ? c - 1 : NULL;
        uint64_t room = g->call->sim->settings.max_model_len - prompt->tokens;
        uint64_t most = g->max_tokens ? MIN(g->max_tokens, room) : room;
        if (same)
            *c = *same;
        const char *answer = same ? NULL : make_answer(g, prompt);
        if (!same && (!answer || !compose(g, c, answer, most)))
            return false;
        set_choice(g, c, (unsigned)i, prompt);
        count_cached(g, c);
    }
    return g->choices;
}

/* ---- lengths ---- */

/* Each wording with the releases that have it. Later ones count a prompt only as far as they need to
 * know that it is too long. */
void
generate_refuse_length(struct call *call, uint64_t prompt, uint64_t wanted)
{
    const struct settings *s = &call->sim->settings;
    uint64_t max = s->max_model_len, room = wanted < max ? max - wanted : 0;
    uint64_t least = MIN(room + 1, prompt);
    char parameter[64] = "";
    if (s->release >= SINCE_PARAMETER)
        (void)snprintf(parameter, sizeof(parameter), " (parameter=input_tokens, value=%" PRIu64 ")",
                       prompt);
    if (s->release >= SINCE_FINGERPRINT)
        call_fail(call, 400, "BadRequestError", "input_tokens",
                  "This model's maximum context length is %" PRIu64
                  " tokens. However, you requested "
                  "%" PRIu64 " output tokens and your prompt contains at least %" PRIu64 " input "
                  "tokens, for a total of at least %" PRIu64 " tokens. Please reduce the length of "
                  "the input prompt or the number of requested output tokens. "
                  "(parameter=input_tokens, value=%" PRIu64 ")",
                  max, wanted, least, wanted + least, least);
    else if (prompt >= max)
        call_fail(call, 400, "BadRequestError",
                  s->release >= SINCE_PARAMETER ? "input_tokens" : NULL,
                  "This model's maximum context length is %" PRIu64
                  " tokens. However, your request has %" PRIu64
                  " input tokens. Please reduce the length of the input messages.%s",
                  max, prompt, parameter);
    else if (s->release >= SINCE_PARAMETER)
        call_fail(call, 400, "BadRequestError", "input_tokens",
                  "You passed %" PRIu64 " input tokens and requested %" PRIu64 " output tokens. "
                  "However, the model's context length is only %" PRIu64 " tokens, resulting in a "
                  "maximum input length of %" PRIu64 " tokens. Please reduce the length of the "
                  "input prompt. (parameter=input_tokens, value=%" PRIu64 ")",
                  least, wanted, max, room, least);
    else
        call_fail(call, 400, "BadRequestError", NULL,
                  "'max_tokens' or 'max_completion_tokens' is too large: %" PRIu64 ". This model's "
                  "maximum context length is %" PRIu64 " tokens and your request has %" PRIu64
                  " input tokens (%" PRIu64 " > %" PRIu64 " - %" PRIu64 ").",
                  wanted, max, prompt, wanted, max, prompt);
}

static bool
fits(struct generation *g)
{
    uint64_t max = g->call->sim->settings.max_model_len;
    for (size_t i = 0; i < g->prompt_count; i++) {
        const struct prompt *prompt = &g->prompts[i];
        if (prompt->tokens >= max || g->max_tokens > max - prompt->tokens) {
            g->ask.failed = true;
            generate_refuse_length(g->call, prompt->tokens, g->max_tokens);
            return false;
        }
        g->prompt_tokens += prompt->tokens;
    }
    if (g->max_tokens && g->min_tokens > g->max_tokens)
        ask_fail(&g->ask,
                 "min_tokens must be less than or equal to max_tokens=%" PRIu64 ", got %" PRIu64
                 ".",
                 g->max_tokens, g->min_tokens);
    if (g->prompt_count * g->n > GENERATE_CHOICES_MAX)
        ask_fail(&g->ask, "more than %d answers at a time", GENERATE_CHOICES_MAX);
    return !g->ask.failed;
}

/* ---- from the scheduler to the client ---- */

uint64_t
generate_made(const struct generation *g)
{
    uint64_t tokens = 0;
    for (size_t i = 0; i < g->choice_count; i++)
        tokens += g->stream ? g->choices[i].told_tokens : g->choices[i].seq.made_tokens;
    return tokens;
}

const char *
generate_finish_name(const struct generation *g, const struct choice *c)
{
    return g->tool && c->finish == FINISH_STOP ? "tool_calls" : finish_name(c->finish);
}

bool
generate_send(struct generation *g, const char *type, const struct buf *data)
{
    _cleanup_buf_ struct buf event = BUF_INIT(TEXT_BYTES_MAX);
    sse_write(&event, type, data->data, data->len);
    return call_write(g->call, event.data, event.len);
}

static void
on_cut(struct loop_timer *timer)
{
    call_cut(container_of(timer, struct call, delay));
}

/* What was sent so far arrives; then the connection is reset. */
static void
cut_off(struct generation *g)
{
    struct call *call = g->call;
    if (loop_timer_is_set(&call->delay))
        return;
    if (!g->stream) {
        static const char half[] = "{\"id\":\"";
        call_stream(call);
        (void)call_write(call, half, sizeof(half) - 1);
    }
    call->delay.expired = on_cut;
    loop_timer_start(call->sim->loop, &call->delay, CUT_US, 0);
}

static bool
tell_tokens(struct generation *g, struct choice *c)
{
    while (c->told_tokens < c->seq.made_tokens) {
        size_t len = word_len(c->next, c->said_end);
        const char *text = c->next;
        if (g->call->cut && c->told_tokens >= c->seq.wanted_tokens / 2) {
            cut_off(g);
            return false;
        }
        c->next += len;
        c->told_tokens++;
        if (!g->dialect->token(g, c, text, len))
            return false;
    }
    return true;
}

/* Tells the client what it was not told yet, as long as it keeps up. */
static void
pump(struct call *call)
{
    struct generation *g = call->work;
    bool all = true;
    if (!g->stream || g->failed)
        return;
    for (size_t i = 0; i < g->choice_count; i++) {
        struct choice *c = &g->choices[i];
        if (c->closed)
            continue;
        if (!tell_tokens(g, c))
            return;
        bool ended = !c->seq.list && c->told_tokens == c->seq.wanted_tokens;
        all = all && ended;
        if (!ended)
            continue;
        c->closed = true;
        if (!g->dialect->close(g, c))
            return;
    }
    if (all) {
        g->dialect->end(g);
        call_end(call);
    }
}

static void
on_moved(struct seq *seq)
{
    struct choice *c = container_of(seq, struct choice, seq);
    struct generation *g = c->generation;
    if (!seq->list)
        g->unfinished--;
    if (g->failed)
        return;
    if (!seq->list && (seq->finish == FINISH_ERROR || seq->finish == FINISH_ABORT)) {
        g->failed = true;
        if (seq->finish == FINISH_ERROR)
            call_fail_of_engine(g->call);
        else
            http_answer_cut(g->call->request);
    } else if (g->stream) {
        pump(g->call);
    } else if (g->unfinished == 0 && g->call->cut) {
        cut_off(g);
    } else if (g->unfinished == 0) {
        g->dialect->whole(g);
    }
}

static void
finish(struct call *call, bool answered unused_arg)
{
    struct generation *g = call->work;
    g->failed = true; /* nobody is told any more */
    for (size_t i = 0; i < g->choice_count; i++)
        batch_remove(&call->sim->batch, &g->choices[i].seq);
}

void
generate_begin(struct generation *g)
{
    struct sim *sim = g->call->sim;
    if (g->ask.failed || !call_admit(g->call, g->model) || !fits(g))
        return;
    if (!make_choices(g)) {
        ask_fail_of_memory(&g->ask);
        return;
    }
    g->created_s = call_wall_s(g->call);
    call_make_id(sim, g->dialect->prefix, g->id);
    g->call->work = g;
    g->call->ops = &generation_ops;
    g->call->cut = faults_take(&sim->faults, FAULT_CUT);
    g->unfinished = g->choice_count;
    if (g->stream) {
        call_stream(g->call);
        g->dialect->open(g);
    }
    for (size_t i = 0; i < g->choice_count && !g->failed; i++)
        batch_add(&sim->batch, &g->choices[i].seq);
}
