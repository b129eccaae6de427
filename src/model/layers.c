#include "base/text.h"
#include "model/model_int.h"

#include <string.h>

/* Which layers attend, to how much, and which recur: every family has its own way to say so. */

enum { FULL = 1, WINDOW = 2, STATE = 4, MLP = 8, MOE = 16, NOT_KNOWN = 32 };

/* Lists with an entry a layer, or a pattern that repeats. */
static const char *const type_lists[] = {"layer_types", "layers_block_type", "block_types",
                                         "_block_types", "attn_type_list"};

static unsigned
of_type(const struct value *type)
{
    static const struct {
        const char *name;
        unsigned does;
    } types[] = {
        {"full_attention", FULL},
        {"attention", FULL},
        {"sliding_attention", WINDOW},
        {"chunked_attention", WINDOW},
        {"linear_attention", STATE},
        {"mamba", STATE},
        {"conv", STATE},
        {"recurrent", STATE},
        {"hybrid", FULL | STATE},
        {"mlp", MLP},
        {"moe", MOE},
    };
    uint64_t number;
    if (value_u64(type, &number))
        return number ? FULL : STATE;
    for (size_t i = 0; i < ARRAY_SIZE(types); i++)
        if (text_eq(value_str(type), types[i].name))
            return types[i].does;
    return NOT_KNOWN;
}

static unsigned
of_letter(char letter)
{
    switch (letter) {
    case 'M':
        return STATE;
    case '*':
        return FULL;
    case '-':
        return MLP;
    case 'E':
        return MOE;
    case 'L': /* local and global */
        return WINDOW;
    case 'G':
        return FULL;
    default:
        return NOT_KNOWN;
    }
}

static bool
list_has(const struct value *list, uint64_t n)
{
    uint64_t number;
    for (const struct value *v = list ? list->first : NULL; v; v = v->next)
        if (value_u64(v, &number) && number == n)
            return true;
    return false;
}

struct plan {
    const struct value *types;     /* the list, NULL: none */
    const struct value *type;      /* its entry for this layer */
    const char *letters;           /* a letter a layer, or a pattern that repeats */
    size_t letters_count;          /* 0: none */
    const struct value *attending; /* numbers of the layers that attend */
    const struct value *dense;     /* numbers of the layers without experts */
};

static const struct value *
get_list(const struct shape *sh, const char *path)
{
    const struct value *list = shape_get(sh, path);
    return list && list->type == VALUE_LIST && list->count > 0 && list->count <= LAYERS_MAX ? list
                                                                                            : NULL;
}

static struct plan
make_plan(const struct shape *sh)
{
    struct plan plan = {
        .attending = get_list(sh, "attn_layer_indices"),
        .dense = get_list(sh, "mlp_only_layers"),
        .letters = value_str(shape_get(sh, "hybrid_override_pattern")),
    };
    if (!plan.letters)
        plan.letters = value_str(shape_get(sh, "sliding_window_pattern"));
    plan.letters_count = plan.letters ? strlen(plan.letters) : 0;
    if (plan.letters_count > LAYERS_MAX)
        plan.letters_count = 0;
    for (size_t i = 0; i < ARRAY_SIZE(type_lists) && !plan.types; i++)
        plan.types = get_list(sh, type_lists[i]);
    return plan;
}

/* What layer i attends to, or that it does something else instead. */
static unsigned
mixer(const struct shape *sh, struct plan *plan, uint64_t i)
{
    const struct dims *d = &sh->d;
    if (plan->types) {
        plan->type = plan->type && plan->type->next ? plan->type->next : plan->types->first;
        return of_type(plan->type);
    }
    if (plan->letters_count)
        return of_letter(plan->letters[i % plan->letters_count]);
    if (sh->traits & T_RECURRENT)
        return STATE;
    if (sh->traits & T_BOTH)
        return FULL | STATE;
    if (plan->attending)
        return list_has(plan->attending, i) ? FULL : STATE;
    if (d->attention_period)
        return i % d->attention_period == d->attention_offset ? FULL : STATE;
    if (d->full_every)
        return (i + 1) % d->full_every == 0 ? FULL : STATE;
    if (sh->traits & T_WINDOW_ALTERNATES)
        return i % 2 == 0 ? WINDOW : FULL;
    if (sh->traits & T_WINDOW_OF_FOUR)
        return (i + 1) % 4 != 0 ? WINDOW : FULL;
    if (d->window_every)
        return (i + 1) % d->window_every != 0 ? WINDOW : FULL;
    if (sh->traits & T_WINDOW_OPT_IN)
        return i >= d->window_from ? WINDOW : FULL;
    return WINDOW;
}

static bool
has_experts(const struct shape *sh, const struct plan *plan, uint64_t i)
{
    const struct dims *d = &sh->d;
    if (d->experts == 0 || i < d->dense_layers || list_has(plan->dense, i))
        return false;
    if (d->expert_period)
        return i % d->expert_period == d->expert_offset;
    return d->moe_every == 0 || (i + 1) % d->moe_every == 0;
}

/* The window that some layer may have; 0 when it is as wide as all there is, or switched off. */
static uint64_t
find_window(const struct shape *sh)
{
    uint64_t window = sh->d.window ? sh->d.window : sh->d.chunk;
    bool on = sh->traits & T_WINDOW_OPT_IN ? sh->f.use_window == ANSWER_YES
                                           : sh->f.use_window != ANSWER_NO;
    if (!on || window == DIM_VARIES || (sh->positions && window >= sh->positions))
        return 0;
    return window;
}

static void
count_layer(struct shape *sh, unsigned does, bool shares)
{
    struct layer_counts *n = &sh->layers;
    if (shares)
        n->shared += (does & (FULL | WINDOW)) != 0;
    else if (does & WINDOW)
        n->window++;
    else if (does & FULL)
        n->full++;
    n->state += (does & STATE) != 0;
    n->mlp += (does & MLP) != 0;
    n->moe += (does & MOE) != 0;
    n->unknown |= (does & NOT_KNOWN) != 0;
}

/* Whether a layer is either a mixer or an MLP, as in Nemotron-H. */
static bool
are_mlps_apart(const struct plan *plan)
{
    unsigned seen = 0;
    for (size_t i = 0; i < plan->letters_count; i++)
        seen |= of_letter(plan->letters[i]);
    for (const struct value *v = plan->types ? plan->types->first : NULL; v; v = v->next)
        seen |= of_type(v);
    return seen & (MLP | MOE);
}

void
layers_count(struct shape *sh)
{
    struct plan plan = make_plan(sh);
    bool has_mlp = !(sh->traits & T_RECURRENT) && !are_mlps_apart(&plan);
    uint64_t layers = sh->d.layers == DIM_VARIES ? 0 : sh->d.layers;
    sh->layers = (struct layer_counts){0};
    sh->window_tokens = find_window(sh);
    for (uint64_t i = 0; i < layers; i++) {
        unsigned does = mixer(sh, &plan, i);
        if ((does & WINDOW) && !sh->window_tokens)
            does = (does & ~(unsigned)WINDOW) | FULL;
        if (has_mlp)
            does |= has_experts(sh, &plan, i) ? MOE : MLP;
        count_layer(sh, does, sh->d.kv_shared_layers && i + sh->d.kv_shared_layers >= layers);
    }
    if (sh->layers.window == 0)
        sh->window_tokens = 0;
}
