/* plan.json:
 *
 *   {"format": 1, "fingerprint": "...", "no_gpus": null,
 *    "vllm": {"env": "/opt/citadel/vllm-env-0.14.1", "version": "0.14.1", "trouble": null},
 *    "gpus": [{"index": 0, "minor": 0, "uuid": "...", "name": "...", "trouble": null,
 *              "total_bytes": 1, "promised_bytes": 1}],
 *    "models": [{"name": "phi3", "fate": "resident", "conflict": false, "priority": 50,
 *                "parts": [{"gpu": 0, "bytes": 1}], "claim_bytes": 1, "weights_bytes": 1,
 *                "kv_bytes": 1, "overhead_bytes": 1, "kv_tokens": 1, "full_length_requests": 1,
 *                "start_bound_us": 1, "reason": "...", "fix": null, "held_by": []}]}
 *
 * What is not known is null, and so is an empty text. Plans of before there was one have no
 * "vllm". It lies in generations for years; all that is read of it, by releases that come later, is
 * the engine, and who waits for whom. */

#include "base/text.h"
#include "fmt/json.h"
#include "plan/plan_int.h"

#include <string.h>

#define FORMAT 1

static void
print_number(struct json_writer *w, const char *name, uint64_t n)
{
    if (n == PLAN_UNKNOWN)
        json_null(w, name);
    else
        json_u64(w, name, n);
}

static void
print_text(struct json_writer *w, const char *name, const char *text)
{
    json_str(w, name, text[0] ? text : NULL);
}

static void
print_gpu(struct json_writer *w, const struct plan_gpu *gpu)
{
    json_open_map(w, NULL);
    json_u64(w, "index", gpu->index);
    print_number(w, "minor", gpu->minor == PLAN_NO_MINOR ? PLAN_UNKNOWN : gpu->minor);
    json_str(w, "uuid", gpu->uuid);
    json_str(w, "name", gpu->name);
    print_text(w, "trouble", gpu->trouble);
    json_u64(w, "total_bytes", gpu->total_bytes);
    json_u64(w, "promised_bytes", gpu->promised_bytes);
    json_close_map(w);
}

static void
print_engine(struct json_writer *w, const struct plan_engine *engine)
{
    if (!engine->env[0] && !engine->trouble[0]) {
        json_null(w, "vllm");
        return;
    }
    json_open_map(w, "vllm");
    print_text(w, "env", engine->env);
    print_text(w, "version", engine->version);
    print_text(w, "trouble", engine->trouble);
    json_close_map(w);
}

static void
print_parts(struct json_writer *w, const struct plan_model *m)
{
    json_open_list(w, "parts");
    for (size_t i = 0; i < m->part_count; i++) {
        json_open_map(w, NULL);
        json_u64(w, "gpu", m->parts[i].gpu->index);
        json_u64(w, "bytes", m->parts[i].bytes);
        json_close_map(w);
    }
    json_close_list(w);
}

static void
print_model(struct json_writer *w, const struct plan_model *m)
{
    json_open_map(w, NULL);
    json_str(w, "name", m->name);
    json_str(w, "fate", plan_fate_word(m->fate));
    json_bool(w, "conflict", m->conflict);
    json_u64(w, "priority", m->priority);
    print_parts(w, m);
    json_u64(w, "claim_bytes", m->claim_bytes);
    print_number(w, "weights_bytes", m->weights_bytes);
    print_number(w, "kv_bytes", m->kv_bytes);
    print_number(w, "overhead_bytes", m->overhead_bytes);
    print_number(w, "kv_tokens", m->kv_tokens);
    if (m->full_length_requests < 0)
        json_null(w, "full_length_requests");
    else
        json_real(w, "full_length_requests", m->full_length_requests);
    json_u64(w, "start_bound_us", m->start_bound_us);
    json_str(w, "reason", m->reason);
    print_text(w, "fix", m->fix);
    json_open_list(w, "held_by");
    for (size_t i = 0; i < m->held_by_count; i++)
        json_str(w, NULL, m->held_by[i]);
    json_close_list(w);
    json_close_map(w);
}

