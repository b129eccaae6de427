#include "deploy/drift.h"

#include "base/text.h"
#include "base/vec.h"
#include "deploy/compare.h"
#include "deploy/generation.h"
#include "service/systemd.h"
#include "sys/files.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define UNIT_FILE_MAX (64 * KIB)
#define APPLY "sudo citadel apply"
#define SCRATCH_MAX (16 * MIB)

/* systemd reads these before what a generator has made, and the drop-ins of all. */
static const char *const before_us[] = {
    "/etc/systemd/system.control", "/run/systemd/system.control", "/run/systemd/transient",
    "/etc/systemd/system",         "/run/systemd/system",
};
static const char *const behind_us[] = {"/usr/local/lib/systemd/system", "/usr/lib/systemd/system"};

const struct deploy_host_link deploy_host_links[DEPLOY_HOST_LINKS] = {
    {"/etc/sysusers.d/citadel.conf", "citadel.sysusers"},
    {"/etc/tmpfiles.d/citadel.conf", "citadel.tmpfiles"},
    {"/etc/polkit-1/rules.d/60-citadel.rules", "citadel.rules"},
};

struct finding {
    struct arena *arena;
    VEC(struct deploy_drift) found;
};

static void add(struct finding *f, bool mended, const char *fix, const char *fmt, ...)
    printf_like(4, 5);

static void
add(struct finding *f, bool mended, const char *fix, const char *fmt, ...)
{
    char what[2 * PATH_MAX];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(what, sizeof(what), fmt, args);
    va_end(args);
    text_disarm(what);
    if (f->found.count < DRIFT_MAX)
        vec_push(&f->found, ((struct deploy_drift){arena_strdup(f->arena, what),
                                                   arena_strdup(f->arena, fix), mended}));
}

/* ---- files of the generation ---- */

static int
find_damage(struct finding *f, const char *store, unsigned number, struct err *reterr)
{
    static const char *const words[] = {[GENERATION_CHANGED] = "was changed by hand",
                                        [GENERATION_MISSING] = "is gone",
                                        [GENERATION_ADDED] = "was added by hand"};
    struct generation_damage *items;
    size_t count;
    int r = generation_check(store, number, f->arena, &items, &count, reterr);
    for (size_t i = 0; r == 0 && i < count; i++)
        add(f, false, APPLY, "%s of generation %u %s", items[i].name, number,
            words[items[i].change]);
    return r;
}

/* ---- links ---- */

bool
deploy_host_link_is_right(const struct deploy_host_link *link, const char *store)
{
    _cleanup_free_ char *target = mem_printf("%s/current/units/%s", store, link->file);
    char now[PATH_MAX];
    ssize_t len = readlink(link->at, now, sizeof(now) - 1);
    if (len < 0)
        return errno == EACCES; /* who may not look there cannot say that it is wrong */
    now[len] = '\0';
    return text_eq(now, target);
}

static void
find_links(struct finding *f, const char *store)
{
    for (size_t i = 0; i < DEPLOY_HOST_LINKS; i++)
        if (!deploy_host_link_is_right(&deploy_host_links[i], store))
            add(f, true, APPLY, "%s does not lead to what is deployed", deploy_host_links[i].at);
}

/* ---- units ---- */

static bool
is_there(const char *dir, const char *unit, const char *suffix)
{
    _cleanup_free_ char *path = mem_printf("%s/%s%s", dir, unit, suffix);
    return access(path, F_OK) == 0;
}

static void
find_drop_in(struct finding *f, const char *dir, const char *unit)
{
    char fix[512];
    (void)snprintf(fix, sizeof(fix),
                   "put it into the configuration, then: sudo systemctl revert %s", unit);
    if (is_there(dir, unit, ".d"))
        add(f, false, fix, "%s/%s.d changes a unit of ours", dir, unit);
}

static void
find_beside(struct finding *f, const char *unit)
{
    char fix[512];
    (void)snprintf(fix, sizeof(fix), "sudo systemctl revert %s", unit);
    for (size_t i = 0; i < ARRAY_SIZE(before_us); i++) {
        find_drop_in(f, before_us[i], unit);
        if (is_there(before_us[i], unit, ""))
            add(f, false, fix, "%s/%s stands before ours", before_us[i], unit);
    }
    for (size_t i = 0; i < ARRAY_SIZE(behind_us); i++)
        find_drop_in(f, behind_us[i], unit);
}

static bool
is_read(const struct generation_file *file, const char *unit)
{
    _cleanup_buf_ struct buf text = BUF_INIT(UNIT_FILE_MAX);
    _cleanup_free_ char *path = mem_printf(SYSTEMD_GENERATED "/%s", unit);
    return file_read(path, &text, NULL) == 0 && text.len == file->len &&
           (text.len == 0 || memcmp(text.data, file->bytes, text.len) == 0);
}

static int
find_units(struct finding *f, const char *store, unsigned number, struct err *reterr)
{
    _cleanup_arena_ struct arena scratch;
    struct generation_file *files;
    size_t count;
    bool all_read = true;
    arena_init(&scratch, SCRATCH_MAX);
    int r =
        generation_load(store, number, GENERATION_WHAT_IS_WHOLE, &scratch, &files, &count, reterr);
    for (size_t i = 0; r == 0 && i < count; i++) {
        const char *unit = deploy_unit_of(files[i].name);
        if (!unit)
            continue;
        find_beside(f, unit);
        all_read = all_read && is_read(&files[i], unit);
    }
    if (r == 0 && !all_read)
        add(f, true, APPLY, "systemd has not read the units of %s/generations/%u", store, number);
    return r;
}

int
deploy_find_drift(const char *store, bool by_systemd, struct arena *arena,
                  struct deploy_drift **ret_items, size_t *ret_count, struct err *reterr)
{
    struct finding f = {.arena = arena};
    unsigned number;
    *ret_items = NULL;
    *ret_count = 0;
    int r = generation_of(store, GENERATION_CURRENT, &number, reterr);
    if (r == 0 && number)
        r = find_damage(&f, store, number, reterr);
    if (r == 0 && number && by_systemd)
        find_links(&f, store);
    if (r == 0 && number && by_systemd)
        r = find_units(&f, store, number, reterr);
    if (r == 0 && f.found.count) {
        *ret_items = arena_alloc(arena, f.found.count * sizeof(**ret_items));
        *ret_count = f.found.count;
        if (*ret_items)
            memcpy(*ret_items, f.found.items, f.found.count * sizeof(**ret_items));
    }
    vec_finish(&f.found);
    return r < 0         ? r
           : arena->full ? err_set(reterr, ERR_TOO_LARGE, "too much is not as it was deployed")
                         : 0;
}
