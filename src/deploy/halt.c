#include "deploy/halt.h"

#include "base/text.h"
#include "base/vec.h"
#include "deploy/audit.h"
#include "deploy/pending_int.h"
#include "unit/unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define UNIT_TEXT_MAX 128
#define EVERYTHING "citadel-ai.target"

enum step { STEP_JOBS, STEP_MODELS, STEP_PORT, STEP_KEEPERS, STEP_GPU, STEP_STORAGE, STEP_WHOLE };

/* What is no model. */
static const struct {
    const char *unit;
    enum step step;
    enum halt_group group;
} rows[] = {
    {"citadel-report.timer", STEP_JOBS, HALT_MONITORING},
    {"citadel-report.service", STEP_JOBS, HALT_MONITORING},
    {"citadel-models.target", STEP_MODELS, HALT_MODELS},
    {"citadel-gateway.socket", STEP_PORT, HALT_GATEWAY},
    {"citadel-gateway.service", STEP_KEEPERS, HALT_GATEWAY},
    {"citadel-monitor.service", STEP_KEEPERS, HALT_MONITORING},
    {"citadel-gpu.service", STEP_GPU, HALT_INFRASTRUCTURE},
    {"citadel-storage.service", STEP_STORAGE, HALT_INFRASTRUCTURE},
    {EVERYTHING, STEP_WHOLE, HALT_ALL},
};

static const char *const words[] = {
#define HALT_GROUP(name, word, help) [HALT_##name] = word,
    HALT_GROUPS(HALT_GROUP)
#undef HALT_GROUP
        [HALT_ALL] = "all",
};

const char *
halt_group_word(enum halt_group group)
{
    return words[group];
}

enum halt_group
halt_group_find(const char *word)
{
    enum halt_group group = 0;
    while (group < HALT_ALL && !text_eq(words[group], word))
        group++;
    return group;
}

/* ---- what goes when ---- */

static void
place(const char *unit, bool has_timer, enum step *ret_step, enum halt_group *ret_group)
{
    bool is_job = has_timer || text_ends(unit, ".timer");
    *ret_step = is_job ? STEP_JOBS : STEP_MODELS;
    *ret_group = is_job ? HALT_INFRASTRUCTURE : HALT_MODELS;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        if (!text_eq(rows[i].unit, unit))
            continue;
        *ret_step = rows[i].step;
        *ret_group = rows[i].group;
    }
}

bool
halt_is_meant(enum halt_group group, const char *unit, bool has_timer)
{
    enum step step;
    enum halt_group its;
    place(unit, has_timer, &step, &its);
    return group == HALT_ALL || its == group ||
           (group == HALT_INFRASTRUCTURE && its == HALT_MODELS);
}

static bool
has_timer(const struct generation_file *files, size_t count, const char *unit)
{
    char timer[UNIT_TEXT_MAX];
    const char *dot = strrchr(unit, '.');
    (void)snprintf(timer, sizeof(timer), "%.*s.timer", dot ? (int)(dot - unit) : 0, unit);
    for (size_t i = 0; i < count; i++)
        if (text_eq(deploy_unit_of(files[i].name), timer))
            return true;
    return false;
}

static void
add(enum halt_group group, struct halt_unit unit, bool timed, struct halt_step steps[HALT_STEPS])
{
    enum step step;
    enum halt_group its;
    place(unit.name, timed, &step, &its);
    if (halt_is_meant(group, unit.name, timed))
        steps[step].units[steps[step].count++] = unit;
}

int
halt_plan(enum halt_group group, const struct generation_file *files, size_t count,
          struct arena *arena, struct halt_step ret_steps[HALT_STEPS])
{
    for (size_t i = 0; i < HALT_STEPS; i++) {
        ret_steps[i].count = 0;
        ret_steps[i].units = arena_alloc(arena, (count + 1) * sizeof(struct halt_unit));
        if (!ret_steps[i].units)
            return -ENOMEM;
    }
    for (size_t i = 0; i < count; i++) {
        const char *name = deploy_unit_of(files[i].name);
        const struct halt_unit unit = {name, !files[i].bytes || unit_is_wanted(files[i].bytes)};
        if (name)
            add(group, unit, has_timer(files, count, name), ret_steps);
    }
    if (count)
        add(group, (struct halt_unit){EVERYTHING, true}, false, ret_steps);
    return 0;
}

/* ---- this machine ---- */

struct halting {
    const struct halt_wish *wish;
    const struct deploy_host *host;
    struct arena *arena;
    struct halt_step steps[HALT_STEPS];
    char digest[HASH_SHA256_HEX];
    VEC(struct deploy_order) orders; /* of all steps */
    struct err failed;               /* of the first that does not stop */
};

static int
too_large(struct err *reterr)
{
    return err_set(reterr, ERR_TOO_LARGE, "what is deployed is too large to stop it in order");
}

/* What a deployment that was interrupted since the boot has left running, no generation tells. */
static int
check_whole(const char *state_dir, struct err *reterr)
{
    char boot[CLOCK_BOOT_ID_LEN + 1] = "";
    struct pending pending;
    int r = pending_load(state_dir, &pending, reterr);
    if (r < 0 || !pending.under_way || pending.failed ||
        (clock_boot_id(boot) == 0 && !text_eq(boot, pending.boot)))
        return r;
    r = err_set(reterr, ERR_DEPLOY_FAILED,
                "the deployment of generation %u by %s was interrupted, and nobody knows what runs",
                pending.to, pending.by);
    err_fix(reterr, "sudo citadel apply, which makes it good; or citadel rollback emergency");
    return r;
}

