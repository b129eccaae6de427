#include "base/text.h"
#include "gpu/memory.h"
#include "gpu/nvml.h"
#include "plan/plan_int.h"

#include <string.h>

#define GPU_BYTES_MAX (UINT64_C(1) << 50) /* no GPU has a PiB; sums of so many stay small */

/* A plan in three steps: what is known of each model (struct fact), where they go (solve.c, which
 * sees numbers alone), and what that means for each. */

static const struct {
    const char *word;
    bool possible;
} fates[] = {
#define FATE(name, word, help) [PLAN_##name] = {word, PLAN_##name <= PLAN_MANUAL},
    PLAN_FATES(FATE)
#undef FATE
};

const char *
plan_fate_word(enum plan_fate fate)
{
    return fates[fate].word;
}

bool
plan_fate_is_possible(enum plan_fate fate)
{
    return fates[fate].possible;
}

enum plan_gpus
plan_gpus_of(const struct config_model *model, bool fake_driver)
{
    if (model->engine == CONFIG_ENGINE_VLLM)
        return PLAN_GPUS_ALWAYS;
    if (model->engine == CONFIG_ENGINE_SIM && !fake_driver)
        return PLAN_GPUS_NEVER; /* the memory of real GPUs is not its to take */
    return PLAN_GPUS_IF_THERE;
}

unsigned
plan_gpu_count(const struct config_model *model)
{
    return model->tensor_parallel * model->pipeline_parallel;
}

/* ---- the GPUs ---- */

static const char *
trouble_of(const struct gpu *gpu)
{
    if (gpu->trouble != NVML_SUCCESS)
        return nvml_code_text(gpu->trouble);
    return gpu->memory_total_bytes.known && gpu->memory_total_bytes.n <= GPU_BYTES_MAX
               ? ""
               : "its memory is not known";
}

static char *
safe_text(struct arena *arena, const char *text)
{
    char *copy = arena_strdup(arena, text);
    if (copy)
        text_disarm(copy);
    return copy;
}

static bool
add_gpus(struct making *mk)
{
    const struct gpu_inventory *inventory = mk->input->inventory;
    size_t count = inventory ? inventory->count : 0;
    mk->gpus = arena_alloc(mk->arena, (count + 1) * sizeof(*mk->gpus));
    for (size_t i = 0; mk->gpus && i < count; i++) {
        const struct gpu *gpu = &inventory->gpus[i];
        const char *trouble = trouble_of(gpu);
        mk->gpus[i] = (struct plan_gpu){
            .index = gpu->index,
            .minor = gpu->minor.known && gpu->minor.n < PLAN_NO_MINOR ? (unsigned)gpu->minor.n
                                                                      : PLAN_NO_MINOR,
            .uuid = safe_text(mk->arena, gpu->uuid),
            .name = safe_text(mk->arena, gpu->name),
            .trouble = safe_text(mk->arena, trouble),
            .total_bytes = *trouble ? 0 : gpu->memory_total_bytes.n,
        };
        mk->solve.room_bytes[i] = making_room(&mk->gpus[i]);
        mk->solve.gpu_count++;
    }
    return !mk->arena->full;
}

/* NVLink is as if both were one; then come the steps of the host's own topology. */
static void
add_distances(struct making *mk)
{
    const struct gpu_inventory *inventory = mk->input->inventory;
    for (size_t i = 0; i < mk->solve.gpu_count; i++)
        for (size_t k = 0; k < mk->solve.gpu_count; k++) {
            unsigned distance = NVML_TOPOLOGY_SYSTEM + 1; /* not told */
            if (inventory->pairs[i][k].linked)
                distance = 0;
            else if (inventory->pairs[i][k].known)
                distance = 1U + inventory->pairs[i][k].level;
            mk->solve.distance[i][k] = (uint8_t)MIN(distance, (unsigned)UINT8_MAX);
        }
}

uint64_t
making_room(const struct plan_gpu *gpu)
{
    return gpu->total_bytes > GPU_MEMORY_SLACK_BYTES ? gpu->total_bytes - GPU_MEMORY_SLACK_BYTES
                                                     : 0;
}

uint64_t
making_claim(const struct fact *fact, const struct plan_gpu *gpu)
{
    uint64_t share = (uint64_t)((double)gpu->total_bytes * fact->config->gpu_memory_fraction);
    return MAX(share, fact->kept_bytes);
}

/* ---- what is known of the models ---- */

static const struct model *
find_files(const struct making *mk, const struct config_model *c)
{
    if (!plan_reads_files(c) || !mk->input->catalogue)
        return NULL;
    vec_foreach (&mk->input->catalogue->models, m)
        if (text_eq(m->dir, c->path))
            return m;
    return NULL;
}

