#include "storage/clean.h"

#include "base/text.h"
#include "base/vec.h"
#include "config/config.h"
#include "storage/holders.h"
#include "storage/walk.h"
#include "sys/fault.h"
#include "sys/root.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define ARENA_MAX (128 * MIB) /* of names: 200,000, and few are longer than 600 bytes */
#define OPEN_MAX_FILES 4000000

#define DAY_US (UINT64_C(86400) * 1000000)

const char *
clean_kind_word(enum clean_kind kind)
{
    static const char *const words[CLEAN_KINDS] = {
        [CLEAN_LOG] = "log",
        [CLEAN_CACHE] = "cache",
        [CLEAN_TEMPORARY] = "temporary",
        [CLEAN_STAGING] = "staging",
    };
    return words[kind];
}

struct clean_ages
clean_ages_of(const struct config *config)
{
    const struct config_storage *s = &config->storage;
    return (struct clean_ages){{
        [CLEAN_LOG] = s->log_files * DAY_US, /* one a day */
        [CLEAN_CACHE] = s->cache_keep_us,
        [CLEAN_TEMPORARY] = s->temporary_keep_us,
        [CLEAN_STAGING] = s->temporary_keep_us,
    }};
}

/* ---- finding ---- */

struct finding {
    struct walk walk;
    struct clean_list *list;
    enum clean_kind kind;
    uint64_t now_us, age_us;
};