static int
load_current(const struct halting *h, unsigned *ret_current, struct generation_file **ret_files,
             size_t *ret_count, struct err *reterr)
{
    const struct halt_wish *w = h->wish;
    int r = check_whole(w->state_dir, reterr);
    if (r == 0)
        r = generation_of(w->store, GENERATION_CURRENT, ret_current, reterr);
    if (r == 0 && *ret_current)
        r = generation_load(w->store, *ret_current, GENERATION_WHAT_IS_WHOLE, h->arena, ret_files,
                            ret_count, reterr);
    if (r < 0 || *ret_current)
        return r;
    r = err_set(reterr, ERR_DEPLOY_NOTHING, "nothing is deployed here");
    err_fix(reterr, "citadel rollback status; it tells what runs");
    return r;
}

static int
load(struct halting *h, struct err *reterr)
{
    const struct generation_file *files = h->wish->files;
    struct generation_file *loaded = NULL;
    size_t count = h->wish->count;
    unsigned current = 0;
    int r = files ? 0 : load_current(h, &current, &loaded, &count, reterr);
    if (r < 0)
        return r;
    files = files ? files : loaded;
    deploy_digest(h->wish->store, current, files, count, h->digest);
    r = halt_plan(h->wish->group, files, count, h->arena, h->steps);
    return r < 0 ? too_large(reterr) : 0;
}

/* The engine of a model may be who keeps its record from being written; that must not keep it running. */
static int
keep(const struct halting *h, const char *unit, struct err *reterr)
{
    _cleanup_buf_ struct buf line = BUF_INIT(KIB);
    struct err err = {0};
    int r = h->host->wish(h->host->arg, unit, false, &err);
    if (r == 0 || r == -EACCES || r == -EPERM) {
        if (r < 0 && reterr)
            *reterr = err;
        return r;
    }
    buf_printf(&line, "%s is stopped all the same, and by whom is not written down: %s", unit,
               err.what);
    h->host->tell(h->host->arg, line.data);
    return 0;
}

/* keep_down: what runs, and what is wanted, is a person's wish no more. */
static int
find_running(struct halting *h, const struct halt_step *step, bool keep_down, struct err *reterr)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < step->count; i++) {
        const struct halt_unit *unit = &step->units[i];
        enum deploy_life life;
        r = h->host->look(h->host->arg, unit->name, NULL, &life, reterr);
        bool runs = r == 0 && deploy_runs(life);
        if (runs)
            vec_push(&h->orders, ((struct deploy_order){.act = DEPLOY_STOP, .unit = unit->name}));
        if (r == 0 && keep_down && (runs || unit->wanted))
            r = keep(h, unit->name, reterr);
    }
    return r;
}

/* The wish first: else who watches would start it again. */
static int
stop(struct halting *h, const struct halt_step *step, struct err *reterr)
{
    size_t before = h->orders.count;
    int r = find_running(h, step, true, reterr);
    size_t count = h->orders.count - before;
    struct deploy_order *orders = count ? h->orders.items + before : NULL;
    if (r == 0 && count)
        r = h->host->carry_out(h->host->arg, orders, count, reterr);
    for (size_t i = 0; r < 0 && i < count; i++)
        orders[i].failed = true; /* as far as anybody knows */
    for (size_t i = 0; r == 0 && i < count; i++)
        if (orders[i].failed && h->failed.id == ERR_NONE)
            (void)deploy_explain(&orders[i], &h->failed);
    return r;
}

static int
note(const struct halting *h, int r, const struct err *err)
{
    const struct halt_wish *w = h->wish;
    char text[600];
    if (r == 0)
        (void)snprintf(text, sizeof(text), "%s: %zu units of %s were stopped", w->why,
                       h->orders.count, halt_group_word(w->group));
    else
        (void)snprintf(text, sizeof(text), "%s: %s", w->why, err->what);
    return deploy_audit(w->state_dir, r == 0 ? EVENT_DEPLOY_HALTED : EVENT_DEPLOY_FAILED, w->by,
                        text, NULL);
}

static int
hand_over(struct halting *h, struct deploy_orders *ret, int r, struct err *reterr)
{
    ret->count = h->orders.count;
    ret->items = arena_alloc(h->arena, (ret->count + 1) * sizeof(*ret->items));
    if (ret->items && ret->count)
        memcpy(ret->items, h->orders.items, ret->count * sizeof(*ret->items));
    vec_finish(&h->orders);
    return r == 0 && !ret->items ? too_large(reterr) : r;
}

int
halt_look(const struct halt_wish *wish, const struct deploy_host *host, struct arena *arena,
          struct halt_outlook *ret, struct err *reterr)
{
    struct halting h = {.wish = wish, .host = host, .arena = arena};
    int r = load(&h, reterr);
    for (size_t i = 0; r == 0 && i < HALT_STEPS; i++)
        r = find_running(&h, &h.steps[i], false, reterr);
    memcpy(ret->digest, h.digest, sizeof(ret->digest));
    return hand_over(&h, &ret->running, r, reterr);
}

int
halt(const struct halt_wish *wish, const struct deploy_host *host, struct arena *arena,
     struct deploy_orders *ret_stopped, struct err *reterr)
{
    struct halting h = {.wish = wish, .host = host, .arena = arena};
    struct err err = {0};
    int r = load(&h, &err);
    if (r == 0)
        r = deploy_digest_check(wish->expect, h.digest, &err);
    for (size_t i = 0; r == 0 && i < HALT_STEPS; i++)
        r = stop(&h, &h.steps[i], &err);
    if (r == 0 && h.failed.id != ERR_NONE) {
        err = h.failed;
        r = -err_row(err.id)->err;
    }
    if (h.orders.count && note(&h, r, &err) < 0)
        host->tell(host->arg, "it could not be written down who did this");
    if (r < 0 && reterr)
        *reterr = err;
    return hand_over(&h, ret_stopped, r, reterr);
}
