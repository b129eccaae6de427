#include "gateway/params.h"

#include "base/text.h"
#include "config/config.h"
#include "fmt/json.h"

#include <string.h>

#define VALUES_BYTES_MAX (1 * MIB)
#define TREE_BYTES_MAX (1 * MIB)

static bool
is_json(const char *text)
{
    _cleanup_arena_ struct arena arena;
    struct value *root;
    arena_init(&arena, TREE_BYTES_MAX);
    return json_parse(&arena, text, strlen(text), JSON_STRICT, &root, NULL, NULL) == 0;
}

static const char *
as_json(struct arena *arena, const char *text)
{
    _cleanup_buf_ struct buf out = BUF_INIT(VALUES_BYTES_MAX);
    struct json_writer w;
    if (is_json(text))
        return text;
    json_init(&w, &out, false);
    json_str(&w, NULL, text);
    return buf_error(&out) < 0 ? NULL : arena_strndup(arena, out.data, out.len);
}

static bool
has(const struct params *p, const char *name)
{
    for (size_t i = 0; i < p->count; i++)
        if (text_eq(p->items[i].name, name))
            return true;
    return false;
}

/* What is there already is forced, and holds. */
static void
add(struct params *p, const struct config_pairs *pairs, bool forced)
{
    for (size_t i = 0; i < pairs->count && p->count < ASK_PARAMS_MAX; i++) {
        const char *name = pairs->items[i].name;
        const char *json = has(p, name) ? NULL : as_json(&p->arena, pairs->items[i].value);
        if (json)
            p->items[p->count++] = (struct ask_param){name, json, forced};
    }
}

void
params_init(struct params *p, const struct config_model *model)
{
    p->count = 0;
    arena_init(&p->arena, VALUES_BYTES_MAX);
    add(p, &model->forced_parameters, true);
    add(p, &model->parameters, false);
}

void
params_finish(struct params *p)
{
    arena_finish(&p->arena);
}
