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
 * What is not known is null, and so is an empty text. Plans of before there was one have no "vllm". Who reads it starts engines by it, as root
 * lays it down; what does not add up is refused all the same. */

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
#define GPUS_MAX GPU_INVENTORY_MAX
#define MODELS_MAX 256

struct reader {
    struct arena *arena;
    struct plan_gpu *gpus;
    struct plan_model *models;
    size_t gpu_count, model_count;
    struct err *reterr;
};

static int
refuse(const struct reader *r, const struct value *v, const char *what)
{
    return err_set(r->reterr, ERR_SYNTAX, "this is no plan: line %u: %s", v ? v->at.line : 1, what);
}

static bool
is_showable(const char *text, size_t len)
{
    for (const char *at = text, *end = text + len; at < end;)
        if (text_is_dangerous(text_next_char(&at, end)))
            return false;
    return true;
}

/* A text; null where `empty` allows it, which is how an empty one is printed. NULL: something else. */
static const char *
read_text(const struct reader *r, const struct value *v, bool empty)
{
    const char *text = value_str(v);
    if (v && v->type == VALUE_NULL && empty)
        return "";
    if (!v || !text || v->len > TEXT_MAX || (empty && !*text) || !is_showable(text, v->len))
        return NULL;
    return arena_strdup(r->arena, text);
}

static int
read_engine(const struct reader *r, const struct value *v, struct plan_engine *ret)
{
    *ret = (struct plan_engine){"", "", ""};
    if (!v || v->type == VALUE_NULL)
        return 0;
    ret->env = read_text(r, value_get(v, "env"), true);
    ret->version = read_text(r, value_get(v, "version"), true);
    ret->trouble = read_text(r, value_get(v, "trouble"), true);
    if (!ret->env || !ret->version || !ret->trouble || (ret->env[0] && ret->env[0] != '/'))
        return refuse(r, v, "where vLLM is is not told");
    if (ret->trouble[0] ? ret->version[0] : !ret->env[0] || !ret->version[0])
        return refuse(r, v, "vLLM is there and is not, or neither");
    return 0;
}

static bool
read_number(const struct value *v, uint64_t most, uint64_t *ret_n)
{
    return value_u64(v, ret_n) && *ret_n <= most;
}

/* What may be unknown. */
static bool
read_guess(const struct value *v, uint64_t *ret_n)
{
    *ret_n = PLAN_UNKNOWN;
    return v && (v->type == VALUE_NULL || value_u64(v, ret_n));
}

static struct plan_gpu *
find_gpu(const struct reader *r, uint64_t index)
{
    for (size_t i = 0; i < r->gpu_count; i++)
        if (r->gpus[i].index == index)
            return &r->gpus[i];
    return NULL;
}

static int
read_gpu(struct reader *r, const struct value *v)
{
    struct plan_gpu gpu = {.uuid = read_text(r, value_get(v, "uuid"), false),
                           .name = read_text(r, value_get(v, "name"), false),
                           .trouble = read_text(r, value_get(v, "trouble"), true)};
    uint64_t index, minor;
    if (!read_number(value_get(v, "index"), UINT32_MAX, &index) || find_gpu(r, index))
        return refuse(r, v, "a GPU has no index of its own");
    if (!read_guess(value_get(v, "minor"), &minor) ||
        (minor >= PLAN_NO_MINOR && minor != PLAN_UNKNOWN))
        return refuse(r, v, "the number of a GPU's device is none");
    if (!gpu.uuid || !gpu.name || !gpu.trouble)
        return refuse(r, v, "a GPU lacks a text, or has one that cannot be shown");
    if (!read_number(value_get(v, "total_bytes"), PLAN_GPU_BYTES_MAX, &gpu.total_bytes) ||
        !read_number(value_get(v, "promised_bytes"), gpu.total_bytes, &gpu.promised_bytes))
        return refuse(r, v, "the memory of a GPU is not told, or more is promised than it has");
    gpu.index = (unsigned)index;
    gpu.minor = minor == PLAN_UNKNOWN ? PLAN_NO_MINOR : (unsigned)minor;
    r->gpus[r->gpu_count++] = gpu;
    return 0;
}

