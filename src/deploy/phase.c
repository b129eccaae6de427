#include "deploy/phase.h"

#include "base/quantity.h"
#include "base/text.h"
#include "config/config.h"
#include "deploy/prove.h"
#include "deploy/room.h"
#include "fmt/json.h"
#include "plan/plan.h"
#include "sys/clock.h"
#include "sys/files.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define PHASES_MAX (16 * KIB)
#define PHASES_ARENA (128 * KIB)
#define UNIT_MAX (TEXT_NAME_MAX + sizeof("citadel-.service"))

struct running {
    const struct deploy_phase_wish *wish;
    const struct deploy_host *host;
    struct arena *arena;
    struct deploy_phase_end *end;
    unsigned well, bad, waiting; /* models */
};

static const char *const whats[DEPLOY_PHASES + 1] = {NULL, "infrastructure", "one model",
                                                     "the other models", "all that is wanted"};

const char *
deploy_phase_what(unsigned phase)
{
    assert(phase >= 1 && phase <= DEPLOY_PHASES);
    return whats[phase];
}

/* ---- what is remembered ---- */

static char *
path_of(const char *state_dir)
{
    return mem_printf("%s/deploy/phases.json", state_dir);
}

int
deploy_phases_forget(const char *state_dir, struct err *reterr)
{
    _cleanup_free_ char *path = path_of(state_dir);
    return file_remove_tree(path, reterr);
}

static void
take(const struct value *v, struct deploy_phases *phases)
{
    unsigned phase = value_u32(value_get(v, "phase"));
    if (phase < 1 || phase > DEPLOY_PHASES)
        return;
    struct deploy_phase_end *end = &phases->phases[phase];
    (void)(value_u64(value_get(v, "at_us"), &end->at_us) &&
           value_bool(value_get(v, "well"), &end->well));
    end->generation = value_u32(value_get(v, "generation"));
    value_copy_str(value_get(v, "by"), end->by, sizeof(end->by));
    value_copy_str(value_get(v, "text"), end->text, sizeof(end->text));
}

int
deploy_phases_load(const char *state_dir, struct deploy_phases *ret, struct err *reterr)
{
    _cleanup_free_ char *path = path_of(state_dir);
    _cleanup_buf_ struct buf text = BUF_INIT(PHASES_MAX);
    _cleanup_arena_ struct arena arena;
    struct value *root = NULL;
    *ret = (struct deploy_phases){0};
    arena_init(&arena, PHASES_ARENA);
    int r = file_read_if_there(path, &text, reterr);
    if (r == 0)
        return 0;
    if (r > 0)
        r = json_parse(&arena, text.data, text.len, JSON_STRICT, &root, NULL, reterr);
    if (r < 0) {
        err_prefix(reterr, "%s", path);
        err_fix(reterr, "remove it, and begin with phase1");
        return r;
    }
    for (const struct value *v = root && root->type == VALUE_LIST ? root->first : NULL; v;
         v = v->next)
        take(v, ret);
    return 0;
}

void
deploy_phases_print(const struct deploy_phases *phases, struct json_writer *w, const char *name)
{
    json_open_list(w, name);
    for (unsigned i = 1; i <= DEPLOY_PHASES; i++) {
        const struct deploy_phase_end *end = &phases->phases[i];
        if (!end->at_us)
            continue;
        json_open_map(w, NULL);
        json_u64(w, "phase", i);
        json_str(w, "what", whats[i]);
        json_u64(w, "at_us", end->at_us);
        json_bool(w, "well", end->well);
        json_u64(w, "generation", end->generation);
        json_str(w, "by", end->by);
        json_str(w, "text", end->text);
        json_close_map(w);
    }
    json_close_list(w);
}

/* Those after it are as good as not tried. */
static int
remember(const struct running *p, struct err *reterr)
{
    const char *state_dir = p->wish->deploy.state_dir;
    _cleanup_free_ char *path = path_of(state_dir);
    _cleanup_buf_ struct buf text = BUF_INIT(PHASES_MAX);
    struct deploy_phases phases;
    struct json_writer w;
    int r = deploy_phases_load(state_dir, &phases, reterr);
    if (r < 0)
        return r;
    phases.phases[p->wish->phase] = *p->end;
    for (unsigned i = p->wish->phase + 1; i <= DEPLOY_PHASES; i++)
        phases.phases[i] = (struct deploy_phase_end){0};
    json_init(&w, &text, true);
    deploy_phases_print(&phases, &w, NULL);
    buf_add_char(&text, '\n');
    assert(buf_error(&text) == 0);
    return file_write(path, text.data, text.len, 0644, reterr);
}