static uint64_t
to_us(struct timespec t)
{
    return t.tv_sec < 0 ? 0 : (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* When it was last of use to somebody. What was moved here has been here for less than it is old. */
static uint64_t
used_us(enum clean_kind kind, const struct stat *st)
{
    uint64_t modified = to_us(st->st_mtim);
    if (kind == CLEAN_LOG)
        return modified;
    return MAX(modified, to_us(kind == CLEAN_CACHE ? st->st_atim : st->st_ctim));
}

/* A log that is written to is none of those: NAME.log; rotated ones have something behind it. */
static bool
is_rotated(const char *path)
{
    static const char *const packed[] = {".gz", ".zst", ".xz", ".old"};
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    const char *log = strstr(name, ".log");
    for (size_t i = 0; i < ARRAY_SIZE(packed); i++)
        if (text_ends(name, packed[i]))
            return true;
    return log && (log[4] == '.' || log[4] == '-');
}

static bool
on_file(struct walk *walk, const char *path, const struct stat *st)
{
    struct finding *f = container_of(walk, struct finding, walk);
    struct clean_list *list = f->list;
    uint64_t used = used_us(f->kind, st);
    bool old = used < f->now_us && f->now_us - used >= f->age_us;
    if (!old || !S_ISREG(st->st_mode) || (f->kind == CLEAN_LOG && !is_rotated(path)))
        return true;
    const char *name = list->count < CLEAN_ITEMS_MAX ? arena_strdup(&list->arena, path) : NULL;
    if (!name) {
        list->more = true;
        return false;
    }
    list->items = vec_grow_(list->items, list->count, &list->room, sizeof(*list->items));
    list->items[list->count++] = (struct clean_item){
        .kind = f->kind,
        .name = name,
        .bytes = (uint64_t)st->st_blocks * 512,
        .age_us = f->now_us - used,
        .device = st->st_dev,
        .inode = st->st_ino,
        .modified_ns = st->st_mtim.tv_sec * INT64_C(1000000000) + st->st_mtim.tv_nsec,
    };
    return true;
}

/* What only says when it was written says nothing of a cache. */
static bool
is_blind(int dir)
{
    struct statvfs disk;
    return fstatvfs(dir, &disk) == 0 && disk.f_flag & ST_NOATIME;
}

static int
find_kind(struct finding *f, enum clean_kind kind, uint64_t age_us)
{
    int dir = f->list->tops[kind];
    if (dir < 0 || age_us == 0 || f->list->more)
        return 0;
    if (kind == CLEAN_CACHE && is_blind(dir)) {
        f->list->is_blind = true;
        return 0;
    }
    f->kind = kind;
    f->age_us = age_us;
    f->walk = (struct walk){.file = on_file};
    return walk_run(&f->walk, dir);
}

static void
open_tops(const struct config *config, struct clean_list *list)
{
    const struct config_paths *p = &config->paths;
    const char *const paths[CLEAN_KINDS] = {
        [CLEAN_LOG] = p->logs,
        [CLEAN_CACHE] = arena_printf(&list->arena, "%s/cache", p->models),
        [CLEAN_TEMPORARY] = arena_printf(&list->arena, "%s/temp", p->backup),
        [CLEAN_STAGING] = arena_printf(&list->arena, "%s/staging", p->models),
    };
    for (size_t i = 0; i < CLEAN_KINDS; i++) {
        list->paths[i] = paths[i];
        list->tops[i] = paths[i] ? open(paths[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    }
}

int
clean_find(const struct config *config, const struct clean_ages *ages, uint64_t now_us,
           struct clean_list *ret_list, struct err *reterr)
{
    struct finding f = {.list = ret_list, .now_us = now_us};
    *ret_list = (struct clean_list){0};
    arena_init(&ret_list->arena, ARENA_MAX);
    open_tops(config, ret_list);
    for (enum clean_kind kind = 0; kind < CLEAN_KINDS; kind++) {
        int r = find_kind(&f, kind, ages->of_us[kind]);
        if (r < 0) {
            r = err_set_errno(reterr, -r, "cannot look into '%s'", ret_list->paths[kind]);
            clean_list_finish(ret_list);
            return r;
        }
    }
    clean_mark_open(ret_list);
    return 0;
}

void
clean_list_finish(struct clean_list *list)
{
    for (size_t i = 0; i < CLEAN_KINDS && list->paths[i]; i++)
        cleanup_close(&list->tops[i]);
    free(list->items);
    list->items = NULL;
    list->count = 0;
    arena_finish(&list->arena);
}

/* ---- who has them open ---- */

/* Numbers alone, whatever the disk: one that only looks open stays, and nothing is lost. */
struct inodes {
    VEC(uint64_t) list;
};

static void
add_inode(struct inodes *open, uint64_t inode)
{
    if (open->list.count < OPEN_MAX_FILES)
        vec_push(&open->list, inode);
}

static bool
on_open(const struct stat *st, void *arg)
{
    add_inode(arg, st->st_ino);
    return true;
}

static bool
on_mapped(dev_t device unused_arg, ino_t inode, void *arg)
{
    add_inode(arg, inode);
    return true;
}

static bool
on_process(int process, pid_t pid unused_arg, void *arg)
{
    holders_open(process, on_open, arg);
    holders_mapped(process, on_mapped, arg);
    return true;
}

static int
compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

void
clean_mark_open(struct clean_list *list)
{
    struct inodes open = {0};
    if (list->count == 0)
        return;
    holders_each(on_process, &open);
    if (open.list.count)
        qsort(open.list.items, open.list.count, sizeof(*open.list.items), compare);
    for (size_t i = 0; i < list->count; i++) {
        uint64_t inode = list->items[i].inode;
        list->items[i].is_open =
            open.list.count &&
            bsearch(&inode, open.list.items, open.list.count, sizeof(*open.list.items), compare);
    }
    vec_finish(&open.list);
}

/* ---- removing ---- */

/* The directory that holds it, reached through no link and on no other disk. */
static int
open_holder(int top, const char *name, const char **ret_last)
{
    const char *slash = strrchr(name, '/');
    const struct open_how how = {
        .flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV,
    };
    _cleanup_free_ char *parent =
        slash ? mem_strndup(name, (size_t)(slash - name)) : mem_strdup(".");
    *ret_last = slash ? slash + 1 : name;
    int fd = (int)syscall(SYS_openat2, top, parent, &how, sizeof(how));
    return fd < 0 ? -errno : fd;
}

int
clean_remove(const struct clean_list *list, const struct clean_item *item)
{
    const char *last;
    struct stat st;
    if (item->is_open)
        return -EBUSY;
    _cleanup_close_ int holder = open_holder(list->tops[item->kind], item->name, &last);
    int r = holder < 0 ? holder : root_holds(holder);
    if (r < 0)
        return r;
    if (fstatat(holder, last, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    if (st.st_dev != item->device || st.st_ino != item->inode || !S_ISREG(st.st_mode) ||
        st.st_mtim.tv_sec * INT64_C(1000000000) + st.st_mtim.tv_nsec != item->modified_ns)
        return -ESTALE;
    return fault_unlink(holder, last, false);
}
