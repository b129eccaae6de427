#include "model/print.h"

#include "base/quantity.h"

#include <inttypes.h>

const struct table_column model_columns[MODEL_COLUMNS] = {
    {.title = "Model", .min_width = 16},
    {.title = "Kind", .expendable = 2},
    {.title = "Parameters", .right = true, .expendable = 1},
    {.title = "On GPU", .right = true},
    {.title = "Quantised", .min_width = 8, .expendable = 5},
    {.title = "Context", .right = true, .expendable = 3},
    {.title = "GPUs", .right = true, .expendable = 6},
    {.title = "KV/token", .right = true, .expendable = 4},
    {.title = "State"},
};

static const char *const unknown = "?";

static void
add_bytes(struct table *table, uint64_t bytes)
{
    quantity_text text;
    table_add(table, TONE_PLAIN,
              bytes == MODEL_UNKNOWN ? unknown : quantity_show_bytes(bytes, text));
}

static void
add_count(struct table *table, uint64_t n)
{
    quantity_text text;
    table_add(table, TONE_PLAIN, n == MODEL_UNKNOWN ? unknown : quantity_show_count(n, text));
}

static void
add_kind(struct table *table, const struct model *m)
{
    table_addf(table, TONE_PLAIN, "%s%s%s%s", model_kind_text(m->kind),
               m->inputs & MODEL_IMAGE ? ", image" : "", m->inputs & MODEL_VIDEO ? ", video" : "",
               m->inputs & MODEL_AUDIO ? ", audio" : "");
}

static void
add_state(struct table *table, const struct model *m)
{
    size_t breaking = m->problems_untold;
    for (size_t i = 0; i < m->problems_count; i++)
        breaking += model_problem_rows[m->problems[i].id].breaks;
    if (breaking == 1)
        table_add(table, TONE_BAD, "1 problem");
    else if (breaking)
        table_addf(table, TONE_BAD, "%zu problems", breaking);
    else if (m->alias_of)
        table_addf(table, TONE_DIM, "link to %s", m->alias_of);
    else
        table_add(table, TONE_GOOD, "whole");
}

void
model_add_row(struct table *table, const struct model *m, const struct model_use *use)
{
    table_add(table, TONE_PLAIN, m->name);
    add_kind(table, m);
    add_count(table, m->params);
    add_bytes(table, m->weights.gpu_bytes);
    table_add(table, TONE_PLAIN, m->quant.method == MODEL_NOT_QUANTISED ? "" : m->quant.text);
    if (m->context == MODEL_UNKNOWN)
        table_add(table, TONE_PLAIN, unknown);
    else
        table_addf(table, TONE_PLAIN, "%" PRIu64, m->context);
    table_addf(table, TONE_PLAIN, "%u", use->tensor_parallel);
    add_bytes(table, model_kv_bytes_per_token(m, use->tensor_parallel, use->kv_dtype));
    add_state(table, m);
}

void
model_print_problems(const struct model *m, struct buf *out)
{
    for (size_t i = 0; i < m->problems_count; i++) {
        const struct model_problem *problem = &m->problems[i];
        const struct model_problem_row *row = &model_problem_rows[problem->id];
        buf_printf(out, "  %s%s: %s\n", row->breaks ? "" : "note: ", row->text, problem->what);
        if (problem->fix[0])
            buf_printf(out, "    try: %s\n", problem->fix);
    }
    if (m->problems_untold)
        buf_printf(out, "  and %zu problems more\n", m->problems_untold);
}

static void
print_number(struct json_writer *w, const char *name, uint64_t n)
{
    if (n == MODEL_UNKNOWN)
        json_null(w, name);
    else
        json_u64(w, name, n);
}

static void
print_inputs(struct json_writer *w, unsigned inputs)
{
    json_open_list(w, "inputs");
    json_str(w, NULL, "text");
    if (inputs & MODEL_IMAGE)
        json_str(w, NULL, "image");
    if (inputs & MODEL_VIDEO)
        json_str(w, NULL, "video");
    if (inputs & MODEL_AUDIO)
        json_str(w, NULL, "audio");
    json_close_list(w);
}

static void
print_quantisation(struct json_writer *w, const struct model_quant *q)
{
    if (q->method == MODEL_NOT_QUANTISED) {
        json_null(w, "quantization");
        return;
    }
    json_open_map(w, "quantization");
    json_str(w, "text", q->text);
    print_number(w, "bits", q->bits ? q->bits : MODEL_UNKNOWN);
    print_number(w, "group_size", q->group_size ? q->group_size : MODEL_UNKNOWN);
    json_close_map(w);
}

