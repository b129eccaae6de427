#include "sim/pool.h"

#include "sim/generate.h"
#include "sim/sim.h"
#include "sim/since.h"
#include "sim/texts.h"

#include <inttypes.h>
#include <string.h>

#define TEXT_BYTES_MAX (64 * MIB)

struct pool *
pool_new(struct call *call, const struct value *body, const char *prefix,
         void (*answer)(struct pool *pool))
{
    struct pool *p = arena_new(&call->arena, struct pool);
    if (!p) {
        call_fail_of_memory(call);
        return NULL;
    }
    p->call = call;
    p->ask = (struct ask){.call = call, .body = body};
    p->prefix = prefix;
    p->answer = answer;
    p->model = sim_model(call->sim);
    (void)ask_text(&p->ask, "model", &p->model);
    return p;
}

/* ---- inputs ---- */

bool
pool_add(struct pool *p, size_t count)
{
    if (p->ask.failed)
        return false;
    if (count > POOL_INPUTS_MAX) {
        ask_fail(&p->ask, "more than %d inputs at a time, got %zu.", POOL_INPUTS_MAX, count);
        return false;
    }
    p->inputs = arena_alloc(&p->call->arena, MAX(count, (size_t)1) * sizeof(*p->inputs));
    p->count = p->inputs ? count : 0;
    if (!p->inputs)
        ask_fail_of_memory(&p->ask);
    return p->inputs;
}

void
pool_set(struct pool *p, size_t i, const char *text, size_t len)
{
    struct pool_input *input = &p->inputs[i];
    input->pool = p;
    input->len = len;
    input->text = arena_strndup(&p->call->arena, text, len);
    if (!input->text) {
        ask_fail_of_memory(&p->ask);
        return;
    }
    input->seq.prompt_tokens = MAX(word_count(text, len), 1u);
    p->tokens += input->seq.prompt_tokens;
}

static void
read_messages(struct pool *p, const struct value *messages)
{
    _cleanup_buf_ struct buf text = BUF_INIT(TEXT_BYTES_MAX);
    size_t last;
    if (texts_read_messages(&p->ask, messages, &text, &last) && pool_add(p, 1))
        pool_set(p, 0, text.data, text.len);
}

void
pool_read_input(struct pool *p)
{
    const struct value *messages = ask_list(&p->ask, "messages");
    if (messages) {
        read_messages(p, messages);
        return;
    }
    const struct value *v = ask_needed(&p->ask, "input");
    if (!v)
        return;
    if (!pool_add(p, texts_count(v)))
        return;
    const struct value *one = texts_first(v);
    for (size_t i = 0; i < p->count && !p->ask.failed; i++, one = one->next) {
        _cleanup_buf_ struct buf text = BUF_INIT(TEXT_BYTES_MAX);
        if (texts_read(&p->ask, "input", one, &text))
            pool_set(p, i, text.data, text.len);
    }
}

/* ---- through the scheduler ---- */

static void
on_moved(struct seq *seq)
{
    struct pool *p = container_of(seq, struct pool_input, seq)->pool;
    if (seq->list || p->failed)
        return;
    p->unfinished--;
    if (seq->finish == FINISH_ERROR || seq->finish == FINISH_ABORT) {
        p->failed = true;
        call_fail_of_engine(p->call);
    } else if (p->unfinished == 0) {
        p->answer(p);
    }
}

static void
finish(struct call *call, bool answered unused_arg)
{
    struct pool *p = call->work;
    p->failed = true; /* nobody is told any more */
    for (size_t i = 0; i < p->count; i++)
        batch_remove(&call->sim->batch, &p->inputs[i].seq);
}

static bool
fits(struct pool *p)
{
    const struct settings *s = &p->call->sim->settings;
    for (size_t i = 0; i < p->count; i++) {
        uint64_t tokens = p->inputs[i].seq.prompt_tokens;
        if (tokens <= s->max_model_len)
            continue;
        if (s->release >= SINCE_PARAMETER)
            generate_refuse_length(p->call, tokens, 0);
        else
            ask_fail(&p->ask,
                     "This model's maximum context length is %" PRIu64 " tokens. However, you "
                     "requested %" PRIu64 " tokens in the input for embedding generation. Please "
                     "reduce the length of the input.",
                     s->max_model_len, tokens);
        return false;
    }
    return true;
}

void
pool_begin(struct pool *p)
{
    static const struct call_ops ops = {.finished = finish};
    struct batch *batch = &p->call->sim->batch;
    if (p->ask.failed || !call_admit(p->call, p->model) || !fits(p))
        return;
    p->call->ops = &ops;
    p->call->work = p;
    p->unfinished = p->count;
    if (p->count == 0)
        p->answer(p);
    for (size_t i = 0; i < p->count && !p->failed; i++) {
        struct seq *seq = &p->inputs[i].seq;
        seq->moved = on_moved;
        seq->finish = FINISH_STOP;
        seq->n = 1;
        batch_add(batch, seq);
    }
}

/* ---- answers ---- */

struct json_writer
pool_open(struct pool *p)
{
    char id[CALL_ID_MAX];
    call_make_id(p->call->sim, p->prefix, id);
    struct json_writer w = call_open_map(p->call);
    json_str(&w, "id", id);
    json_str(&w, "object", "list");
    json_u64(&w, "created", call_wall_s(p->call));
    json_str(&w, "model", p->model);
    json_open_list(&w, "data");
    return w;
}

void
pool_close(struct pool *p, struct json_writer *w)
{
    json_close_list(w);
    json_open_map(w, "usage");
    json_u64(w, "prompt_tokens", p->tokens);
    json_u64(w, "total_tokens", p->tokens);
    json_u64(w, "completion_tokens", 0);
    json_null(w, "prompt_tokens_details");
    json_close_map(w);
    json_close_map(w);
    call_answer_out(p->call);
}
