/* Who gets which GPUs: greedy, and never undone. First those that must be resident, then those that
 * may, each in the order of priority, and of equals in the order given. Then those that are loaded
 * later learn where they would go.
 *
 * Of the sets of GPUs that would do, one is taken whose members are best linked; of these one that
 * takes the least memory from residents, then from models that have no choice and whose turn will
 * come; then one that leaves the least over, so that what is left is left in one piece; then the
 * first. Sets are grown, a GPU at a time, from each GPU: of all sets it
 * may miss the best, but on machines as they are built (pairs, halves, all alike) it does not. */

#include "plan/plan_int.h"

#include <string.h>

/* How good a set is, from the most important down; less is better. */
struct score {
    bool uneven; /* shares of different sizes: the smallest would decide for all */
    unsigned farthest;
    uint64_t far;         /* the distances of all pairs */
    uint64_t short_bytes; /* that residents have */
    uint64_t crowd_bytes; /* that models without a choice will want */
    uint64_t over;        /* bytes left over */
};

struct set {
    unsigned gpus[GPU_INVENTORY_MAX]; /* in the order in which they were added */
    unsigned count;
    struct score score;
};

static bool
is_better(const struct score *a, const struct score *b)
{
    if (a->uneven != b->uneven)
        return b->uneven;
    if (a->farthest != b->farthest)
        return a->farthest < b->farthest;
    if (a->far != b->far)
        return a->far < b->far;
    if (a->short_bytes != b->short_bytes)
        return a->short_bytes < b->short_bytes;
    if (a->crowd_bytes != b->crowd_bytes)
        return a->crowd_bytes < b->crowd_bytes;
    return a->over < b->over;
}

static bool
has(const struct set *set, unsigned gpu)
{
    for (unsigned i = 0; i < set->count; i++)
        if (set->gpus[i] == gpu)
            return true;
    return false;
}

/* The score of a set with one GPU more. */
static struct score
score_with(const struct solve *s, const struct solve_model *m, const struct set *set, unsigned gpu)
{
    struct score score = set->score;
    uint64_t claim = m->claims[gpu], room = s->room_bytes[gpu];
    for (unsigned i = 0; i < set->count; i++) {
        unsigned distance = s->distance[set->gpus[i]][gpu];
        score.farthest = MAX(score.farthest, distance);
        score.far += distance;
    }
    if (set->count && m->claims[set->gpus[0]] != claim)
        score.uneven = true;
    if (claim + s->wanted_bytes[gpu] > room)
        score.crowd_bytes += claim + s->wanted_bytes[gpu] - room;
    if (claim > room)
        score.short_bytes += claim - room;
    else
        score.over += room - claim;
    return score;
}

/* Whether it may be one of the model's: strictly, only where there is room now. */
static bool
will_do(const struct solve *s, const struct solve_model *m, unsigned gpu, bool strictly)
{
    return m->claims[gpu] && (!strictly || m->claims[gpu] <= s->room_bytes[gpu]);
}

static void
add(const struct solve *s, const struct solve_model *m, struct set *set, unsigned gpu)
{
    set->score = score_with(s, m, set, gpu);
    set->gpus[set->count++] = gpu;
}

/* The GPU that makes it the best set of one more; GPU_INVENTORY_MAX: there is none. */
static unsigned
find_next(const struct solve *s, const struct solve_model *m, const struct set *set, bool strictly)
{
    struct score best = {0};
    unsigned found = GPU_INVENTORY_MAX;
    for (unsigned gpu = 0; gpu < s->gpu_count; gpu++) {
        if (!will_do(s, m, gpu, strictly) || has(set, gpu))
            continue;
        struct score score = score_with(s, m, set, gpu);
        if (found < GPU_INVENTORY_MAX && !is_better(&score, &best))
            continue;
        best = score;
        found = gpu;
    }
    return found;
}

static bool
grow(const struct solve *s, const struct solve_model *m, struct set *set, bool strictly)
{
    while (set->count < m->count) {
        unsigned gpu = find_next(s, m, set, strictly);
        if (gpu == GPU_INVENTORY_MAX)
            return false;
        add(s, m, set, gpu);
    }
    return true;
}

static bool
find_set(const struct solve *s, const struct solve_model *m, bool strictly, struct set *ret_set)
{
    bool found = false;
    for (unsigned seed = 0; seed < s->gpu_count; seed++) {
        struct set set = {0};
        if (!will_do(s, m, seed, strictly))
            continue;
        add(s, m, &set, seed);
        if (!grow(s, m, &set, strictly))
            continue;
        if (!found || is_better(&set.score, &ret_set->score))
            *ret_set = set;
        found = true;
    }
    return found;
}

/* Neighbours are often wired to each other: ranks follow the machine's order. */
static void
take(struct solve *s, struct solve_model *m, const struct set *set)
{
    unsigned n = 0;
    for (unsigned gpu = 0; gpu < s->gpu_count; gpu++) {
        m->short_of[gpu] = has(set, gpu) && m->claims[gpu] > s->room_bytes[gpu];
        if (has(set, gpu))
            m->gpus[n++] = gpu;
    }
    m->fits = true;
}

static bool
has_choice(const struct solve *s, const struct solve_model *m)
{
    unsigned possible = 0;
    for (unsigned gpu = 0; gpu < s->gpu_count; gpu++)
        possible += m->claims[gpu] > 0;
    return possible > m->count;
}

/* What those without a choice will want of each GPU, when it is m's turn and theirs is to come. */
static void
foresee(struct solve *s, const struct solve_model *m)
{
    memset(s->wanted_bytes, 0, sizeof(s->wanted_bytes));
    for (size_t i = 0; i < s->model_count; i++) {
        const struct solve_model *other = &s->models[i];
        bool waits = (other->wish == SOLVE_MUST || other->wish == SOLVE_MAY) && !other->resident;
        if (other == m || !waits || has_choice(s, other))
            continue;
        for (unsigned gpu = 0; gpu < s->gpu_count; gpu++)
            s->wanted_bytes[gpu] += other->claims[gpu];
    }
}

static void
make_resident(struct solve *s, struct solve_model *m)
{
    struct set set;
    foresee(s, m);
    if (!find_set(s, m, true, &set))
        return;
    take(s, m, &set);
    m->resident = true;
    for (unsigned i = 0; i < set.count; i++)
        s->room_bytes[set.gpus[i]] -= m->claims[set.gpus[i]];
}

/* The next in the order of priority behind `last`; NULL: there is none. */
static struct solve_model *
next(struct solve *s, enum solve_wish wish, const struct solve_model *last)
{
    struct solve_model *best = NULL;
    for (size_t i = 0; i < s->model_count; i++) {
        struct solve_model *m = &s->models[i];
        if (m->wish != wish || m == last)
            continue;
        if (last && (m->priority > last->priority || (m->priority == last->priority && m < last)))
            continue;
        if (!best || m->priority > best->priority)
            best = m;
    }
    return best;
}

void
solve(struct solve *s)
{
    for (enum solve_wish wish = SOLVE_MUST; wish <= SOLVE_MAY; wish++)
        for (struct solve_model *m = NULL; (m = next(s, wish, m));)
            make_resident(s, m);
    memset(s->wanted_bytes, 0, sizeof(s->wanted_bytes)); /* everybody has had a turn */
    for (size_t i = 0; i < s->model_count; i++) {
        struct solve_model *m = &s->models[i];
        struct set set;
        if (m->wish != SOLVE_NONE && !m->resident &&
            (find_set(s, m, true, &set) || find_set(s, m, false, &set)))
            take(s, m, &set);
    }
}
