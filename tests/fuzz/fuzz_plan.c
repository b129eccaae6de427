/* plan.json, which lies in a generation for years: of its engine and of who waits for whom only what
 * can be shown is read, and what is whole has nothing wrong with it. */

#include "base/text.h"
#include "fmt/json.h"
#include "plan/plan.h"

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void
check_text(const char *text)
{
    const char *end = text + strlen(text);
    for (const char *at = text; at < end;)
        assert(!text_is_dangerous(text_next_char(&at, end)));
}

static void
check_waiting(const struct value *plan, struct arena *arena)
{
    struct plan_waiting *items;
    size_t count;
    if (plan_read_waiting(plan, arena, &items, &count, NULL) < 0)
        return;
    for (size_t i = 0; i < count; i++) {
        assert(items[i].name[0] && items[i].held_by_count > 0);
        check_text(items[i].name);
        for (size_t n = 0; n < items[i].held_by_count; n++)
            check_text(items[i].held_by[n]);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    _cleanup_arena_ struct arena arena;
    struct plan_engine engine;
    struct value *root;
    arena_init(&arena, 4 * MIB);
    if (json_parse(&arena, (const char *)data, len, JSON_STRICT, &root, NULL, NULL) < 0)
        return 0;
    check_waiting(root, &arena);
    if (plan_read_engine(root, &arena, &engine, NULL) < 0)
        return 0;
    check_text(engine.env);
    check_text(engine.version);
    check_text(engine.trouble);
    assert(!engine.env[0] || engine.env[0] == '/');
    assert(!engine.version[0] || (engine.env[0] && !engine.trouble[0]));
    return 0;
}
