/* What is on the disks: places, space, models, secrets. */

#include "doctor/doctor_int.h"

#include "base/quantity.h"
#include "base/text.h"
#include "model/model.h"
#include "plan/need.h"
#include "secrets/use.h"
#include "storage/layout.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

/* ---- storage ---- */

void
doctor_check_places(struct doctor *d)
{
    _cleanup_storage_report_ struct storage_report report = {0};
    struct err err = {0};
    if (storage_look(d->config, &report, &err) < 0) {
        doctor_add_err(d, "", &err);
        return;
    }
    for (size_t i = 0; i < report.count; i++) {
        const struct storage_finding *f = &report.items[i];
        (void)storage_tell(f, &err);
        doctor_add_as(d, !f->is_degraded, f->path, DOCTOR_FAILS, err.fix, err.what);
    }
    if (report.count == 0)
        doctor_add(d, "", DOCTOR_HOLDS, "", "all %zu directories, mounts and links", report.looked);
}

void
doctor_check_writable(struct doctor *d)
{
    size_t looked = 0, wrong = 0;
    for (int area = 0; area < STORAGE_AREAS; area++) {
        const char *path = storage_area_path(d->config, (enum storage_area)area);
        struct statvfs fs;
        if (statvfs(path, &fs) < 0)
            continue; /* it is missing, which `places` tells */
        looked++;
        if (!(fs.f_flag & ST_RDONLY))
            continue;
        wrong++;
        doctor_add_as(d, area != STORAGE_backup, path, DOCTOR_FAILS,
                      doctor_text(d, "dmesg; then mount -o remount,rw %s", path),
                      "its file system is read-only");
    }
    if (wrong == 0)
        doctor_add(d, "", DOCTOR_HOLDS, "", "%zu file systems or parts of them", looked);
}

void
doctor_check_space(struct doctor *d)
{
    const char *path = d->config->paths.models;
    uint64_t wanted = d->config->storage.minimum_free_bytes;
    struct statvfs fs;
    quantity_text has, wants;
    if (statvfs(path, &fs) < 0) {
        doctor_add(d, path, DOCTOR_UNKNOWN, "citadel storage setup", "%s", strerror(errno));
        return;
    }
    uint64_t left = (uint64_t)fs.f_bavail * fs.f_frsize;
    bool enough = left >= wanted;
    doctor_add(d, path, enough ? DOCTOR_HOLDS : DOCTOR_FAILS,
               enough ? "" : "citadel storage clean, or lower storage.minimum_free",
               "%s are free, of %s that are asked for", quantity_show_bytes(left, has),
               quantity_show_bytes(wanted, wants));
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

#define USES_BYTES MIB

void
doctor_check_secrets(struct doctor *d)
{
    _cleanup_arena_ struct arena arena;
    struct secret_use *uses = NULL;
    size_t count = 0;
    arena_init(&arena, USES_BYTES);
    if (secret_uses(d->config, &arena, &uses, &count) < 0)
        doctor_add(d, "", DOCTOR_UNKNOWN, "", "there are too many");
    for (size_t i = 0; i < count; i++)
        check_secret(d, &uses[i]);
    if (count == 0)
        doctor_add(d, "", DOCTOR_NOT_NEEDED, "", "no option asks for one");
}
