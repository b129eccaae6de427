#include "deploy/room.h"

#include "base/text.h"
#include "fmt/json.h"
#include "plan/plan.h"

static const struct generation_file *
find_plan(const struct generation_file *files, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (text_eq(files[i].name, "plan.json"))
            return &files[i];
    return NULL;
}

static int
read_waiting(const struct generation_file *plan, struct arena *arena, struct plan_waiting **ret,
             size_t *ret_count, struct err *reterr)
{
    struct value *root;
    int r = json_parse(arena, plan->bytes, plan->len, JSON_STRICT, &root, NULL, reterr);
    if (r == 0)
        r = plan_read_waiting(root, arena, ret, ret_count, reterr);
    if (r < 0)
        err_prefix(reterr, "%s", plan->name);
    return r;
}

static const char *
unit_of(struct arena *arena, const char *model)
{
    return arena_printf(arena, "citadel-%s.service", model);
}

/* The first of those that it waits for and that are to start; NULL: there is none. */
static int
find_comer(const struct plan_waiting *w, const struct deploy_room_asks *asks, struct arena *arena,
           const char **ret, struct err *reterr)
{
    int r = 0;
    *ret = NULL;
    for (size_t i = 0; r == 0 && i < w->held_by_count && !*ret; i++) {
        const char *unit = unit_of(arena, w->held_by[i]);
        bool comes = false;
        r = unit ? asks->is_to_start(asks->arg, unit, &comes, reterr) : 0;
        if (comes)
            *ret = w->held_by[i];
    }
    return r;
}

static int
look_at(const struct plan_waiting *w, const struct deploy_room_asks *asks, struct arena *arena,
        struct deploy_room *ret, struct err *reterr)
{
    bool runs = false;
    *ret = (struct deploy_room){.unit = unit_of(arena, w->name), .name = w->name};
    int r = ret->unit ? asks->runs(asks->arg, ret->unit, &runs, reterr) : 0;
    return r == 0 && runs ? find_comer(w, asks, arena, &ret->for_name, reterr) : r;
}

int
deploy_room_find(const struct generation_file *files, size_t count,
                 const struct deploy_room_asks *asks, struct arena *arena,
                 struct deploy_room **ret_items, size_t *ret_count, struct err *reterr)
{
    const struct generation_file *plan = find_plan(files, count);
    struct plan_waiting *waiting = NULL;
    size_t waiting_count = 0;
    int r = plan ? read_waiting(plan, arena, &waiting, &waiting_count, reterr) : 0;
    struct deploy_room *items = arena_alloc(arena, (waiting_count + 1) * sizeof(*items));
    *ret_count = 0;
    *ret_items = items;
    for (size_t i = 0; r == 0 && items && i < waiting_count; i++) {
        r = look_at(&waiting[i], asks, arena, &items[*ret_count], reterr);
        *ret_count += r == 0 && items[*ret_count].for_name;
    }
    return r == 0 && arena->full
               ? err_set(reterr, ERR_TOO_LARGE, "those who wait for memory are too many")
               : r;
}
