#include "storage/usage.h"

#include "config/config.h"
#include "storage/walk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

struct measuring {
    struct usage_area *areas;
    struct top {
        int fd;
        dev_t device;
        ino_t inode;
    } tops[USAGE_AREAS];
    struct usage_area *now;
    struct walk walk;
    void (*progress)(const char *area, uint64_t entries, void *arg);
    void *arg;
};

/* Without a name: it was removed while we looked at it. */
static void
count(struct usage_area *area, const struct stat *st)
{
    uint64_t names = S_ISDIR(st->st_mode) ? 1 : MAX((uint64_t)st->st_nlink, UINT64_C(1));
    area->bytes += (uint64_t)st->st_blocks * 512 / names;
}

static bool
on_file(struct walk *walk, const char *path unused_arg, const struct stat *st)
{
    struct measuring *m = container_of(walk, struct measuring, walk);
    m->now->files++;
    count(m->now, st);
    return true;
}

static void
on_directory(struct walk *walk, const struct stat *st)
{
    count(container_of(walk, struct measuring, walk)->now, st);
}

static void
on_progress(struct walk *walk, const char *path unused_arg)
{
    struct measuring *m = container_of(walk, struct measuring, walk);
    if (m->progress)
        m->progress(m->now->name, walk->entries, m->arg);
}

/* Whether it is an area of its own. */
static bool
is_area(const struct walk *walk, const struct stat *st)
{
    const struct measuring *m = container_of(walk, struct measuring, walk);
    for (size_t i = 0; i < USAGE_AREAS; i++)
        if (m->tops[i].fd >= 0 && m->tops[i].device == st->st_dev && m->tops[i].inode == st->st_ino)
            return true;
    return false;
}

static void
open_top(struct usage_area *area, struct top *top)
{
    struct stat st;
    struct statvfs disk;
    top->fd = open(area->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (top->fd < 0 || fstat(top->fd, &st) < 0 || fstatvfs(top->fd, &disk) < 0) {
        cleanup_close(&top->fd);
        return;
    }
    area->is_there = true;
    top->device = st.st_dev;
    top->inode = st.st_ino;
    area->disk_bytes = (uint64_t)disk.f_blocks * disk.f_frsize;
    area->disk_free_bytes = (uint64_t)disk.f_bavail * disk.f_frsize;
}

static int
measure(struct measuring *m, size_t i)
{
    m->now = &m->areas[i];
    m->walk = (struct walk){
        .file = on_file, .directory = on_directory, .progress = on_progress, .passes = is_area};
    int r = walk_run(&m->walk, m->tops[i].fd);
    m->now->skipped = m->walk.skipped;
    m->now->more = m->walk.is_over;
    return r;
}

static void
name_areas(const struct config *config, struct usage_area areas[USAGE_AREAS])
{
    const struct config_paths *p = &config->paths;
    const struct {
        const char *name, *dir, *below;
    } rows[USAGE_AREAS] = {
        {"active", p->models, "/active"},
        {"cache", p->models, "/cache"},
        {"staging", p->models, "/staging"},
        {"backup", p->backup, ""},
        {"logs", p->logs, ""},
        {"state", p->state, ""},
        {"root", p->root, ""},
    };
    for (size_t i = 0; i < USAGE_AREAS; i++) {
        areas[i] = (struct usage_area){.name = rows[i].name};
        (void)snprintf(areas[i].path, sizeof(areas[i].path), "%s%s", rows[i].dir, rows[i].below);
    }
}

int
usage_measure(const struct config *config, struct usage_area ret_areas[USAGE_AREAS],
              void (*progress)(const char *area, uint64_t entries, void *arg), void *arg,
              struct err *reterr)
{
    struct measuring m = {.areas = ret_areas, .progress = progress, .arg = arg};
    int r = 0;
    name_areas(config, ret_areas);
    for (size_t i = 0; i < USAGE_AREAS; i++)
        open_top(&ret_areas[i], &m.tops[i]);
    for (size_t i = 0; r == 0 && i < USAGE_AREAS; i++)
        if (ret_areas[i].is_there && (r = measure(&m, i)) < 0)
            r = err_set_errno(reterr, -r, "cannot look into '%s'", ret_areas[i].path);
    for (size_t i = 0; i < USAGE_AREAS; i++)
        cleanup_close(&m.tops[i].fd);
    return r;
}
