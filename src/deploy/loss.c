#include "deploy/loss.h"

#include "base/text.h"
#include "config/config.h"
#include "deploy/compare.h"
#include "plan/plan.h"
#include "unit/unit.h"

#include <stdio.h>
#include <string.h>

/* ---- what is lacking ---- */

static bool
has_gpus(const struct plan *plan)
{
    for (size_t i = 0; i < plan->gpu_count; i++)
        if (!plan->gpus[i].trouble[0])
            return true;
    return false;
}

static bool
is_enabled(const struct config *config, const char *name)
{
    const struct config_model *model = config_find_model(config, name);
    return model && model->enabled;
}

int
deploy_find_lacks(const struct config *config, const struct plan *plan, struct arena *arena,
                  struct deploy_lack **ret_items, size_t *ret_count, struct err *reterr)
{
    struct deploy_lack *items = arena_alloc(arena, (plan->model_count + 1) * sizeof(*items));
    bool gpus = has_gpus(plan);
    *ret_items = items;
    *ret_count = 0;
    for (size_t i = 0; items && i < plan->model_count; i++) {
        const struct plan_model *m = &plan->models[i];
        bool possible = plan_fate_is_possible(m->fate);
        if (is_enabled(config, m->name) && (!possible || !gpus))
            items[(*ret_count)++] = (struct deploy_lack){m->name, m->reason, m->fix, possible};
    }
    return items ? 0 : err_set(reterr, ERR_TOO_LARGE, "there are too many models");
}

/* ---- what is deployed ---- */

static const struct generation_file *
find_unit(const struct generation_file *files, size_t count, const char *model)
{
    char unit[UNIT_NAME_BYTES];
    (void)snprintf(unit, sizeof(unit), "citadel-%s.service", model);
    for (size_t i = 0; i < count; i++)
        if (text_eq(deploy_unit_of(files[i].name), unit))
            return &files[i];
    return NULL;
}

bool
deploy_is_loss(const struct deploy_lack *lack, const struct generation_file *files, size_t count)
{
    const struct generation_file *file = find_unit(files, count, lack->model);
    return file && (!lack->of_gpus || unit_has_gpus(file->bytes));
}

/* ---- telling ---- */

/* Of one sentence, and of what mends it: longer ones would be cut. */
#define WHYS_MAX 400
#define NAMES_MAX 120
#define FIX_MAX 120

static bool
add_whys(const struct deploy_lack *items, size_t count, struct buf *out)
{
    for (size_t i = 0; i < count; i++)
        buf_printf(out, "%s%s: %s", i ? "; " : "", items[i].model, items[i].why);
    return buf_error(out) == 0;
}

/* Whether all are. */
static bool
add_names(const struct deploy_lack *items, size_t count, const char *between, struct buf *out)
{
    for (size_t i = 0; i < count; i++) {
        if (out->len + strlen(between) + strlen(items[i].model) >= NAMES_MAX) {
            buf_printf(out, " and %zu more", count - i);
            return false;
        }
        buf_printf(out, "%s%s", i ? between : "", items[i].model);
    }
    return true;
}

static void
advise(const struct deploy_lack *items, size_t count, struct err *reterr)
{
    _cleanup_buf_ struct buf names = BUF_INIT(2 * NAMES_MAX);
    bool all = add_names(items, count, " ", &names);
    bool one = count == 1 && items[0].fix[0] && strlen(items[0].fix) <= FIX_MAX;
    err_fix(reterr, "%s; or leave %s out: citadel disable %s",
            one ? items[0].fix : "mend what `citadel plan` tells", count == 1 ? "it" : "them",
            all ? names.data : "NAME...");
}

int
deploy_refuse_losses(const struct deploy_lack *items, size_t count, struct err *reterr)
{
    _cleanup_buf_ struct buf whys = BUF_INIT(WHYS_MAX), names = BUF_INIT(2 * NAMES_MAX);
    bool told = add_whys(items, count, &whys);
    (void)add_names(items, count, ", ", &names);
    int r = err_set(reterr, ERR_DEPLOY_LOSS, "what is deployed and wanted would be lost: %s%s",
                    told ? whys.data : names.data, told ? "" : "; `citadel plan` tells why");
    advise(items, count, reterr);
    return r;
}