/* ---- units ---- */

static void tell(const struct running *p, const char *fmt, ...) printf_like(2, 3);

static void
tell(const struct running *p, const char *fmt, ...)
{
    char line[1024];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(line, sizeof(line), fmt, args);
    va_end(args);
    p->host->tell(p->host->arg, line);
}

static const char *
unit_of(const char *model, char unit[UNIT_MAX])
{
    (void)snprintf(unit, UNIT_MAX, "citadel-%s.service", model);
    return unit;
}

static bool
is_infrastructure(const char *unit)
{
    return text_eq(unit, "citadel-storage.service") || text_eq(unit, "citadel-gpu.service");
}

/* The generation of the configuration, with these units started. */
static int
deploy(struct running *p, bool (*starts)(const char *unit), struct err *reterr)
{
    struct deploy_wish wish = p->wish->deploy;
    struct deploy_end end;
    wish.starts = starts;
    wish.insist = true; /* by a person, who wants all of it */
    int r = deploy_apply(&wish, p->host, p->arena, &end, reterr);
    p->end->generation = end.to;
    if (r < 0 || !end.failed)
        return r;
    return deploy_explain(end.failed, reterr);
}

/* What is proven is what phase 1 has put in place. */
static int
check_same(struct running *p, struct err *reterr)
{
    struct deploy_outlook outlook;
    int r = deploy_look(&p->wish->deploy, p->host, p->arena, &outlook, reterr);
    if (r < 0)
        return r;
    p->end->generation = outlook.current;
    if (outlook.same)
        return 0;
    r = err_set(reterr, ERR_DEPLOY_STALE,
                "the configuration, the models or the GPUs are others than those of generation %u",
                outlook.current);
    err_fix(reterr, "citadel deploy phase1");
    return r;
}

static int
act(struct running *p, enum deploy_act what, const char *unit, struct err *reterr)
{
    struct deploy_order order = {.act = what, .unit = unit};
    int r = p->host->carry_out(p->host->arg, &order, 1, reterr);
    return r == 0 && order.failed ? deploy_explain(&order, reterr) : r;
}

static int
is_running(struct running *p, const char *unit, bool *ret, struct err *reterr)
{
    enum deploy_life life;
    int r = p->host->look(p->host->arg, unit, NULL, &life, reterr);
    *ret = r == 0 && deploy_runs(life);
    return r;
}

/* ---- models ---- */

/* Started, and asked; what did not run before is stopped when it fails. Who is on its way already is waited
 * for likewise. */
static int
try_model(struct running *p, const char *name, struct err *reterr)
{
    char unit[UNIT_MAX];
    struct err ignored;
    enum deploy_life life = DEPLOY_RUNS;
    (void)unit_of(name, unit);
    int r = p->host->look(p->host->arg, unit, NULL, &life, reterr);
    if (r == 0 && (life == DEPLOY_SHUNNED || life == DEPLOY_HELD))
        r = p->host->wish(p->host->arg, unit, true, reterr);
    if (r == 0)
        r = act(p, DEPLOY_START, unit, reterr);
    if (r == 0)
        r = deploy_prove(config_find_model(p->wish->config, name), reterr);
    if (r == 0) {
        tell(p, "%s answers", name);
        return 0;
    }
    if (!deploy_runs(life) && act(p, DEPLOY_STOP, unit, &ignored) < 0)
        tell(p, "%s", ignored.what);
    return r;
}

