/* What is told of each model: a sentence with the arithmetic, that can stand behind "NAME: ", and the
 * changes of its configuration that would help, each alone. What is advised is tried first: with the
 * same formulae, it would do. */

#include "base/quantity.h"
#include "base/text.h"
#include "gpu/memory.h"
#include "plan/plan_int.h"

#include <math.h>

#define SENTENCE_MAX 1024
#define NAMES_MAX 8 /* that a sentence lists */

static const char *
keep(const struct making *mk, const struct buf *text)
{
    const char *kept = arena_strdup(mk->arena, text->data);
    return kept ? kept : "";
}

static void
add_bytes(struct buf *out, uint64_t bytes)
{
    quantity_text text;
    buf_add_str(out, quantity_show_bytes(bytes, text));
}

/* Between the words of a list: ", " and, before the last, " and ". */
static const char *
between(size_t i, size_t count)
{
    return i == 0 ? "" : i + 1 == count ? " and " : ", ";
}

static void
add_gpus(struct buf *out, const struct plan_part *parts, size_t count)
{
    buf_add_str(out, count == 1 ? "GPU " : "GPUs ");
    for (size_t i = 0; i < count; i++)
        buf_printf(out, "%s%u", between(i, count), parts[i].gpu->index);
}

static void
add_names(struct buf *out, const char *const *names, size_t count)
{
    size_t told = count <= NAMES_MAX ? count : NAMES_MAX - 1;
    for (size_t i = 0; i < told; i++)
        buf_printf(out, "%s%s", between(i, count), names[i]);
    if (told < count)
        buf_printf(out, " and %zu others", count - told);
}

/* ---- where it stays ---- */

static void
add_capacity(struct buf *out, const struct fact *fact, const struct plan_model *m)
{
    if (m->full_length_requests >= 0)
        buf_printf(out, "; room for about %.1f requests of %llu tokens at once",
                   m->full_length_requests, (unsigned long long)fact->need.tokens);
    else if (plan_reads_files(fact->config))
        buf_add_str(out, "; how much of it the model needs is not known");
}

void
tell_place(const struct making *mk, const struct fact *fact, struct plan_model *m)
{
    _cleanup_buf_ struct buf out = BUF_INIT(SENTENCE_MAX);
    bool always = fact->config->residency == CONFIG_RESIDENCY_ALWAYS;
    if (m->fate == PLAN_RESIDENT)
        buf_add_str(&out, "kept on ");
    else if (m->fate == PLAN_MANUAL)
        buf_add_str(&out, "a person starts it, on ");
    else if (always)
        buf_add_str(&out, "it is to be kept loaded, on ");
    else
        buf_add_str(&out, "loaded when it is asked for, on ");
    add_gpus(&out, m->parts, m->part_count);
    if (m->held_by_count) {
        buf_add_str(&out, always ? "; but " : "; waits while ");
        add_names(&out, m->held_by, m->held_by_count);
        buf_printf(&out, " %s memory there", m->held_by_count == 1 ? "holds" : "hold");
    } else {
        buf_add_str(&out, " with ");
        add_bytes(&out, m->claim_bytes);
        buf_add_str(&out, m->part_count == 1 ? "" : " of each");
        add_capacity(&out, fact, m);
    }
    m->reason = keep(mk, &out);
    if (always && m->held_by_count)
        m->fix = "lower gpu_memory_fraction, or let one of them be loaded on demand";
}

/* ---- why it has no place ---- */

static void
add_troubles(const struct making *mk, struct buf *out)
{
    for (size_t i = 0; i < mk->solve.gpu_count; i++)
        if (mk->gpus[i].trouble[0])
            buf_printf(out, "; GPU %u takes no part: %s", mk->gpus[i].index, mk->gpus[i].trouble);
}

/* What the configuration names that is not there, is there twice, or cannot be used. */
static bool
tell_wrong_name(const struct making *mk, const struct config_model *c, struct buf *out)
{
    uint32_t seen = 0;
    for (size_t i = 0; i < c->gpus.count; i++) {
        const struct gpu *gpu;
        struct err err;
        if (gpu_find(mk->input->inventory, c->gpus.items[i], &gpu, &err) < 0) {
            buf_printf(out, "gpus: %s", err.what);
            return true;
        }
        size_t at = (size_t)(gpu - mk->input->inventory->gpus);
        if (seen & UINT32_C(1) << at)
            buf_printf(out, "gpus: GPU %u is named twice", gpu->index);
        else if (mk->gpus[at].trouble[0])
            buf_printf(out, "gpus: GPU %u cannot be used: %s", gpu->index, mk->gpus[at].trouble);
        seen |= UINT32_C(1) << at;
        if (out->len)
            return true;
    }
    return false;
}