static bool
has_part(const struct plan_part *parts, size_t count, const struct plan_gpu *gpu)
{
    for (size_t i = 0; i < count; i++)
        if (parts[i].gpu == gpu)
            return true;
    return false;
}

static int
read_parts(struct reader *r, const struct value *list, struct plan_model *m)
{
    struct plan_part *parts = arena_alloc(r->arena, (r->gpu_count + 1) * sizeof(*parts));
    uint64_t least = UINT64_MAX, index, bytes;
    if (!list || list->type != VALUE_LIST || list->count > r->gpu_count || !parts)
        return refuse(r, list, "parts: a model is on more GPUs than there are");
    for (const struct value *v = list->first; v; v = v->next) {
        const struct plan_gpu *gpu =
            value_u64(value_get(v, "gpu"), &index) ? find_gpu(r, index) : NULL;
        if (!gpu || has_part(parts, m->part_count, gpu))
            return refuse(r, v, "a part is of a GPU that is not listed, or twice of one");
        if (!read_number(value_get(v, "bytes"), gpu->total_bytes, &bytes) || bytes == 0)
            return refuse(r, v, "a part is not of the size of its GPU");
        parts[m->part_count++] = (struct plan_part){gpu, bytes};
        least = MIN(least, bytes);
    }
    m->parts = parts;
    m->claim_bytes = m->part_count ? least : 0;
    return 0;
}

static bool
read_fate(const struct value *v, enum plan_fate *ret_fate)
{
    const char *word = value_str(v);
    for (unsigned i = 0; word && i < PLAN_FATE_COUNT; i++)
        if (text_eq(word, plan_fate_word((enum plan_fate)i))) {
            *ret_fate = (enum plan_fate)i;
            return true;
        }
    return false;
}

static bool
read_numbers(const struct value *v, struct plan_model *m)
{
    uint64_t priority, claim;
    const struct value *requests = value_get(v, "full_length_requests");
    m->full_length_requests = -1;
    if (!read_number(value_get(v, "priority"), UINT32_MAX, &priority) ||
        !read_number(value_get(v, "claim_bytes"), m->claim_bytes, &claim) ||
        claim != m->claim_bytes || !read_guess(value_get(v, "weights_bytes"), &m->weights_bytes) ||
        !read_guess(value_get(v, "kv_bytes"), &m->kv_bytes) ||
        !read_guess(value_get(v, "overhead_bytes"), &m->overhead_bytes) ||
        !read_guess(value_get(v, "kv_tokens"), &m->kv_tokens) ||
        !value_u64(value_get(v, "start_bound_us"), &m->start_bound_us))
        return false;
    m->priority = (unsigned)priority;
    return requests &&
           (requests->type == VALUE_NULL ||
            (value_real(requests, &m->full_length_requests) && m->full_length_requests >= 0));
}

static const struct plan_model *
find_model(const struct reader *r, const char *name)
{
    for (size_t i = 0; name && i < r->model_count; i++)
        if (text_eq(r->models[i].name, name))
            return &r->models[i];
    return NULL;
}

static int
read_model(struct reader *r, const struct value *v)
{
    struct plan_model m = {.name = read_text(r, value_get(v, "name"), false),
                           .reason = read_text(r, value_get(v, "reason"), false),
                           .fix = read_text(r, value_get(v, "fix"), true)};
    int parts = read_parts(r, value_get(v, "parts"), &m);
    if (parts < 0)
        return parts;
    if (!m.name || !text_is_name(m.name) || find_model(r, m.name))
        return refuse(r, v, "a model has no name of its own");
    if (!read_fate(value_get(v, "fate"), &m.fate) ||
        !value_bool(value_get(v, "conflict"), &m.conflict) || !m.reason || !m.fix)
        return refuse(r, v, "what becomes of a model is not told");
    if ((m.conflict && m.fate == PLAN_RESIDENT) || (m.part_count && !plan_fate_is_possible(m.fate)))
        return refuse(r, v, "a model that does not run has GPUs, or one that does is a conflict");
    if (!read_numbers(v, &m))
        return refuse(r, v, "a number of a model is none");
    r->models[r->model_count++] = m;
    return 0;
}