/* The one that is configured; else the one that needs least, of those that are to run. */
static int
choose_model(const struct running *p, const char **ret, struct err *reterr)
{
    const struct plan *plan = p->wish->plan;
    const char *asked = p->wish->model ? p->wish->model : p->wish->config->deploy.test_model;
    const struct plan_model *best = NULL;
    for (size_t i = 0; i < plan->model_count && !asked; i++) {
        const struct plan_model *m = &plan->models[i];
        if (m->fate == PLAN_RESIDENT && (!best || m->claim_bytes < best->claim_bytes))
            best = m;
    }
    if (asked)
        best = plan_find_model(plan, asked);
    *ret = best ? best->name : NULL;
    if (best && plan_fate_is_possible(best->fate))
        return 0;
    if (asked && !best)
        return err_set(reterr, ERR_NO_MODEL, "there is no model '%s' to try", asked);
    if (!asked)
        return err_set(reterr, ERR_DEPLOY_FAILED,
                       "no model is to be kept loaded, so none is tried");
    int r = err_set(reterr, ERR_DEPLOY_FAILED, "%s cannot be tried: %s", asked, best->reason);
    err_fix(reterr, "%s", best->fix);
    return r;
}

static int
run_test(struct running *p, struct err *reterr)
{
    const char *name;
    int r = choose_model(p, &name, reterr);
    if (r == 0)
        r = check_same(p, reterr);
    if (r == 0)
        r = try_model(p, name, reterr);
    if (r == 0)
        (void)snprintf(p->end->text, sizeof(p->end->text), "%s answers", name);
    return r;
}

static int
runs(void *arg, const char *unit, bool *ret, struct err *reterr)
{
    return is_running(arg, unit, ret, reterr);
}

/* All that are to be loaded will be. */
static int
is_to_start(void *arg, const char *unit, bool *ret, struct err *reterr)
{
    int r = is_running(arg, unit, ret, reterr);
    *ret = !*ret;
    return r;
}

/* What phase 2 has tried may have been one that is not to stay. */
static int
make_room(struct running *p, struct err *reterr)
{
    const struct deploy_wish *wish = &p->wish->deploy;
    const struct deploy_room_asks asks = {runs, is_to_start, p};
    struct deploy_room *items;
    size_t count;
    int r = deploy_room_find(wish->files, wish->count, &asks, p->arena, &items, &count, reterr);
    for (size_t i = 0; r == 0 && i < count; i++) {
        tell(p, "%s makes room for %s", items[i].name, items[i].for_name);
        r = act(p, DEPLOY_STOP, items[i].unit, reterr);
    }
    return r;
}

/* One that fails does not stop the others. */
static void
run_resident(struct running *p, const struct plan_model *m)
{
    struct err err = {0};
    if (try_model(p, m->name, &err) == 0) {
        p->well++;
        return;
    }
    p->bad++;
    tell(p, "%s is left out: %s", m->name, err.what);
}

static void
tell_waiting(struct running *p, const struct plan_model *m)
{
    _cleanup_buf_ struct buf names = BUF_INIT(KIB);
    for (size_t i = 0; i < m->held_by_count; i++)
        buf_printf(&names, "%s%s", i ? ", " : "", m->held_by[i]);
    tell(p, "%s: waiting: GPU memory held by %s", m->name, names.data);
    p->waiting++;
}

/* What fits beside those that run is proven, and makes room again. */
static void
run_on_demand(struct running *p, const struct plan_model *m)
{
    struct err err = {0};
    char unit[UNIT_MAX];
    bool ran = false;
    if (m->held_by_count) {
        tell_waiting(p, m);
        return;
    }
    int r = is_running(p, unit_of(m->name, unit), &ran, &err);
    if (r == 0)
        r = try_model(p, m->name, &err);
    if (r == 0 && !ran)
        r = act(p, DEPLOY_STOP, unit, &err);
    if (r == 0) {
        p->well++;
        return;
    }
    p->bad++;
    tell(p, "%s is left out: %s", m->name, err.what);
}

