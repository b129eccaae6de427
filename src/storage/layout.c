/* An area is opened once, by whatever links its configured path has; what is below it is opened from
 * there, part by part, without a link. That an area is a disk of its own is asked of the open
 * directory, so that one which is unmounted in the middle keeps what is written to it. */

#include "storage/layout.h"

#include "base/buf.h"
#include "base/text.h"
#include "base/vec.h"
#include "config/config.h"
#include "sys/account.h"
#include "sys/fault.h"
#include "sys/files.h"
#include "sys/mounts.h"
#include "sys/root.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ARENA_MAX (16 * MIB)
#define LINK_NAME "models"
#define LINK_TARGET "active"

/* ---- what should be ---- */

static const struct row {
    enum { ONE_PLACE, EACH_MODEL, EACH_CACHE } kind;
    struct storage_place place;
} rows[] = {
#define PLACE(area, name, mode, owner, keeping) \
    {ONE_PLACE, {STORAGE_##area, name, mode, STORAGE_##owner, KEEPING_##keeping, false}},
#define EACH(area, name, mode) \
    {EACH_MODEL, {STORAGE_##area, name, mode, STORAGE_SERVICE, KEEPING_HELD, true}},
#define CACHES {EACH_CACHE, {STORAGE_models, "cache", 0755, STORAGE_SERVICE, KEEPING_HELD, false}},
#define KEEPING_HELD true
#define KEEPING_FOUND false
#include "storage/place.def"
};

const char *
storage_area_path(const struct config *config, enum storage_area area)
{
    const struct config_paths *p = &config->paths;
    const char *const paths[STORAGE_AREAS] = {
        [STORAGE_run] = p->run,
        [STORAGE_state] = p->state,
        [STORAGE_generations] = p->generations,
        [STORAGE_root] = p->root,
        [STORAGE_logs] = p->logs,
        [STORAGE_models] = p->models,
        [STORAGE_backup] = p->backup,
    };
    return paths[area];
}

bool
storage_area_is_disk(enum storage_area area)
{
    return area == STORAGE_models || area == STORAGE_backup;
}

/* Names of caches stand in the configuration, where they may be of models, too. */
static bool
is_cache(const struct config *config, const char *name)
{
    return root_takes(name) && !strchr(name, '/') && !text_eq(name, ".") &&
           !config_find_model(config, name);
}

static struct storage_place
place_below(const struct storage_place *dir, const char *name, struct arena *arena)
{
    struct storage_place place = *dir;
    place.name = arena_printf(arena, "%s/%s", dir->name, name);
    return place;
}

static size_t
add_row(const struct config *config, const struct row *row, struct arena *arena,
        struct storage_place *to)
{
    const struct config_list *caches = &config->storage.caches;
    size_t count = 0;
    if (row->kind == ONE_PLACE)
        to[count++] = row->place;
    for (size_t i = 0; row->kind == EACH_CACHE && i < caches->count; i++)
        if (is_cache(config, caches->items[i]))
            to[count++] = place_below(&row->place, caches->items[i], arena);
    for (size_t i = 0; row->kind == EACH_MODEL && i < config->models.count; i++)
        to[count++] = place_below(&row->place, config->models.items[i].name, arena);
    return count;
}

static size_t
most_of(const struct config *config, const struct row *row)
{
    return row->kind == ONE_PLACE    ? 1
           : row->kind == EACH_CACHE ? config->storage.caches.count
                                     : config->models.count;
}

const struct storage_place *
storage_places(const struct config *config, struct arena *arena, size_t *ret_count)
{
    size_t count = 0, most = 0;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        most += most_of(config, &rows[i]);
    struct storage_place *places = arena_alloc(arena, most * sizeof(*places));
    for (size_t i = 0; places && i < ARRAY_SIZE(rows); i++)
        count += add_row(config, &rows[i], arena, places + count);
    *ret_count = count;
    return arena->full ? NULL : places;
}

/* ---- the machine ---- */

struct looking {
    const struct config *config;
    struct storage_report *report;
    VEC(struct storage_finding) findings;
    struct account accounts[STORAGE_OWNERS];
    struct area {
        int fd;
        int error;       /* -errno: why there is none */
        bool is_mounted; /* a disk of its own */
    } areas[STORAGE_AREAS];
};

static int
find_accounts(const struct config *config, struct account accounts[STORAGE_OWNERS],
              struct err *reterr)
{
    const struct config_service *s = &config->service;
    accounts[STORAGE_ROOT] = (struct account){0, 0};
    int r = account_find(s->user, s->group, &accounts[STORAGE_SERVICE], reterr);
    if (r == 0)
        r = account_find(s->gateway_user, NULL, &accounts[STORAGE_GATEWAY], reterr);
    return r;
}

static void
close_areas(struct area areas[STORAGE_AREAS])
{
    for (size_t i = 0; i < STORAGE_AREAS; i++)
        cleanup_close(&areas[i].fd);
}

/* Of the errno of now: a link that leads nowhere is in the way, not missing. */
static int
why_not_open(const char *path)
{
    const int r = -errno;
    struct stat st;
    return r == -ENOENT && lstat(path, &st) == 0 ? -ENOTDIR : r;
}

static int
open_areas(const struct config *config, struct area areas[STORAGE_AREAS], struct err *reterr)
{
    _cleanup_mounts_ struct mounts mounts = {0};
    for (enum storage_area i = 0; i < STORAGE_AREAS; i++) {
        areas[i].fd = open(storage_area_path(config, i), O_PATH | O_DIRECTORY | O_CLOEXEC);
        areas[i].error = areas[i].fd < 0 ? why_not_open(storage_area_path(config, i)) : 0;
    }
    int r = mounts_read(&mounts, reterr); /* after they were opened */
    for (enum storage_area i = 0; r == 0 && i < STORAGE_AREAS; i++)
        areas[i].is_mounted = areas[i].fd >= 0 && mounts_find_open(&mounts, areas[i].fd);
    if (r < 0)
        close_areas(areas);
    return r;
}

/* Whether it may be written to: what is to be a disk of its own and is none is left alone. */
static bool
is_usable(const struct config *config, enum storage_area area, const struct area *opened)
{
    return !storage_area_is_disk(area) || !config->storage.require_mounts || opened->is_mounted;
}

/* Opens the directory that holds the last part of a place, from which on no link is followed. */
static int
open_holder(int area, const char *name, const char **ret_last)
{
    const char *slash = strrchr(name, '/');
    *ret_last = slash ? slash + 1 : name;
    _cleanup_free_ char *parent = slash ? mem_strndup(name, (size_t)(slash - name)) : NULL;
    int fd = openat(area, parent ? parent : ".", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static struct storage_finding *
add(struct looking *l, enum storage_fault fault, enum storage_area area, const char *name)
{
    struct storage_finding *f = vec_add(&l->findings);
    const char *dir = storage_area_path(l->config, area);
    *f = (struct storage_finding){.fault = fault, .area = area};
    f->path = arena_printf(&l->report->arena, "%s%s%s", dir, *name ? "/" : "", name);
    return f;
}

static const char *
print_rights(struct arena *arena, uid_t uid, gid_t gid, mode_t mode)
{
    char user[ACCOUNT_TEXT_MAX], group[ACCOUNT_TEXT_MAX];
    return arena_printf(arena, "%s:%s %04o", account_print_user(uid, user),
                        account_print_group(gid, group), mode & 07777);
}

static const char *
kind_of(mode_t mode)
{
    if (S_ISLNK(mode))
        return "a symbolic link";
    if (S_ISDIR(mode))
        return "a directory";
    return S_ISREG(mode) ? "a file" : "a device, pipe or socket";
}

/* What is where a directory should be that cannot be opened as one. */
static const char *
found_instead(const char *path, int error)
{
    struct stat st;
    if (lstat(path, &st) < 0)
        return error == -ENOTDIR ? "below what is no directory" : strerror(-error);
    return S_ISLNK(st.st_mode) && stat(path, &(struct stat){0}) < 0
               ? "a symbolic link that leads nowhere"
               : kind_of(st.st_mode);
}

/* ---- looking ---- */

static int
stat_place(int area, const struct storage_place *p, struct stat *ret)
{
    const char *last;
    if (!*p->name)
        return fstat(area, ret) < 0 ? -errno : 0;
    _cleanup_close_ int holder = open_holder(area, p->name, &last);
    if (holder < 0)
        return holder;
    if (fstatat(holder, last, ret, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    /* What is an operator's may lie elsewhere. */
    struct stat there;
    if (S_ISLNK(ret->st_mode) && !p->held && fstatat(holder, last, &there, 0) == 0)
        *ret = there;
    return 0;
}

static void
look_at_place(struct looking *l, const struct storage_place *p)
{
    struct arena *arena = &l->report->arena;
    const struct area *area = &l->areas[p->area];
    const struct account *owner = &l->accounts[p->owner];
    struct storage_finding *f = NULL;
    struct stat st = {0};
    int r = area->fd < 0 ? area->error : stat_place(area->fd, p, &st);
    if (r == 0 && S_ISDIR(st.st_mode)) {
        bool right =
            st.st_uid == owner->uid && st.st_gid == owner->gid && (st.st_mode & 07777) == p->mode;
        if (right || !p->held)
            return;
        f = add(l, STORAGE_RIGHTS, p->area, p->name);
        f->found = print_rights(arena, st.st_uid, st.st_gid, st.st_mode);
    } else if (r == -ENOENT) {
        f = add(l, STORAGE_MISSING, p->area, p->name);
    } else {
        f = add(l, STORAGE_IN_THE_WAY, p->area, p->name);
        f->found = arena_strdup(arena, found_instead(f->path, r));
    }
    f->place = p;
    f->is_degraded = p->area == STORAGE_backup;
    f->wanted = print_rights(arena, owner->uid, owner->gid, p->mode);
}

static void
look_at_mount(struct looking *l, enum storage_area area)
{
    const struct area *a = &l->areas[area];
    l->report->looked++;
    if (is_usable(l->config, area, a))
        return;
    struct storage_finding *f = add(l, STORAGE_NOT_MOUNTED, area, "");
    f->found = a->fd >= 0 ? "a directory of the disk around it" : NULL;
    f->wanted = "a mount point";
    f->is_degraded = area == STORAGE_backup;
}

/* The path without links; of what is not there yet, as far as it is. */
static char *
real_path(const char *path)
{
    _cleanup_free_ char *above = mem_strdup(path), *real = NULL;
    while (*above && !(real = realpath(above, NULL)))
        *strrchr(above, '/') = '\0';
    return mem_printf("%s%s", real ? real : "", path + strlen(above));
}

/* From where the link lies: so it leads to the same place when an image is looked at through --root, and
 * when that image runs. */
static const char *
link_target(const struct config *config, struct arena *arena)
{
    _cleanup_free_ char *from = real_path(config->paths.root);
    _cleanup_buf_ struct buf up = BUF_INIT(3 * PATH_MAX);
    for (const char *at = root_strip(from); (at = strchr(at, '/')) && at[1]; at++)
        buf_add_str(&up, "../");
    return arena_printf(arena, "%s%s/" LINK_TARGET, up.data, root_strip(config->paths.models) + 1);
}

/* One that begins at the root of the machine leads there as well, where that is ours. */
static bool
leads_home(const struct config *config, const char *found, const char *wanted, struct arena *arena)
{
    return text_eq(found, wanted) ||
           (!root_is_set() &&
            text_eq(found, arena_printf(arena, "%s/" LINK_TARGET, config->paths.models)));
}

static void
look_at_link(struct looking *l)
{
    struct arena *arena = &l->report->arena;
    const struct area *area = &l->areas[STORAGE_root];
    const char *wanted = link_target(l->config, arena);
    char found[PATH_MAX] = "";
    struct stat st;
    l->report->looked++;
    ssize_t n = area->fd < 0 ? -1 : readlinkat(area->fd, LINK_NAME, found, sizeof(found) - 1);
    if (n >= 0 && leads_home(l->config, found, wanted, arena))
        return;
    bool other =
        n < 0 && area->fd >= 0 && fstatat(area->fd, LINK_NAME, &st, AT_SYMLINK_NOFOLLOW) == 0;
    struct storage_finding *f =
        add(l, other ? STORAGE_IN_THE_WAY : STORAGE_LINK, STORAGE_root, LINK_NAME);
    if (n >= 0)
        f->found = arena_strndup(arena, found, (size_t)n);
    else if (other)
        f->found = kind_of(st.st_mode);
    f->wanted = wanted;
}

static void
look_at_all(struct looking *l, const struct storage_place *places, size_t count)
{
    look_at_mount(l, STORAGE_models);
    look_at_mount(l, STORAGE_backup);
    for (size_t i = 0; i < count; i++) {
        const struct area *area = &l->areas[places[i].area];
        bool is_told = area->fd < 0 && area->error != -ENOENT && *places[i].name;
        if (is_told || !is_usable(l->config, places[i].area, area))
            continue;
        l->report->looked++;
        look_at_place(l, &places[i]);
    }
    look_at_link(l);
}

static int
take_findings(struct looking *l, struct err *reterr)
{
    struct storage_report *report = l->report;
    size_t bytes = l->findings.count * sizeof(*report->items);
    report->items = arena_alloc(&report->arena, bytes + 1);
    if (report->arena.full)
        return err_set(reterr, ERR_TOO_LARGE, "%zu models and caches are too many to look at",
                       l->config->models.count + l->config->storage.caches.count);
    if (bytes)
        memcpy(report->items, l->findings.items, bytes);
    report->count = l->findings.count;
    return 0;
}

int
storage_look(const struct config *config, struct storage_report *ret_report, struct err *reterr)
{
    struct storage_report report = {0};
    struct looking l = {.config = config, .report = &report};
    size_t count = 0;
    arena_init(&report.arena, ARENA_MAX);
    int r = find_accounts(config, l.accounts, reterr);
    if (r == 0)
        r = open_areas(config, l.areas, reterr);
    if (r == 0) {
        const struct storage_place *places = storage_places(config, &report.arena, &count);
        if (places)
            look_at_all(&l, places, count);
        r = take_findings(&l, reterr);
        close_areas(l.areas);
    }
    vec_finish(&l.findings);
    if (r < 0) {
        arena_finish(&report.arena);
        return r;
    }
    *ret_report = report;
    return 0;
}

void
storage_report_finish(struct storage_report *report)
{
    arena_finish(&report->arena);
    report->count = 0;
}

/* ---- telling ---- */

const char *
storage_fault_word(enum storage_fault fault)
{
    static const char *const words[] = {
        [STORAGE_MISSING] = "missing",
        [STORAGE_RIGHTS] = "rights",
        [STORAGE_LINK] = "link",
        [STORAGE_IN_THE_WAY] = "in-the-way",
        [STORAGE_NOT_MOUNTED] = "not-mounted",
    };
    return words[fault];
}

bool
storage_is_mendable(const struct storage_finding *finding)
{
    return finding->fault == STORAGE_MISSING || finding->fault == STORAGE_RIGHTS ||
           finding->fault == STORAGE_LINK;
}

void
storage_print_step(const struct storage_finding *finding, bool done, struct buf *out)
{
    if (finding->fault == STORAGE_LINK)
        buf_printf(out, "%s %s to %s", done ? "linked" : "link", finding->path, finding->wanted);
    else if (finding->fault == STORAGE_MISSING)
        buf_printf(out, "%s %s (%s)", done ? "made" : "make", finding->path, finding->wanted);
    else
        buf_printf(out, "set %s to %s", finding->path, finding->wanted);
    if (finding->found)
        buf_printf(out, ", from %s", finding->found);
}

static int
tell_not_mounted(const struct storage_finding *f, struct err *reterr)
{
    int r = err_set(reterr, ERR_STORAGE_NOT_MOUNTED, "nothing is mounted at %s: %s", f->path,
                    f->found ? "it is a directory of the disk around it, which would fill up"
                             : "it is not even there");
    err_fix(reterr, "mount %s; or set storage.require_mounts to false", f->path);
    return r;
}

int
storage_tell(const struct storage_finding *finding, struct err *reterr)
{
    int r;
    switch (finding->fault) {
    case STORAGE_NOT_MOUNTED:
        return tell_not_mounted(finding, reterr);
    case STORAGE_IN_THE_WAY:
        r = err_set(reterr, ERR_STORAGE_IN_THE_WAY, "%s should be %s, and is: %s", finding->path,
                    finding->place ? "a directory" : "the link to the active models",
                    finding->found);
        err_fix(reterr, "look at it, move it away, then `citadel storage setup`");
        return r;
    case STORAGE_MISSING:
        r = err_set(reterr, ERR_STORAGE_WRONG, "%s is missing", finding->path);
        break;
    case STORAGE_LINK:
        r = err_set(reterr, ERR_STORAGE_WRONG, "the link %s %s%s, not to %s", finding->path,
                    finding->found ? "leads to " : "is missing: it leads nowhere",
                    finding->found ? finding->found : "", finding->wanted);
        break;
    case STORAGE_RIGHTS:
    default:
        r = err_set(reterr, ERR_STORAGE_WRONG, "%s is %s, not %s", finding->path, finding->found,
                    finding->wanted);
    }
    err_fix(reterr, "citadel storage setup");
    return r;
}

/* ---- mending ---- */

static int
set_rights(int fd, const struct account *owner, mode_t mode)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    bool differs = st.st_uid != owner->uid || st.st_gid != owner->gid;
    if (differs && fchown(fd, owner->uid, owner->gid) < 0)
        return -errno;
    return fchmod(fd, mode) < 0 ? -errno : 0;
}

/* Opened to be changed, as what it was found as; one that was missing is made, closed to all until it
 * has its owner. */
static int
open_to_mend(int area, const struct storage_finding *f)
{
    const int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
    const char *last;
    if (!*f->place->name) {
        int fd = openat(area, ".", flags);
        return fd < 0 ? -errno : fd;
    }
    _cleanup_close_ int holder = open_holder(area, f->place->name, &last);
    int r = holder < 0 ? holder : root_holds(holder);
    if (r == 0 && f->fault == STORAGE_MISSING)
        r = fault_mkdir(holder, last, 0700);
    if (r < 0 && r != -EEXIST)
        return r;
    int fd = openat(holder, last, flags | O_NOFOLLOW);
    return fd < 0 ? -errno : fd;
}

static int
mend_place(int area, const struct storage_finding *f, const struct account *owner)
{
    _cleanup_close_ int fd = open_to_mend(area, f);
    int r = fd < 0 ? fd : root_holds(fd);
    if (r == 0)
        r = set_rights(fd, owner, f->place->mode);
    return r == 0 ? fault_sync(fd) : r;
}

/* The directories above it are for everybody to pass through, whatever a unit's UMask= is. */
static int
make_top(const char *path, struct err *reterr)
{
    mode_t before = umask(0022);
    int r = file_make_dirs(path, 0755, reterr);
    (void)umask(before);
    return r;
}

static int
mend_directory(const struct config *config, const struct storage_finding *f, struct err *reterr)
{
    struct account accounts[STORAGE_OWNERS];
    struct area areas[STORAGE_AREAS];
    int r = find_accounts(config, accounts, reterr);
    if (r == 0 && !*f->place->name && f->fault == STORAGE_MISSING)
        r = make_top(f->path, reterr);
    if (r == 0)
        r = open_areas(config, areas, reterr);
    if (r < 0)
        return r;
    const struct area *area = &areas[f->area];
    if (area->fd < 0)
        r = area->error;
    else if (!is_usable(config, f->area, area))
        r = -ENODEV; /* it was unmounted since it was looked at */
    else
        r = mend_place(area->fd, f, &accounts[f->place->owner]);
    close_areas(areas);
    return r < 0 ? root_err(reterr, r, "cannot set up '%s'", f->path) : 0;
}

int
storage_mend(const struct config *config, const struct storage_finding *finding, struct err *reterr)
{
    if (!storage_is_mendable(finding))
        return storage_tell(finding, reterr);
    int r = finding->fault == STORAGE_LINK ? file_link(finding->path, finding->wanted, reterr)
                                           : mend_directory(config, finding, reterr);
    if (r == -EROFS)
        err_fix(reterr, "make %s by hand: it is not for a sandbox to write beside it",
                storage_area_path(config, finding->area));
    else if (r == -EPERM || r == -EACCES)
        err_fix(reterr, "run it as root");
    else if (r == -ENOENT || r == -ENOTDIR || r == -EEXIST)
        err_fix(reterr, "see what leads there: namei -l %s", finding->path);
    return r;
}

/* ---- taking back ---- */

struct removing {
    const struct config *config;
    struct area areas[STORAGE_AREAS];
    const struct storage_place *places;
    size_t count;
    bool *gone; /* of each place: it was removed, or would be */
    bool dry;
    void (*removed)(const char *path, void *arg);
    void *arg;
};

static bool
is_gone(const struct removing *rm, enum storage_area area, const char *dir, const char *name)
{
    size_t len = strlen(dir);
    for (size_t i = 0; i < rm->count; i++) {
        const struct storage_place *p = &rm->places[i];
        if (rm->gone[i] && p->area == area && strncmp(p->name, dir, len) == 0 &&
            p->name[len] == '/' && text_eq(p->name + len + 1, name))
            return true;
    }
    return false;
}

/* But for what goes before it. */
static bool
is_empty(const struct removing *rm, enum storage_area area, const char *name)
{
    DIR *d = file_open_dir(rm->areas[area].fd, name, O_NOFOLLOW);
    bool empty = d != NULL;
    for (struct dirent *e; empty && (e = readdir(d));)
        empty = text_eq(e->d_name, ".") || text_eq(e->d_name, "..") ||
                is_gone(rm, area, name, e->d_name);
    if (d)
        (void)closedir(d);
    return empty;
}

/* -ENOTEMPTY: it is in use. */
static int
remove_place(const struct removing *rm, const struct storage_place *p)
{
    const char *last;
    if (rm->dry)
        return is_empty(rm, p->area, p->name) ? 0 : -ENOTEMPTY;
    _cleanup_close_ int holder = open_holder(rm->areas[p->area].fd, p->name, &last);
    int r = holder < 0 ? holder : root_holds(holder);
    return r == 0 ? fault_unlink(holder, last, true) : r;
}

static int
take_back(const struct removing *rm, size_t i, struct err *reterr)
{
    char path[PATH_MAX];
    const struct storage_place *p = &rm->places[i];
    const struct area *area = &rm->areas[p->area];
    if (area->fd < 0 || !*p->name || !is_usable(rm->config, p->area, area))
        return 0;
    int r = remove_place(rm, p);
    if (r == -ENOTEMPTY || r == -EEXIST || r == -ENOENT || r == -ENOTDIR || r == -EBUSY)
        return 0; /* in use, or none of ours */
    (void)snprintf(path, sizeof(path), "%s/%s", storage_area_path(rm->config, p->area), p->name);
    if (r < 0)
        return root_err(reterr, r, "cannot remove '%s'", path);
    rm->gone[i] = true;
    rm->removed(path, rm->arg);
    return 0;
}

/* It leads to the models for as long as there are some. */
static int
take_back_link(const struct removing *rm, struct err *reterr)
{
    _cleanup_arena_ struct arena arena;
    char found[PATH_MAX] = "", path[PATH_MAX];
    const struct area *root = &rm->areas[STORAGE_root], *models = &rm->areas[STORAGE_models];
    struct stat st;
    arena_init(&arena, MIB);
    const char *wanted = link_target(rm->config, &arena);
    bool served = models->fd < 0 || (fstatat(models->fd, LINK_TARGET, &st, 0) == 0 &&
                                     !is_empty(rm, STORAGE_models, LINK_TARGET));
    if (served || root->fd < 0 || readlinkat(root->fd, LINK_NAME, found, sizeof(found) - 1) < 0 ||
        !leads_home(rm->config, found, wanted, &arena))
        return 0;
    (void)snprintf(path, sizeof(path), "%s/" LINK_NAME, rm->config->paths.root);
    int r = rm->dry ? 0 : root_holds(root->fd);
    if (r == 0 && !rm->dry)
        r = fault_unlink(root->fd, LINK_NAME, false);
    if (r < 0)
        return root_err(reterr, r, "cannot remove '%s'", path);
    rm->removed(path, rm->arg);
    return 0;
}

int
storage_remove(const struct config *config, bool dry, void (*removed)(const char *path, void *arg),
               void *arg, struct err *reterr)
{
    _cleanup_arena_ struct arena arena;
    struct removing rm = {.config = config, .dry = dry, .removed = removed, .arg = arg};
    arena_init(&arena, ARENA_MAX);
    rm.places = storage_places(config, &arena, &rm.count);
    rm.gone = arena_alloc(&arena, rm.count + 1);
    if (arena.full)
        return err_set(reterr, ERR_TOO_LARGE, "%zu models are too many", config->models.count);
    int r = open_areas(config, rm.areas, reterr);
    if (r < 0)
        return r;
    r = take_back_link(&rm, reterr);
    for (size_t i = rm.count; r == 0 && i > 0; i--)
        r = take_back(&rm, i - 1, reterr);
    close_areas(rm.areas);
    return r;
}

/* ---- a question of others ---- */

int
storage_check_mount(const struct config *config, enum storage_area area, struct err *reterr)
{
    _cleanup_mounts_ struct mounts mounts = {0};
    const char *path = storage_area_path(config, area);
    if (!config->storage.require_mounts || !storage_area_is_disk(area))
        return 0;
    _cleanup_close_ int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int r = mounts_read(&mounts, reterr);
    if (r < 0 || (fd >= 0 && mounts_find_open(&mounts, fd)))
        return r;
    const struct storage_finding f = {.path = path, .found = fd < 0 ? NULL : ""};
    return tell_not_mounted(&f, reterr);
}