void
plan_print_members(const struct plan *plan, struct json_writer *w)
{
    json_u64(w, "format", FORMAT);
    json_str(w, "fingerprint", plan->fingerprint);
    print_text(w, "no_gpus", plan->no_gpus);
    print_engine(w, &plan->vllm);
    json_open_list(w, "gpus");
    for (size_t i = 0; i < plan->gpu_count; i++)
        print_gpu(w, &plan->gpus[i]);
    json_close_list(w);
    json_open_list(w, "models");
    for (size_t i = 0; i < plan->model_count; i++)
        print_model(w, &plan->models[i]);
    json_close_list(w);
}

void
plan_print(const struct plan *plan, struct json_writer *w)
{
    json_open_map(w, NULL);
    plan_print_members(plan, w);
    json_close_map(w);
}

/* ---- read back ---- */

#define TEXT_MAX 2000

/* A text that can be shown; null is "". NULL: something else. */
static const char *
read_text(const struct value *v, struct arena *arena)
{
    const char *text = value_str(v);
    if (v && v->type == VALUE_NULL)
        return "";
    if (!v || !text || !*text || v->len > TEXT_MAX)
        return NULL;
    for (const char *at = text, *end = text + v->len; at < end;)
        if (text_is_dangerous(text_next_char(&at, end)))
            return NULL;
    return arena_strndup(arena, text, v->len);
}

static int
check_format(const struct value *plan, struct err *reterr)
{
    uint64_t format;
    if (!value_u64(value_get(plan, "format"), &format) || format != FORMAT)
        return err_set(reterr, ERR_SYNTAX, "this is no plan, or its format is another one");
    return 0;
}

int
plan_read_engine(const struct value *plan, struct arena *arena, struct plan_engine *ret,
                 struct err *reterr)
{
    const struct value *v = value_get(plan, "vllm");
    *ret = (struct plan_engine){"", "", ""};
    int r = check_format(plan, reterr);
    if (r < 0 || !v || v->type == VALUE_NULL)
        return r;
    const struct plan_engine engine = {read_text(value_get(v, "env"), arena),
                                       read_text(value_get(v, "version"), arena),
                                       read_text(value_get(v, "trouble"), arena)};
    if (!engine.env || !engine.version || !engine.trouble ||
        (engine.env[0] && engine.env[0] != '/'))
        return err_set(reterr, ERR_SYNTAX, "line %u: where vLLM is is not told", v->at.line);
    if (engine.trouble[0] ? engine.version[0] : !engine.env[0] || !engine.version[0])
        return err_set(reterr, ERR_SYNTAX, "line %u: vLLM is there and is not, or neither",
                       v->at.line);
    *ret = engine;
    return 0;
}

/* The items of a list; 0 of what is none. */
static size_t
count_items(const struct value *list)
{
    size_t count = 0;
    for (const struct value *v = list && list->type == VALUE_LIST ? list->first : NULL; v;
         v = v->next)
        count++;
    return count;
}

static int
no_names(const struct value *v, struct err *reterr)
{
    return err_set(reterr, ERR_SYNTAX, "line %u: a model has no name, or waits for one without",
                   v->at.line);
}

static int
read_model(const struct value *v, struct arena *arena, struct plan_waiting *ret, struct err *reterr)
{
    const struct value *list = value_get(v, "held_by");
    size_t count = count_items(list);
    const char **names = arena_alloc(arena, (count + 1) * sizeof(*names));
    *ret = (struct plan_waiting){read_text(value_get(v, "name"), arena), names, count};
    if (!ret->name || !ret->name[0])
        return no_names(v, reterr);
    size_t i = 0;
    for (const struct value *name = count ? list->first : NULL; names && name; name = name->next) {
        names[i] = read_text(name, arena);
        if (!names[i] || !names[i][0])
            return no_names(v, reterr);
        i++;
    }
    return 0;
}

int
plan_read_waiting(const struct value *plan, struct arena *arena, struct plan_waiting **ret_items,
                  size_t *ret_count, struct err *reterr)
{
    const struct value *list = value_get(plan, "models");
    size_t count = count_items(list);
    struct plan_waiting *items = arena_alloc(arena, (count + 1) * sizeof(*items));
    *ret_items = items;
    *ret_count = 0;
    int r = check_format(plan, reterr);
    for (const struct value *v = count ? list->first : NULL; r == 0 && items && v; v = v->next) {
        r = read_model(v, arena, &items[*ret_count], reterr);
        *ret_count += r == 0 && items[*ret_count].held_by_count > 0;
    }
    return r == 0 && arena->full ? err_set(reterr, ERR_TOO_LARGE, "the plan is too large") : r;
}
