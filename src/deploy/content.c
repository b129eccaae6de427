#include "deploy/content.h"

#include "fmt/json.h"

#include <string.h>

#define PLAN_JSON_MAX (1 * MIB)

static const char *
print_plan(const struct plan *plan, struct arena *arena)
{
    _cleanup_buf_ struct buf text = BUF_INIT(PLAN_JSON_MAX);
    struct json_writer w;
    json_init(&w, &text, true);
    plan_print(plan, &w);
    buf_add_char(&text, '\n');
    return buf_error(&text) < 0 ? NULL : arena_strndup(arena, text.data, text.len);
}

int
deploy_content_make(const struct buf *config, const struct plan *plan, const struct unit_set *units,
                    struct arena *arena, struct generation_file **ret_files, size_t *ret_count,
                    struct err *reterr)
{
    struct generation_file *files = arena_alloc(arena, (units->count + 2) * sizeof(*files));
    const char *config_text = arena_strndup(arena, config->data, config->len);
    const char *plan_text = print_plan(plan, arena);
    if (!files || !config_text || !plan_text)
        return err_set(reterr, ERR_TOO_LARGE, "the configuration comes to too much");
    files[0] = (struct generation_file){"config.yaml", config_text, config->len};
    files[1] = (struct generation_file){"plan.json", plan_text, strlen(plan_text)};
    for (size_t i = 0; i < units->count; i++) {
        const struct unit_file *unit = &units->files[i];
        files[i + 2] = (struct generation_file){arena_printf(arena, "units/%s", unit->name),
                                                unit->text, strlen(unit->text)};
    }
    if (arena->full)
        return err_set(reterr, ERR_TOO_LARGE, "the configuration comes to too much");
    *ret_files = files;
    *ret_count = units->count + 2;
    return 0;
}