static bool
tell_wrong_count(const struct making *mk, const struct config_model *c, struct buf *out)
{
    size_t wanted = plan_gpu_count(c), usable = making_count_usable(mk);
    if (c->gpus.count && c->gpus.count != wanted)
        buf_printf(out, "gpus names %zu, and tensor_parallel times pipeline_parallel is %zu",
                   c->gpus.count, wanted);
    else if (usable < wanted)
        buf_printf(out,
                   "%zu GPUs are needed (tensor_parallel times pipeline_parallel), and %zu can be "
                   "used here",
                   wanted, usable);
    return out->len > 0;
}

/* Whether the GPU is one that the model may have, and did not get. */
static bool
is_wanting(const struct making *mk, const struct fact *fact, const struct solve_model *asked,
           size_t gpu)
{
    return !asked->claims[gpu] && mk->gpus[gpu].total_bytes &&
           making_is_named(mk, &fact->config->gpus, (unsigned)gpu);
}

/* From the largest down. */
static bool
comes_before(const struct making *mk, size_t a, size_t b)
{
    uint64_t one = mk->gpus[a].total_bytes, other = mk->gpus[b].total_bytes;
    return a < b ? one >= other : one > other;
}

/* The GPU that would be the last to do, were things a little better: of those that do not do, the
 * largest ones would come first. */
static const struct plan_gpu *
find_nearest(const struct making *mk, const struct fact *fact, const struct solve_model *asked)
{
    size_t missing = asked->count, count = mk->solve.gpu_count;
    for (size_t i = 0; i < count && missing > 0; i++)
        missing -= asked->claims[i] > 0;
    for (size_t i = 0; i < count; i++) {
        size_t before = 0;
        for (size_t k = 0; k < count; k++)
            before += is_wanting(mk, fact, asked, k) && k != i && comes_before(mk, k, i);
        if (is_wanting(mk, fact, asked, i) && before + 1 == missing)
            return &mk->gpus[i];
    }
    return NULL;
}

/* "19.2 GiB of weights, 1.0 GiB for a request of 8192 tokens and about 2.8 GiB beside": what is known. */
static void
add_need(struct buf *out, const struct plan_need *need)
{
    if (need->weights_bytes != MODEL_UNKNOWN) {
        add_bytes(out, need->weights_bytes);
        buf_add_str(out, " of weights, ");
    }
    if (need->request_bytes != MODEL_UNKNOWN) {
        add_bytes(out, need->request_bytes);
        buf_printf(out, " for a request of %llu tokens, ", (unsigned long long)need->tokens);
    }
    buf_add_str(out, "about ");
    add_bytes(out, need->overhead_bytes);
    buf_add_str(out, " for the engine");
}

static const char *
or_else(const struct buf *fix)
{
    return fix->len ? ", or " : "";
}

/* Whether it would do with that much of each GPU, if it were configured like `c`. */
static bool
would_do(const struct fact *fact, const struct config_model *c, uint64_t bytes)
{
    struct plan_need need = plan_need_of(c, fact->files);
    return plan_need_sum(&need) <= bytes;
}

/* Heads and experts are halved without a rest, mostly: other numbers of GPUs seldom work. */
static void
advise_gpus(const struct making *mk, const struct fact *fact, uint64_t claim, struct buf *fix)
{
    struct config_model c = *fact->config;
    uint64_t heads = fact->files ? fact->files->heads : MODEL_UNKNOWN;
    size_t usable = making_count_usable(mk);
    while ((c.tensor_parallel *= 2) * c.pipeline_parallel <= usable && c.gpus.count == 0) {
        if ((heads != MODEL_UNKNOWN && heads % c.tensor_parallel) || !would_do(fact, &c, claim))
            continue;
        buf_printf(fix, "%sraise tensor_parallel to %u", or_else(fix), c.tensor_parallel);
        return;
    }
}