/* The one engine that takes a cache of a given size. */
static uint64_t
cache_of(const struct config_model *c)
{
    return c->engine == CONFIG_ENGINE_VLLM ? c->kv_cache_memory_bytes : 0;
}

/* With a cache of a given size, vLLM takes that and what it needs beside; when it starts it wants its
 * share free, too. */
static uint64_t
kept_of(const struct config_model *c, const struct plan_need *need)
{
    uint64_t bytes = cache_of(c);
    uint64_t weights = need->weights_bytes == MODEL_UNKNOWN ? 0 : need->weights_bytes;
    if (bytes && (__builtin_add_overflow(bytes, weights, &bytes) ||
                  __builtin_add_overflow(bytes, need->overhead_bytes, &bytes)))
        return UINT64_MAX;
    return bytes;
}

static void
learn(struct making *mk, struct fact *fact, struct plan_model *m, const struct config_model *c)
{
    const struct plan_times times = plan_times_of(c);
    fact->config = c;
    fact->files = find_files(mk, c);
    fact->need = plan_need_of(c, fact->files);
    fact->kept_bytes = kept_of(c, &fact->need);
    *m = (struct plan_model){
        .name = arena_strdup(mk->arena, c->name),
        .priority = c->priority,
        .weights_bytes = fact->need.weights_bytes,
        .kv_bytes = fact->need.request_bytes,
        .overhead_bytes = fact->need.overhead_bytes,
        .kv_tokens = PLAN_UNKNOWN,
        .full_length_requests = -1,
        .start_bound_us = budget_bound(&times.budget),
        .reason = "",
        .fix = "",
    };
}

static void
end_with(struct plan_model *m, enum plan_fate fate, const char *reason, const char *fix)
{
    m->fate = fate;
    m->reason = reason;
    m->fix = fix;
}

static const struct model_problem *
first_breaking(const struct model *files)
{
    for (size_t i = 0; files && i < files->problems_count; i++)
        if (model_problem_rows[files->problems[i].id].breaks)
            return &files->problems[i];
    return NULL;
}

size_t
making_count_usable(const struct making *mk)
{
    size_t n = 0;
    for (size_t i = 0; i < mk->solve.gpu_count; i++)
        n += making_room(&mk->gpus[i]) > 0;
    return n;
}

/* What is there of its files says nothing of what it needs. */
static void
end_broken(const struct making *mk, struct plan_model *m, const struct model_problem *problem)
{
    const char *fix =
        problem->fix[0]
            ? safe_text(mk->arena, problem->fix)
            : arena_printf(mk->arena, "`citadel models validate %s` tells all that is wrong",
                           m->name);
    m->weights_bytes = m->kv_bytes = m->overhead_bytes = PLAN_UNKNOWN;
    end_with(m, PLAN_BROKEN, safe_text(mk->arena, problem->what), fix);
}

/* An environment that is half there is as good as none. */
bool
plan_engine_runs(const struct plan_engine *vllm, const struct config_model *model)
{
    return model->engine == CONFIG_ENGINE_VLLM && vllm->env[0];
}

/* The path first: what stands at the end of a line must not be able to go on in the next. */
void
plan_engine_print(const struct plan_engine *vllm, struct buf *out)
{
    buf_printf(out, "%s: %s %s", vllm->env, config_engine_word(CONFIG_ENGINE_VLLM), vllm->version);
}

static void
end_without_engine(struct plan_model *m, const struct plan_engine *vllm)
{
    end_with(m, PLAN_BROKEN, vllm->trouble,
             "install it there, or let paths.vllm_env lead to where it is; `citadel engines` lists "
             "what there is");
}

/* One that has no use for GPUs, or makes do without, stays wherever it is wanted. */
static void
place_without(const struct making *mk, const struct config_model *c, struct plan_model *m)
{
    bool never = plan_gpus_of(c, mk->input->fake_driver) == PLAN_GPUS_NEVER;
    const char *how = never ? "it needs no GPU" : "it runs without a GPU, as none can be used here";
    switch (c->residency) {
    case CONFIG_RESIDENCY_AUTO:
    case CONFIG_RESIDENCY_ALWAYS:
        end_with(m, PLAN_RESIDENT, how, "");
        break;
    case CONFIG_RESIDENCY_ON_DEMAND:
        end_with(m, PLAN_ON_DEMAND, how, "");
        break;
    case CONFIG_RESIDENCY_MANUAL:
        end_with(m, PLAN_MANUAL, how, "");
        break;
    }
}

