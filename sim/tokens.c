/* /tokenize and /detokenize: numbers are given to words as they come. */

#include "sim/routes.h"
#include "sim/sim.h"
#include "sim/texts.h"

#include <inttypes.h>

#define TEXT_BYTES_MAX (64 * MIB)

static void
answer_tokens(struct call *call, const char *text, size_t len, bool texts)
{
    const char *end = text + len;
    struct json_writer w = call_open_map(call);
    size_t step;
    json_u64(&w, "count", word_count(text, len));
    json_u64(&w, "max_model_len", call->sim->settings.max_model_len);
    json_open_list(&w, "tokens");
    for (const char *p = text; (step = word_len(p, end)); p += step)
        json_u64(&w, NULL, words_id(&call->sim->words, p, step));
    json_close_list(&w);
    if (texts)
        json_open_list(&w, "token_strs");
    else
        json_null(&w, "token_strs");
    for (const char *p = text; texts && (step = word_len(p, end)); p += step)
        json_strn(&w, NULL, p, step);
    if (texts)
        json_close_list(&w);
    json_close_map(&w);
    call_answer_out(call);
}

void
tokens_answer(struct call *call, const struct value *body)
{
    struct ask ask = {.call = call, .body = body};
    _cleanup_buf_ struct buf text = BUF_INIT(TEXT_BYTES_MAX);
    const char *model = sim_model(call->sim), *prompt = NULL;
    bool texts = false;
    size_t last;
    const struct value *messages = ask_list(&ask, "messages");
    (void)ask_text(&ask, "model", &model);
    (void)ask_bool(&ask, "return_token_strs", &texts);
    if (messages)
        (void)texts_read_messages(&ask, messages, &text, &last);
    else if ((prompt = ask_needed_text(&ask, "prompt")))
        buf_add_str(&text, prompt);
    if (!ask.failed && call_admit(call, model))
        answer_tokens(call, text.data, text.len, texts);
}

void
tokens_back(struct call *call, const struct value *body)
{
    struct ask ask = {.call = call, .body = body};
    _cleanup_buf_ struct buf text = BUF_INIT(TEXT_BYTES_MAX);
    const char *model = sim_model(call->sim);
    (void)ask_text(&ask, "model", &model);
    const struct value *tokens = ask_needed_list(&ask, "tokens");
    for (const struct value *t = tokens ? tokens->first : NULL; t && !ask.failed; t = t->next) {
        uint64_t id;
        const char *word = value_u64(t, &id) ? words_text(&call->sim->words, id) : NULL;
        if (!word)
            ask_fail(&ask, "Token id %s is out of vocabulary.", t->text ? t->text : "?");
        else
            buf_add_str(&text, word);
    }
    if (ask.failed || !call_admit(call, model))
        return;
    struct json_writer w = call_open_map(call);
    json_strn(&w, "prompt", text.data, text.len);
    json_close_map(&w);
    call_answer_out(call);
}
