/* What a model will take of each of its GPUs:
 *
 *     weights   of the checkpoint as it is loaded, spread evenly over all its GPUs
 *     request   keys, values and state of one request of full length; less makes vLLM refuse to start
 *     overhead  overhead.def
 *
 * An estimate from what is on disk. Parts that every GPU has whole (norms, and the ends of a
 * pipeline: embedding and head) are counted as if they were spread; that errs by less than the
 * overhead does. */

#include "plan/need.h"

#include "config/config.h"

struct engine_needs {
    enum config_engine engine;
    uint64_t context_mib, between_mib, graphs_mib, least_mib, percent, logits, seqs, batch_tokens;
};

static const struct engine_needs rows[] = {
#define ENGINE_NEEDS(engine, ...) {CONFIG_ENGINE_##engine, __VA_ARGS__},
#include "plan/overhead.def"
};

static const struct engine_needs nobody_knows;

static const struct engine_needs *
needs_of(enum config_engine engine)
{
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        if (rows[i].engine == engine)
            return &rows[i];
    return &nobody_knows;
}

bool
plan_reads_files(const struct config_model *c)
{
    return needs_of(c->engine) != &nobody_knows;
}

enum kv_dtype
plan_kv_dtype(enum config_kv_cache_dtype dtype)
{
    switch (dtype) {
    case CONFIG_KV_AUTO:
        break;
    case CONFIG_KV_BFLOAT16:
        return KV_16BIT;
    case CONFIG_KV_FP8:
    case CONFIG_KV_FP8_E4M3:
    case CONFIG_KV_FP8_E5M2:
        return KV_8BIT;
    case CONFIG_KV_FP8_DS_MLA:
        return KV_8BIT_DS_MLA;
    }
    return KV_AUTO;
}

/* Keys and values are as wide as what the model computes with, unless they are said to be else. */
static enum kv_dtype
kv_dtype_of(const struct config_model *c)
{
    bool wide = c->kv_cache_dtype == CONFIG_KV_AUTO && c->dtype == CONFIG_DTYPE_FLOAT32;
    return wide ? KV_32BIT : plan_kv_dtype(c->kv_cache_dtype);
}

static bool
is_auto(const char *text)
{
    return !text || !*text;
}

static uint64_t
weights_of(const struct config_model *c, const struct model *m)
{
    uint64_t bytes = model_weight_bytes_on_gpu(m, c->tensor_parallel * c->pipeline_parallel);
    bool plain = m->quant.method == MODEL_NOT_QUANTISED;
    if (bytes == MODEL_UNKNOWN || (plain && !is_auto(c->quantization)))
        return MODEL_UNKNOWN; /* it is made smaller while it is loaded, and nothing says how much */
    return plain && c->dtype == CONFIG_DTYPE_FLOAT32 ? bytes * 2 : bytes;
}

/* Of one request, on the GPUs of a stage of the pipeline that has the most layers. */
static uint64_t
request_of(const struct config_model *c, const struct model *m, uint64_t tokens)
{
    const struct engine_needs *engine = needs_of(c->engine);
    const struct model_request request = {
        .tokens = tokens,
        .tensor_parallel = c->tensor_parallel,
        .dtype = kv_dtype_of(c),
        .windows = true,
        .batch_tokens =
            c->max_num_batched_tokens ? c->max_num_batched_tokens : engine->batch_tokens,
    };
    uint64_t bytes = model_request_bytes(m, &request), stages = c->pipeline_parallel;
    if (bytes == MODEL_UNKNOWN || stages < 2)
        return bytes;
    uint64_t layers = m->layers == MODEL_UNKNOWN ? stages : MAX(m->layers, stages);
    uint64_t most = layers / stages + (layers % stages != 0);
    return (uint64_t)((double)bytes / (double)layers * (double)most);
}

static uint64_t
overhead_of(const struct config_model *c, const struct model *m, uint64_t weights_bytes)
{
    const struct engine_needs *engine = needs_of(c->engine);
    uint64_t seqs = c->max_num_seqs ? c->max_num_seqs : engine->seqs;
    uint64_t results = engine->least_mib * MIB;
    uint64_t bytes = engine->context_mib * MIB;
    if (c->tensor_parallel * c->pipeline_parallel > 1)
        bytes += engine->between_mib * MIB;
    if (!c->enforce_eager)
        bytes += engine->graphs_mib * MIB;
    if (weights_bytes != MODEL_UNKNOWN)
        results = MAX(results, weights_bytes / 100 * engine->percent);
    if (m && m->vocabulary != MODEL_UNKNOWN)
        results = MAX(results, m->vocabulary * engine->logits * seqs);
    return bytes + results;
}

struct plan_need
plan_need_of(const struct config_model *c, const struct model *m)
{
    struct plan_need need = {MODEL_UNKNOWN, MODEL_UNKNOWN, MODEL_UNKNOWN, MODEL_UNKNOWN};
    if (!plan_reads_files(c))
        return need;
    if (c->max_model_len)
        need.tokens = c->max_model_len;
    else if (m)
        need.tokens = m->context;
    if (m) {
        need.weights_bytes = weights_of(c, m);
        need.request_bytes = request_of(c, m, need.tokens);
    }
    need.overhead_bytes = overhead_of(c, m, need.weights_bytes);
    return need;
}

/* What is not known may be nothing: a model whose weights alone are too large does not fit, whatever
 * its cache needs. */
uint64_t
plan_need_sum(const struct plan_need *need)
{
    const uint64_t parts[] = {need->weights_bytes, need->request_bytes, need->overhead_bytes};
    uint64_t sum = 0;
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        if (parts[i] != MODEL_UNKNOWN && __builtin_add_overflow(sum, parts[i], &sum))
            return MODEL_UNKNOWN - 1;
    return sum;
}

uint64_t
plan_longest(const struct config_model *c, const struct model *m, uint64_t bytes, uint64_t most)
{
    uint64_t fits = 0, beyond = most;
    if (!m || most == MODEL_UNKNOWN)
        return 0;
    while (beyond - fits > 1) {
        uint64_t middle = fits + (beyond - fits) / 2;
        if (request_of(c, m, middle) <= bytes)
            fits = middle;
        else
            beyond = middle;
    }
    return fits / MODEL_BLOCK_TOKENS * MODEL_BLOCK_TOKENS;
}