/* Whether its fate is clear before anybody has looked at the memory of GPUs. */
static bool
is_decided(const struct making *mk, const struct fact *fact, struct plan_model *m)
{
    const struct config_model *c = fact->config;
    const struct model_problem *problem = first_breaking(fact->files);
    enum plan_gpus gpus = plan_gpus_of(c, mk->input->fake_driver);
    if (!c->enabled) {
        end_with(m, PLAN_DISABLED, "enabled is false", "");
        return true;
    }
    if (problem) {
        end_broken(mk, m, problem);
        return true;
    }
    if (c->engine == CONFIG_ENGINE_VLLM && mk->vllm.trouble[0]) {
        end_without_engine(m, &mk->vllm);
        return true;
    }
    if (gpus == PLAN_GPUS_NEVER || (gpus == PLAN_GPUS_IF_THERE && making_count_usable(mk) == 0)) {
        place_without(mk, c, m);
        return true;
    }
    return false;
}

/* ---- the question ---- */

bool
making_is_named(const struct making *mk, const struct config_list *names, unsigned gpu)
{
    for (size_t i = 0; i < names->count; i++) {
        const struct gpu *found;
        if (gpu_find(mk->input->inventory, names->items[i], &found, NULL) == 0 &&
            found == &mk->input->inventory->gpus[gpu])
            return true;
    }
    return names->count == 0;
}

bool
making_cache_is_enough(const struct fact *fact)
{
    uint64_t cache = cache_of(fact->config), request = fact->need.request_bytes;
    return !cache || request == MODEL_UNKNOWN || request <= cache;
}

static void
ask(const struct making *mk, const struct fact *fact, struct solve_model *asked)
{
    const struct config_model *c = fact->config;
    const struct plan_need *need = &fact->need;
    bool enough = making_cache_is_enough(fact);
    asked->wish = c->residency == CONFIG_RESIDENCY_ALWAYS ? SOLVE_MUST
                  : c->residency == CONFIG_RESIDENCY_AUTO ? SOLVE_MAY
                                                          : SOLVE_LATER;
    asked->priority = c->priority;
    asked->count = plan_gpu_count(c);
    for (unsigned i = 0; enough && i < mk->solve.gpu_count; i++) {
        uint64_t claim = making_claim(fact, &mk->gpus[i]);
        if (claim <= making_room(&mk->gpus[i]) && claim >= plan_need_sum(need) &&
            making_is_named(mk, &c->gpus, i))
            asked->claims[i] = claim;
    }
}

/* ---- what the answer means ---- */

/* The GPUs in the order in which they are numbered to the engine: as named, else the machine's. */
static void
put_in_named_order(const struct making *mk, const struct config_list *names,
                   struct plan_part *parts, size_t count)
{
    for (size_t to = 0; to < names->count && to < count; to++)
        for (size_t from = to; from < count; from++) {
            const struct gpu *found;
            if (gpu_find(mk->input->inventory, names->items[to], &found, NULL) < 0 ||
                found->index != parts[from].gpu->index)
                continue;
            struct plan_part part = parts[from];
            parts[from] = parts[to];
            parts[to] = part;
            break;
        }
}

static void
add_parts(const struct making *mk, const struct fact *fact, const struct solve_model *asked,
          struct plan_model *m)
{
    struct plan_part *parts = arena_alloc(mk->arena, asked->count * sizeof(*parts));
    if (!parts)
        return;
    m->claim_bytes = UINT64_MAX;
    for (unsigned i = 0; i < asked->count; i++) {
        struct plan_gpu *gpu = &mk->gpus[asked->gpus[i]];
        parts[i] = (struct plan_part){gpu, asked->claims[asked->gpus[i]]};
        m->claim_bytes = MIN(m->claim_bytes, parts[i].bytes);
        if (asked->resident)
            gpu->promised_bytes += parts[i].bytes;
    }
    put_in_named_order(mk, &fact->config->gpus, parts, asked->count);
    m->parts = parts;
    m->part_count = asked->count;
}

/* What is left of the claim for keys and values, as requests of full length. */
static void
predict(const struct fact *fact, struct plan_model *m)
{
    const struct plan_need *need = &fact->need;
    uint64_t pool = cache_of(fact->config);
    if (need->request_bytes == MODEL_UNKNOWN || need->request_bytes == 0 ||
        (!pool && need->weights_bytes == MODEL_UNKNOWN))
        return;
    if (!pool)
        pool = m->claim_bytes - need->weights_bytes - need->overhead_bytes;
    double requests = (double)pool / (double)need->request_bytes;
    m->full_length_requests = (double)(uint64_t)(requests * 100) / 100; /* more would be made up */
    m->kv_tokens = (uint64_t)(requests * (double)need->tokens);
}

static bool
shares_a_short_gpu(const struct solve_model *a, const struct solve_model *b)
{
    for (unsigned i = 0; i < b->count; i++)
        if (a->short_of[b->gpus[i]])
            return true;
    return false;
}