/* What would do, each alone. */
static void
advise(const struct making *mk, const struct fact *fact, const struct plan_gpu *gpu,
       struct buf *fix)
{
    struct config_model c = *fact->config;
    const struct plan_need *need = &fact->need;
    uint64_t claim = making_claim(fact, gpu), sum = plan_need_sum(need);
    uint64_t rest = sum - (need->request_bytes == MODEL_UNKNOWN ? 0 : need->request_bytes);
    double fraction = ceil((double)sum / (double)gpu->total_bytes * 100) / 100;
    uint64_t longest = rest < claim ? plan_longest(&c, fact->files, claim - rest, need->tokens) : 0;
    if (fraction * (double)gpu->total_bytes <= (double)making_room(gpu))
        buf_printf(fix, "raise gpu_memory_fraction to %.2f", fraction);
    if (longest)
        buf_printf(fix, "%slower max_model_len to %llu", or_else(fix), (unsigned long long)longest);
    c.kv_cache_dtype = CONFIG_KV_FP8;
    if (c.engine == CONFIG_ENGINE_VLLM && would_do(fact, &c, claim))
        buf_printf(fix, "%sset kv_cache_dtype to fp8", or_else(fix));
    advise_gpus(mk, fact, claim, fix);
    if (!fix->len)
        buf_add_str(fix, "take a smaller checkpoint, or one that is quantised");
}

static void
tell_too_little(const struct making *mk, const struct fact *fact, const struct plan_gpu *gpu,
                struct buf *out, struct buf *fix)
{
    const struct plan_need *need = &fact->need;
    buf_add_str(out, "needs ");
    add_bytes(out, plan_need_sum(need));
    buf_add_str(out, plan_gpu_count(fact->config) > 1 ? " of each GPU (" : " (");
    add_need(out, need);
    buf_printf(out, "), and its share of GPU %u is ", gpu->index);
    add_bytes(out, making_claim(fact, gpu));
    buf_printf(out, ": %.2f of ", fact->config->gpu_memory_fraction);
    add_bytes(out, gpu->total_bytes);
    advise(mk, fact, gpu, fix);
}

static void
tell_too_much(const struct fact *fact, const struct plan_gpu *gpu, struct buf *out, struct buf *fix)
{
    uint64_t claim = making_claim(fact, gpu), room = making_room(gpu);
    add_bytes(out, claim);
    buf_printf(out, " of GPU %u are asked for, and of its ", gpu->index);
    add_bytes(out, gpu->total_bytes);
    buf_add_str(out, " it must leave ");
    add_bytes(out, GPU_MEMORY_SLACK_BYTES);
    buf_add_str(out, " to the driver and others");
    if (claim == fact->kept_bytes)
        buf_add_str(fix, "lower kv_cache_memory");
    else
        buf_printf(fix, "lower gpu_memory_fraction to %.2f",
                   floor((double)room / (double)gpu->total_bytes * 100) / 100);
}

static void
tell_small_cache(const struct fact *fact, struct buf *out, struct buf *fix)
{
    uint64_t kept = fact->config->kv_cache_memory_bytes;
    uint64_t longest = plan_longest(fact->config, fact->files, kept, fact->need.tokens);
    buf_add_str(out, "kv_cache_memory is ");
    add_bytes(out, kept);
    buf_printf(out, ", and one request of %llu tokens takes ",
               (unsigned long long)fact->need.tokens);
    add_bytes(out, fact->need.request_bytes);
    buf_add_str(fix, "raise kv_cache_memory");
    if (longest)
        buf_printf(fix, ", or lower max_model_len to %llu", (unsigned long long)longest);
}

void
tell_no_place(const struct making *mk, const struct fact *fact, const struct solve_model *asked,
              struct plan_model *m)
{
    _cleanup_buf_ struct buf out = BUF_INIT(SENTENCE_MAX), fix = BUF_INIT(SENTENCE_MAX);
    const struct config_model *c = fact->config;
    const struct plan_gpu *gpu = find_nearest(mk, fact, asked);
    if (mk->solve.gpu_count == 0)
        buf_printf(&out, "%s needs a GPU: %s", config_engine_word(c->engine), mk->no_gpus);
    else if (tell_wrong_name(mk, c, &out))
        buf_add_str(&fix, "`citadel plan` lists the GPUs that are here");
    else if (tell_wrong_count(mk, c, &out))
        buf_add_str(&fix, c->gpus.count ? "name so many GPUs, or none"
                                        : "lower tensor_parallel or pipeline_parallel");
    else if (!making_cache_is_enough(fact))
        tell_small_cache(fact, &out, &fix);
    else if (gpu && making_claim(fact, gpu) > making_room(gpu))
        tell_too_much(fact, gpu, &out, &fix);
    else if (gpu)
        tell_too_little(mk, fact, gpu, &out, &fix);
    if (c->gpus.count == 0)
        add_troubles(mk, &out);
    m->reason = keep(mk, &out);
    m->fix = keep(mk, &fix);
}
