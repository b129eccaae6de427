/* plan.json, which lies in a generation for years: what is read adds up and, printed again, is read
 * as the same. */

#include "fmt/json.h"
#include "plan/plan.h"

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define ROOM (4 * MIB)

static void
print(const struct plan *plan, struct buf *out)
{
    struct json_writer w;
    json_init(&w, out, false);
    plan_print(plan, &w);
    assert(buf_error(out) == 0);
}

static void
check_promises(const struct plan *plan)
{
    for (size_t i = 0; i < plan->gpu_count; i++) {
        uint64_t sum = 0;
        for (size_t m = 0; m < plan->model_count; m++)
            for (size_t k = 0; k < plan->models[m].part_count; k++)
                if (plan->models[m].fate == PLAN_RESIDENT &&
                    plan->models[m].parts[k].gpu == &plan->gpus[i])
                    sum += plan->models[m].parts[k].bytes;
        assert(sum == plan->gpus[i].promised_bytes && sum <= plan->gpus[i].total_bytes);
    }
}

static int
read_plan(struct arena *arena, const char *text, size_t len, struct plan *ret_plan)
{
    struct value *root;
    int r = json_parse(arena, text, len, JSON_STRICT, &root, NULL, NULL);
    return r < 0 ? r : plan_read(root, arena, ret_plan, NULL);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    _cleanup_arena_ struct arena arena;
    _cleanup_buf_ struct buf first = BUF_INIT(ROOM), second = BUF_INIT(ROOM);
    struct plan plan, back;
    arena_init(&arena, ROOM);
    if (read_plan(&arena, (const char *)data, len, &plan) < 0)
        return 0;
    check_promises(&plan);
    print(&plan, &first);
    arena_finish(&arena);
    arena_init(&arena, ROOM);
    assert(read_plan(&arena, first.data, first.len, &back) == 0);
    print(&back, &second);
    assert(first.len == second.len && memcmp(first.data, second.data, first.len) == 0);
    return 0;
}