static void
print_weights(struct json_writer *w, const struct model_weights *weights)
{
    json_open_map(w, "weights");
    json_str(w, "format", model_format_text(weights->format));
    json_u64(w, "files", weights->files);
    json_u64(w, "files_wanted", weights->files_wanted);
    json_u64(w, "tensors", weights->tensors);
    json_u64(w, "bytes", weights->bytes);
    print_number(w, "declared_bytes", weights->declared_bytes);
    print_number(w, "gpu_bytes", weights->gpu_bytes);
    json_u64(w, "left_out_bytes", weights->left_out_bytes);
    json_bool(w, "whole", weights->whole);
    json_close_map(w);
}

static void
print_layers(struct json_writer *w, const char *name, const struct model_attention *a)
{
    json_open_map(w, name);
    json_u64(w, "layers", a->layers);
    json_u64(w, "kv_heads", a->kv_heads);
    json_u64(w, "key_dim", a->key_dim);
    json_u64(w, "value_dim", a->value_dim);
    json_close_map(w);
}

static void
print_cache(struct json_writer *w, const struct model *m, const struct model_use *use)
{
    const struct model_cache *c = &m->cache;
    unsigned gpus = use->tensor_parallel;
    json_open_map(w, "cache");
    json_bool(w, "known", c->known);
    json_bool(w, "mla", c->mla);
    print_layers(w, "full", &c->full);
    print_layers(w, "window", &c->window);
    json_u64(w, "window_tokens", c->window_tokens);
    json_u64(w, "state_layers", c->state_layers);
    json_u64(w, "tensor_parallel", gpus);
    json_str(w, "kv_dtype", use->kv_dtype_text);
    print_number(w, "kv_bytes_per_token", model_kv_bytes_per_token(m, gpus, use->kv_dtype));
    print_number(w, "kv_bytes_per_token_8bit", model_kv_bytes_per_token(m, gpus, KV_8BIT));
    print_number(w, "state_bytes_per_sequence", model_state_bytes_per_sequence(m, gpus));
    json_close_map(w);
}

static void
print_problems(struct json_writer *w, const struct model *m)
{
    json_open_list(w, "problems");
    for (size_t i = 0; i < m->problems_count; i++) {
        const struct model_problem *problem = &m->problems[i];
        const struct model_problem_row *row = &model_problem_rows[problem->id];
        json_open_map(w, NULL);
        json_str(w, "id", row->text);
        json_str(w, "meaning", row->help);
        json_bool(w, "breaks", row->breaks);
        json_str(w, "file", problem->file);
        json_str(w, "last_file", problem->last_file);
        json_str(w, "message", problem->what);
        json_str(w, "fix", problem->fix);
        json_close_map(w);
    }
    json_close_list(w);
    json_u64(w, "problems_untold", m->problems_untold);
}

void
model_print_json(const struct model *m, const struct model_use *use, struct json_writer *w)
{
    json_open_map(w, NULL);
    json_str(w, "name", m->name);
    json_str(w, "directory", m->dir);
    json_str(w, "alias_of", m->alias_of);
    json_str(w, "service", use->service);
    json_bool(w, "whole", model_is_whole(m));
    json_str(w, "architecture", m->architecture);
    json_bool(w, "known", m->known);
    json_str(w, "kind", model_kind_text(m->kind));
    print_inputs(w, m->inputs);
    json_str(w, "dtype", m->dtype);
    print_quantisation(w, &m->quant);
    print_number(w, "parameters", m->params);
    json_bool(w, "parameters_computed", m->params_computed);
    print_weights(w, &m->weights);
    print_number(w, "layers", m->layers);
    print_number(w, "hidden_size", m->hidden_size);
    print_number(w, "heads", m->heads);
    print_number(w, "vocabulary", m->vocabulary);
    print_number(w, "experts", m->experts);
    print_number(w, "experts_active", m->experts_active);
    print_number(w, "context", m->context);
    print_cache(w, m, use);
    json_bool(w, "tokenizer", m->has_tokenizer);
    json_bool(w, "chat_template", m->has_chat_template);
    json_bool(w, "generation_config", m->has_generation_config);
    json_bool(w, "own_code", m->has_own_code);
    json_bool(w, "needs_remote_code", m->needs_remote_code);
    print_problems(w, m);
    json_close_map(w);
}
