#include "sim/texts.h"

#include "sim/sim.h"

void
texts_add_content(struct buf *out, const struct value *content)
{
    if (!content)
        return;
    if (content->type == VALUE_STRING)
        buf_add(out, content->text, content->len);
    for (const struct value *part = content->type == VALUE_LIST ? content->first : NULL; part;
         part = part->next) {
        const struct value *text = value_get(part, "text");
        if (text && text->type == VALUE_STRING)
            buf_add(out, text->text, text->len);
        else /* a tool's result */
            texts_add_content(out, value_get(part, "content"));
    }
}

bool
texts_read_messages(struct ask *a, const struct value *messages, struct buf *out, size_t *ret_last)
{
    for (const struct value *m = messages->first; m; m = m->next) {
        if (m->type != VALUE_MAP || !value_str(value_get(m, "role"))) {
            ask_refuse(a, "messages", "dict_type", "Input should be a valid dictionary with a role",
                       m);
            return false;
        }
        if (out->len)
            buf_add_char(out, '\n');
        *ret_last = out->len;
        texts_add_content(out, value_get(m, "content"));
    }
    return true;
}

static bool
is_tokens(const struct value *v)
{
    return v->type == VALUE_LIST && v->first && v->first->type == VALUE_NUMBER;
}

static bool
is_many(const struct value *v)
{
    return v->type == VALUE_LIST && !is_tokens(v);
}

size_t
texts_count(const struct value *v)
{
    return is_many(v) ? v->count : 1;
}

const struct value *
texts_first(const struct value *v)
{
    return is_many(v) ? v->first : v;
}

bool
texts_read(struct ask *a, const char *name, const struct value *one, struct buf *out)
{
    uint64_t id;
    if (one->type == VALUE_STRING) {
        buf_add(out, one->text, one->len);
        return true;
    }
    if (!is_tokens(one)) {
        ask_refuse(a, name, "string_type", "Input should be a valid string", one);
        return false;
    }
    for (const struct value *token = one->first; token; token = token->next) {
        if (!value_u64(token, &id)) {
            ask_refuse(a, name, "int_type", "Input should be a valid integer", token);
            return false;
        }
        const char *word = words_text(&a->call->sim->words, id);
        buf_add_str(out, word ? word : " ?");
    }
    return true;
}