static void
add_holders(const struct making *mk, const struct solve_model *asked, struct plan_model *m)
{
    const char **names = arena_alloc(mk->arena, (mk->solve.model_count + 1) * sizeof(*names));
    for (size_t i = 0; names && i < mk->solve.model_count; i++) {
        const struct solve_model *other = &mk->solve.models[i];
        if (other->resident && shares_a_short_gpu(asked, other))
            names[m->held_by_count++] = mk->models[i].name;
    }
    m->held_by = names;
}

static void
conclude(const struct making *mk, size_t i)
{
    const struct fact *fact = &mk->facts[i];
    const struct solve_model *asked = &mk->solve.models[i];
    struct plan_model *m = &mk->models[i];
    if (asked->wish == SOLVE_NONE)
        return;
    if (!asked->fits) {
        m->fate = PLAN_IMPOSSIBLE;
        tell_no_place(mk, fact, asked, m);
        return;
    }
    m->fate = asked->resident                                      ? PLAN_RESIDENT
              : fact->config->residency == CONFIG_RESIDENCY_MANUAL ? PLAN_MANUAL
                                                                   : PLAN_ON_DEMAND;
    add_parts(mk, fact, asked, m);
    predict(fact, m);
    if (!asked->resident)
        add_holders(mk, asked, m);
    tell_place(mk, fact, m);
}

static void
find_conflicts(const struct making *mk)
{
    for (size_t i = 0; i < mk->solve.model_count; i++) {
        const struct config_model *c = mk->facts[i].config;
        mk->models[i].conflict = c->enabled && c->residency == CONFIG_RESIDENCY_ALWAYS &&
                                 mk->models[i].fate != PLAN_RESIDENT;
    }
}

static void
count(struct plan *plan)
{
    for (size_t i = 0; i < plan->model_count; i++) {
        plan->resident_count += plan->models[i].fate == PLAN_RESIDENT;
        plan->on_demand_count += plan->models[i].fate == PLAN_ON_DEMAND;
        plan->conflict_count += plan->models[i].conflict;
    }
}

static const char *
why_no_gpus(const struct making *mk)
{
    if (mk->solve.gpu_count)
        return "";
    if (mk->input->inventory || !mk->input->no_inventory)
        return "there is no GPU here";
    return safe_text(mk->arena, mk->input->no_inventory);
}

static struct plan_engine
copy_engine(struct arena *arena, const struct plan_engine *engine)
{
    return (struct plan_engine){
        .env = engine ? safe_text(arena, engine->env) : "",
        .version = engine ? safe_text(arena, engine->version) : "",
        .trouble = engine ? safe_text(arena, engine->trouble) : "",
    };
}

static bool
begin(struct making *mk, const struct plan_input *input, struct arena *arena)
{
    size_t count = input->config->models.count;
    *mk = (struct making){.input = input, .arena = arena};
    mk->vllm = copy_engine(arena, input->vllm);
    mk->models = arena_alloc(arena, (count + 1) * sizeof(*mk->models));
    mk->facts = mem_alloc((count + 1) * sizeof(*mk->facts));
    mk->solve.models = mem_alloc((count + 1) * sizeof(*mk->solve.models));
    mk->solve.model_count = count;
    return mk->models && mk->vllm.trouble && add_gpus(mk);
}

int
plan_make(const struct plan_input *input, struct arena *arena, struct plan *ret_plan,
          struct err *reterr)
{
    struct making mk;
    struct plan plan = {.model_count = input->config->models.count};
    bool begun = begin(&mk, input, arena);
    _cleanup_free_ struct fact *facts = mk.facts;
    _cleanup_free_ struct solve_model *asked = mk.solve.models;
    if (!begun)
        return err_set(reterr, ERR_TOO_LARGE, "the plan needs too much memory");
    mk.no_gpus = why_no_gpus(&mk);
    add_distances(&mk);
    for (size_t i = 0; i < plan.model_count; i++) {
        learn(&mk, &facts[i], &mk.models[i], &input->config->models.items[i]);
        if (!is_decided(&mk, &facts[i], &mk.models[i]))
            ask(&mk, &facts[i], &asked[i]);
    }
    solve(&mk.solve);
    for (size_t i = 0; i < plan.model_count; i++)
        conclude(&mk, i);
    find_conflicts(&mk);
    plan.gpus = mk.gpus;
    plan.gpu_count = mk.solve.gpu_count;
    plan.no_gpus = mk.no_gpus;
    plan.vllm = mk.vllm;
    plan.models = mk.models;
    count(&plan);
    int r = fingerprint_make(&mk, plan.fingerprint, reterr);
    if (r < 0)
        return r;
    if (arena->full)
        return err_set(reterr, ERR_TOO_LARGE, "the plan needs too much memory");
    *ret_plan = plan;
    return 0;
}

const struct plan_model *
plan_find_model(const struct plan *plan, const char *name)
{
    for (size_t i = 0; i < plan->model_count; i++)
        if (text_eq(plan->models[i].name, name))
            return &plan->models[i];
    return NULL;
}
