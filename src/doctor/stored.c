/* What is on the disks: storage, models, secrets. */

#include "doctor/doctor_int.h"

#include "base/text.h"
#include "model/model.h"
#include "plan/need.h"
#include "secrets/use.h"
#include "storage/prereq.h"

/* ---- storage ---- */

void
doctor_check_storage(struct doctor *d)
{
    struct storage_checks checks;
    struct err err = {0};
    if (storage_prereq(d->config, &checks, &err) < 0) {
        doctor_add_err(d, "", &err);
        return;
    }
    for (size_t i = 0; i < checks.count; i++) {
        const struct storage_check *c = &checks.items[i];
        doctor_add_as(d, c->required, c->name, c->ok ? DOCTOR_HOLDS : DOCTOR_FAILS, c->fix,
                      c->found);
    }
}

/* ---- models ---- */

/* Whether it can be served. */
static bool
check_model(struct doctor *d, const struct model *m, const char *name)
{
    const char *remedy = doctor_text(d, "citadel models validate %s", name);
    if (model_is_whole(m)) {
        doctor_add(d, name, DOCTOR_HOLDS, "", "whole, in %s", m->dir);
        return true;
    }
    for (size_t i = 0; i < m->problems_count; i++)
        if (model_problem_rows[m->problems[i].id].breaks) {
            doctor_add(d, name, DOCTOR_FAILS, remedy, "%s", m->problems[i].what);
            break;
        }
    return false;
}

void
doctor_check_models(struct doctor *d)
{
    _cleanup_model_catalogue_ struct model_catalogue catalogue;
    size_t wanted = 0, whole = 0;
    model_catalogue_init(&catalogue);
    for (size_t i = 0; i < d->config->models.count; i++) {
        const struct config_model *m = &d->config->models.items[i];
        struct err err = {0};
        if (!m->enabled)
            continue;
        wanted++;
        if (!plan_reads_files(m)) {
            whole++;
            doctor_add(d, m->name, DOCTOR_HOLDS, "", "it has no files of its own");
        } else if (model_catalogue_add(&catalogue, m->name, m->path, &err) < 0) {
            doctor_add_err(d, m->name, &err);
        } else {
            whole += check_model(d, model_catalogue_find(&catalogue, m->name), m->name);
        }
    }
    doctor_add_as(d, true, "", whole || !wanted ? DOCTOR_HOLDS : DOCTOR_FAILS,
                  whole || !wanted ? "" : "citadel models validate",
                  doctor_text(d, "%zu of %zu can be served", whole, wanted));
}

/* ---- secrets ---- */

static void
check_secret(struct doctor *d, const struct secret_use *use)
{
    const struct config_secret *secret = use->secret;
    _cleanup_secret_ struct secret value = {0};
    struct err err = {0};
    if (secret->kind == CONFIG_SECRET_ENV) {
        doctor_add(d, use->option, DOCTOR_UNKNOWN, "citadel secrets set NAME",
                   "in $%s of whoever starts the services, which systemd does not have",
                   secret->where);
        return;
    }
    int r = secret_fetch(use, &value, &err);
    if (r == 0)
        doctor_add(d, use->option, DOCTOR_HOLDS, "", "there");
    else if (err.id == ERR_NOT_PERMITTED)
        doctor_add(d, use->option, DOCTOR_UNKNOWN, "sudo citadel doctor", "%s", err.what);
    else /* without its file a unit does not start */
        doctor_add_as(d, secret->kind == CONFIG_SECRET_FILE && use->readers, use->option,
                      DOCTOR_FAILS, err.fix, err.what);
}

static void
check_store(struct doctor *d, struct arena *arena)
{
    struct secret_store store;
    if (secret_store_open(arena, &store, NULL) < 0)
        return;
    for (enum secret_form form = 0; form < SECRET_FORMS; form++)
        if (secret_store_is_open(&store, form))
            doctor_add_as(d, true, store.dirs[form], DOCTOR_FAILS,
                          doctor_text(d, SECRET_CLOSE_DIR, store.dirs[form]),
                          "others than root can get into it");
}

#define USES_BYTES MIB

void
doctor_check_secrets(struct doctor *d)
{
    _cleanup_arena_ struct arena arena;
    struct secret_use *uses = NULL;
    size_t count = 0;
    arena_init(&arena, USES_BYTES);
    check_store(d, &arena);
    if (secret_uses(d->config, &arena, &uses, &count) < 0)
        doctor_add(d, "", DOCTOR_UNKNOWN, "", "there are too many");
    for (size_t i = 0; i < count; i++)
        check_secret(d, &uses[i]);
    if (count == 0)
        doctor_add(d, "", DOCTOR_NOT_NEEDED, "", "no option asks for one");
}