/* They may stand behind it in the list, so this is read when all are there. */
static int
read_holders(const struct reader *r, const struct value *list, struct plan_model *m)
{
    if (!list || list->type != VALUE_LIST || list->count > r->model_count ||
        (list->count && (m->fate == PLAN_RESIDENT || !m->part_count)))
        return refuse(r, list, "held_by: a model waits for others that cannot hold its memory");
    const char **names = arena_alloc(r->arena, (list->count + 1) * sizeof(*names));
    for (const struct value *v = list->first; names && v; v = v->next) {
        const struct plan_model *holder = find_model(r, value_str(v));
        if (!holder || holder->fate != PLAN_RESIDENT)
            return refuse(r, v, "held_by: no resident model has that name");
        names[m->held_by_count++] = holder->name;
    }
    m->held_by = names;
    return 0;
}

/* What the residents have of each GPU is what it says that it has promised. */
static int
check_promises(const struct reader *r, const struct value *root)
{
    uint64_t sums[GPUS_MAX] = {0};
    for (size_t i = 0; i < r->model_count; i++)
        for (size_t k = 0; r->models[i].fate == PLAN_RESIDENT && k < r->models[i].part_count; k++)
            sums[r->models[i].parts[k].gpu - r->gpus] += r->models[i].parts[k].bytes;
    for (size_t i = 0; i < r->gpu_count; i++)
        if (sums[i] != r->gpus[i].promised_bytes)
            return refuse(r, root, "what is promised of a GPU is not what its models have");
    return 0;
}

static int
read_lists(struct reader *r, const struct value *root)
{
    const struct value *gpus = value_get(root, "gpus"), *models = value_get(root, "models"), *v;
    int error = 0;
    size_t i = 0;
    if (!gpus || gpus->type != VALUE_LIST || gpus->count > GPUS_MAX || !models ||
        models->type != VALUE_LIST || models->count > MODELS_MAX)
        return refuse(r, root, "it has no lists of GPUs and models, or too long ones");
    r->gpus = arena_alloc(r->arena, (gpus->count + 1) * sizeof(*r->gpus));
    r->models = arena_alloc(r->arena, (models->count + 1) * sizeof(*r->models));
    if (!r->gpus || !r->models)
        return err_set(r->reterr, ERR_TOO_LARGE, "the plan needs too much memory");
    for (v = gpus->first; v && error == 0; v = v->next)
        error = read_gpu(r, v);
    for (v = models->first; v && error == 0; v = v->next)
        error = read_model(r, v);
    for (v = models->first; v && error == 0; v = v->next)
        error = read_holders(r, value_get(v, "held_by"), &r->models[i++]);
    return error < 0 ? error : check_promises(r, root);
}

static bool
read_fingerprint(const struct value *v, char ret_text[HASH_SHA256_HEX])
{
    const char *text = value_str(v);
    if (!text || v->len != HASH_SHA256_HEX - 1 ||
        strspn(text, "0123456789abcdef") != HASH_SHA256_HEX - 1)
        return false;
    memcpy(ret_text, text, HASH_SHA256_HEX);
    return true;
}

int
plan_read(const struct value *v, struct arena *arena, struct plan *ret_plan, struct err *reterr)
{
    struct reader r = {.arena = arena, .reterr = reterr};
    struct plan plan = {.no_gpus = read_text(&r, value_get(v, "no_gpus"), true)};
    uint64_t format;
    if (!value_u64(value_get(v, "format"), &format) || format != FORMAT)
        return refuse(&r, v, "its format is another one");
    if (!read_fingerprint(value_get(v, "fingerprint"), plan.fingerprint) || !plan.no_gpus)
        return refuse(&r, v, "it does not tell what it was made from");
    int error = read_engine(&r, value_get(v, "vllm"), &plan.vllm);
    if (error == 0)
        error = read_lists(&r, v);
    if (error < 0)
        return error;
    plan.gpus = r.gpus;
    plan.gpu_count = r.gpu_count;
    plan.models = r.models;
    plan.model_count = r.model_count;
    plan_count(&plan);
    if (arena->full)
        return err_set(reterr, ERR_TOO_LARGE, "the plan needs too much memory");
    *ret_plan = plan;
    return 0;
}