static int
run_models(struct running *p, struct err *reterr)
{
    const struct plan *plan = p->wish->plan;
    int r = check_same(p, reterr);
    if (r == 0)
        r = make_room(p, reterr);
    if (r < 0)
        return r;
    for (size_t i = 0; i < plan->model_count; i++)
        if (plan->models[i].fate == PLAN_RESIDENT)
            run_resident(p, &plan->models[i]);
    for (size_t i = 0; i < plan->model_count; i++)
        if (plan->models[i].fate == PLAN_ON_DEMAND)
            run_on_demand(p, &plan->models[i]);
    (void)snprintf(p->end->text, sizeof(p->end->text), "%u answer, %u failed, %u wait for memory",
                   p->well, p->bad, p->waiting);
    if (p->bad == 0)
        return 0;
    r = err_set(reterr, ERR_DEPLOY_FAILED, "%s", p->end->text);
    err_fix(reterr, "citadel status; then the same again");
    return r;
}

static int
run_infrastructure(struct running *p, struct err *reterr)
{
    struct deploy_wish nothing = p->wish->deploy;
    struct deploy_end end;
    struct err ignored;
    enum deploy_life storage = DEPLOY_NOBODYS;
    unsigned before;
    int r = generation_of(p->wish->deploy.store, GENERATION_CURRENT, &before, reterr);
    if (r == 0)
        r = p->host->look(p->host->arg, "citadel-storage.service", NULL, &storage, reterr);
    if (r < 0)
        return r;
    r = deploy(p, is_infrastructure, reterr);
    if (r == 0) {
        bool left = storage == DEPLOY_NOBODYS; /* as `citadel up` leaves them */
        (void)snprintf(p->end->text, sizeof(p->end->text),
                       "generation %u is live; storage and GPUs are %s", p->end->generation,
                       left ? "as they were: citadel storage setup, citadel gpu optimize"
                            : "set up");
        return 0;
    }
    if (before)
        return r; /* which has come back, if it was stable */
    nothing.files = NULL;
    nothing.number = 0;
    nothing.expect = NULL;
    if (deploy_apply(&nothing, p->host, p->arena, &end, &ignored) < 0)
        tell(p, "%s", ignored.what);
    return r;
}

static int
run_all(struct running *p, struct err *reterr)
{
    int r = check_same(p, reterr);
    if (r == 0)
        r = deploy(p, NULL, reterr);
    if (r == 0)
        (void)snprintf(p->end->text, sizeof(p->end->text), "all of generation %u runs",
                       p->end->generation);
    return r;
}

/* ---- one phase ---- */

int
deploy_phase_check(const struct deploy_phase_wish *wish, struct err *reterr)
{
    struct deploy_phases phases;
    unsigned before = wish->phase - 1;
    int r = deploy_phases_load(wish->deploy.state_dir, &phases, reterr);
    if (r < 0 || before == 0 || wish->anyway || phases.phases[before].well)
        return r;
    const struct deploy_phase_end *end = &phases.phases[before];
    r = err_set(reterr, ERR_DEPLOY_FAILED, "phase%u (%s) %s%s", before, whats[before],
                end->at_us ? "has failed: " : "was not done yet", end->at_us ? end->text : "");
    err_fix(reterr, "citadel deploy phase%u; or the same with --anyway", before);
    return r;
}

int
deploy_phase_run(const struct deploy_phase_wish *wish, const struct deploy_host *host,
                 struct arena *arena, struct deploy_phase_end *ret_end, struct err *reterr)
{
    static int (*const runs[])(struct running * p, struct err * reterr) = {
        NULL, run_infrastructure, run_test, run_models, run_all};
    struct running p = {.wish = wish, .host = host, .arena = arena, .end = ret_end};
    struct err err = {0};
    *ret_end = (struct deploy_phase_end){0};
    int r = deploy_phase_check(wish, reterr);
    if (r < 0)
        return r;
    r = runs[wish->phase](&p, &err);
    if (r < 0 &&
        (err.id == ERR_DEPLOY_STALE || err.id == ERR_DEPLOY_LOSS)) { /* nothing was tried */
        if (reterr)
            *reterr = err;
        return r;
    }
    ret_end->at_us = clock_wall_us();
    ret_end->well = r == 0;
    (void)snprintf(ret_end->by, sizeof(ret_end->by), "%s", wish->deploy.by);
    if (r < 0) {
        (void)snprintf(ret_end->text, sizeof(ret_end->text), "%s", err.what);
        if (reterr)
            *reterr = err;
    }
    int noted = remember(&p, r < 0 ? NULL : reterr);
    return r < 0 ? r : noted;
}
