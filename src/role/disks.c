#include "role/disks.h"

#include "base/mem.h"
#include "base/quantity.h"
#include "config/config.h"
#include "sys/mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#define LIMIT_US UINT64_C(60000000)
#define FULL_BYTES GIB /* what is left then goes within minutes, to logs or caches */

const char *
disk_word(enum disk_kind kind)
{
    static const char *const words[] = {"models", "state", "backup"};
    return words[kind];
}

static int
check_mount(const struct disk *d, struct err *reterr)
{
    _cleanup_close_ int fd = open(d->path, O_PATH | O_CLOEXEC);
    _cleanup_mounts_ struct mounts mounts = {0};
    if (fd < 0)
        return err_set_errno(reterr, errno, "cannot look at '%s'", d->path);
    int r = mounts_read(&mounts, reterr); /* after it was opened */
    if (r < 0 || mounts_find_open(&mounts, fd))
        return r;
    r = err_set(reterr, ERR_STORAGE_NOT_MOUNTED, "nothing is mounted at '%s'", d->path);
    err_fix(reterr, "mount %s; or set storage.require_mounts to false", d->path);
    return r;
}

static void
look_at(struct disk *d)
{
    struct statvfs fs;
    quantity_text text;
    d->err = (struct err){0};
    if (statvfs(d->path, &fs) < 0) {
        (void)err_set_errno(&d->err, errno, "cannot look at '%s'", d->path);
        return;
    }
    d->total_bytes = (uint64_t)fs.f_blocks * fs.f_frsize;
    d->free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    int r = d->must_be_mount ? check_mount(d, &d->err) : 0;
    if (r == 0 && d->free_bytes < MIN(FULL_BYTES, d->total_bytes / 20)) {
        (void)err_set(&d->err, ERR_STORAGE_FULL, "the disk of '%s' is full: %s are left", d->path,
                      quantity_show_bytes(d->free_bytes, text));
        err_fix(&d->err, "remove what is not needed there: du -xh --max-depth 2 %s", d->path);
    }
}

static void
look(struct work *work)
{
    struct disks *disks = container_of(work, struct disks, work);
    for (size_t i = 0; i < DISK_COUNT; i++)
        look_at(&disks->found[i]);
}

static void
on_looked(struct work *work, bool cancelled unused_arg)
{
    struct disks *disks = container_of(work, struct disks, work);
    disks->looking = disks->hung = false;
    if (disks->closed) {
        free(disks);
        return;
    }
    loop_timer_stop(&disks->limit);
    for (size_t i = 0; i < DISK_COUNT; i++) {
        disks->items[i].total_bytes = disks->found[i].total_bytes;
        disks->items[i].free_bytes = disks->found[i].free_bytes;
        disks->items[i].err = disks->found[i].err;
    }
    disks->known = true;
    disks->told(disks);
}

/* Which of them it is cannot be told, but that it is one of those. */
static void
on_limit(struct loop_timer *timer)
{
    struct disks *disks = container_of(timer, struct disks, limit);
    struct disk *d = &disks->items[DISK_MODELS];
    disks->known = disks->hung = true;
    (void)err_set(&d->err, ERR_STORAGE_FAILED, "a disk has not answered for %llu s: %s, %s or %s",
                  (unsigned long long)LIMIT_US / 1000000, d->path, disks->items[DISK_STATE].path,
                  disks->items[DISK_BACKUP].path);
    err_fix(&d->err, "see `dmesg`");
    disks->told(disks);
}

void
disks_look(struct disks *disks)
{
    if (disks->looking)
        return;
    disks->looking = true;
    memcpy(disks->found, disks->items, sizeof(disks->found));
    disks->work.run = look;
    disks->work.done = on_looked;
    disks->limit.expired = on_limit;
    loop_timer_start(disks->loop, &disks->limit, LIMIT_US, 0);
    work_start(disks->loop, &disks->work);
}

struct disks *
disks_new(struct loop *loop, const struct config *config, void (*told)(struct disks *disks),
          void *arg)
{
    struct disks *disks = mem_new(struct disks);
    *disks = (struct disks){.loop = loop, .told = told, .arg = arg};
    disks->items[DISK_MODELS].needed = disks->items[DISK_STATE].needed = true;
    disks_configure(disks, config);
    return disks;
}

void
disks_configure(struct disks *disks, const struct config *config)
{
    bool mounts = config->storage.require_mounts;
    disks->items[DISK_MODELS].path = config->paths.models;
    disks->items[DISK_STATE].path = config->paths.state;
    disks->items[DISK_BACKUP].path = config->paths.backup;
    disks->items[DISK_MODELS].must_be_mount = disks->items[DISK_BACKUP].must_be_mount = mounts;
}

void
disks_free(struct disks *disks)
{
    loop_timer_stop(&disks->limit);
    disks->closed = true;
    if (!disks->looking)
        free(disks);
}
