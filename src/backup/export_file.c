#include "backup/export_int.h"
#include "base/quantity.h"
#include "sys/fault.h"
#include "sys/files.h"
#include "sys/root.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define FILE_MODE 0600 /* what is within may have been closed to others */
#define SEND_BYTES ((off_t)(32 * MIB))

static int
in_the_way(const struct export_file *f, struct err *reterr)
{
    int r = err_set(reterr, ERR_RESTORE_THERE, "'%s' is there already", f->to);
    err_fix(reterr, "another --to; or --replace, to lose what it is");
    return r;
}

/* Only a file is ever replaced. */
static int
look_at_place(const struct export_file *f, struct err *reterr)
{
    struct stat st;
    if (fstatat(f->dir, f->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : err_set_errno(reterr, errno, "'%s'", f->to);
    if (f->replace && S_ISREG(st.st_mode))
        return 0;
    return in_the_way(f, reterr);
}

static int
check_space(const struct export_file *f, uint64_t bytes, struct err *reterr)
{
    quantity_text wanted, there;
    struct statvfs vfs;
    if (fstatvfs(f->dir, &vfs) < 0)
        return 0;
    uint64_t left = (uint64_t)vfs.f_bavail * vfs.f_frsize;
    if (bytes <= left)
        return 0;
    return err_set_errno(reterr, ENOSPC, "'%s' may take %s, and there are %s", f->to,
                         quantity_show_bytes(bytes, wanted), quantity_show_bytes(left, there));
}

int
export_file_look(struct export_file *f, const struct export_wish *wish, uint64_t bytes,
                 struct err *reterr)
{
    struct file_place place;
    *f = EXPORT_FILE_INIT;
    hash_sha256_init(&f->hash);
    f->to = wish->to;
    f->replace = wish->replace;
    if (!wish->to) {
        f->fd = wish->fd;
        return 0;
    }
    int r = file_place_open(wish->to, &place);
    if (r < 0)
        return root_err(reterr, r, "cannot make '%s'", wish->to);
    f->dir = place.dir;
    f->name = place.name;
    r = look_at_place(f, reterr);
    return r < 0 ? r : check_space(f, bytes, reterr);
}

/* One that was left is taken over, and one that somebody writes is not. */
static int
open_draft(struct export_file *f, const char *draft)
{
    struct stat ours, there;
    f->fd =
        openat(f->dir, draft, O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, FILE_MODE);
    if (f->fd < 0 || fstat(f->fd, &ours) < 0)
        return -errno;
    if (!S_ISREG(ours.st_mode) || ours.st_uid != geteuid())
        return -EPERM;
    if (flock(f->fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK)
        return -EBUSY;
    if (fstatat(f->dir, draft, &there, AT_SYMLINK_NOFOLLOW) < 0 || there.st_ino != ours.st_ino)
        return -EBUSY; /* it has got its name meanwhile */
    return 0;
}

int
export_file_make(struct export_file *f, struct err *reterr)
{
    if (!f->to)
        return 0;
    char *draft = mem_printf(".%.200s.export", f->name);
    int r = fault_point("create");
    if (r == 0)
        r = open_draft(f, draft);
    if (r < 0) {
        r = err_set_errno(reterr, -r, "cannot make '%s' for '%s'", draft, f->to);
        free(draft);
        return r;
    }
    f->draft = draft;
    r = fault_truncate(f->fd, 0);
    return r < 0 ? err_set_errno(reterr, -r, "cannot write '%s'", f->to) : 0;
}

/* What is on the disk need not be in memory, where models have better use of it. */
static void
send(struct export_file *f)
{
    const unsigned wait =
        SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
    const off_t kept = (off_t)f->gone, sent = (off_t)f->sent, end = (off_t)f->bytes;
    if (!f->to || end - sent < SEND_BYTES)
        return;
    (void)sync_file_range(f->fd, sent, end - sent, SYNC_FILE_RANGE_WRITE);
    if (sent > kept) { /* a length of 0 would mean all */
        (void)sync_file_range(f->fd, kept, sent - kept, wait);
        (void)posix_fadvise(f->fd, kept, sent - kept, POSIX_FADV_DONTNEED);
    }
    f->gone = f->sent;
    f->sent = f->bytes;
}

static int
write_bytes(void *arg, const void *bytes, size_t len, struct err *reterr)
{
    struct export_file *f = arg;
    int r = fault_write(f->fd, bytes, len);
    if (r < 0)
        return err_set_errno(reterr, -r, "cannot write '%s'", f->to ? f->to : "-");
    hash_sha256_update(&f->hash, bytes, len);
    f->bytes += len;
    send(f);
    return 0;
}

struct flow_sink
export_file_sink(struct export_file *f)
{
    return (struct flow_sink){write_bytes, f};
}

/* Some file systems, such as those of sticks, know no rename that replaces nothing. */
static int
take_name(struct export_file *f)
{
    int r = f->replace ? 0 : fault_point("rename");
    if (r < 0)
        return r;
    if (f->replace)
        return fault_rename(f->dir, f->draft, f->name);
    if (renameat2(f->dir, f->draft, f->dir, f->name, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL)
        return -errno;
    if (faccessat(f->dir, f->name, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        return -EEXIST;
    return fault_rename(f->dir, f->draft, f->name);
}

int
export_file_end(struct export_file *f, struct err *reterr)
{
    if (!f->to)
        return 0;
    int r = fault_sync(f->fd);
    if (r == 0)
        r = take_name(f);
    if (r == -EEXIST)
        return in_the_way(f, reterr);
    if (r == 0) {
        free(f->draft);
        f->draft = NULL;
        r = fault_sync(f->dir);
    }
    return r < 0 ? err_set_errno(reterr, -r, "cannot bring '%s' to the disk", f->to) : 0;
}

void
export_file_close(struct export_file *f)
{
    if (f->draft)
        (void)!fault_unlink(f->dir, f->draft, false);
    if (f->to)
        cleanup_close(&f->fd);
    cleanup_close(&f->dir);
    free(f->draft);
}
