#include "backup/restore_int.h"
#include "base/mem.h"
#include "base/text.h"
#include "sys/fault.h"
#include "sys/files.h"
#include "sys/root.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#define STAGING_MODE 0700
#define FILE_MODE 0600
#define PAGE_BYTES 4096
#define ALLOCATE_BYTES ((uint64_t)(1 * MIB)) /* files from here on get their room at once */

/* ---- the directory ---- */

static int
in_the_way(struct err *reterr, const char *path)
{
    int r = err_set(reterr, ERR_RESTORE_THERE, "'%s' is there already", path);
    err_fix(reterr, "another --to; --in-place for what differs only; --replace to lose what it is");
    return r;
}

static bool
is_empty(int above, const char *name)
{
    _cleanup_dir_ DIR *dir = file_open_dir(above, name, O_NOFOLLOW);
    bool empty = dir != NULL;
    for (const struct dirent *e; empty && (e = readdir(dir));)
        empty = text_eq(e->d_name, ".") || text_eq(e->d_name, "..");
    return empty;
}

/* Whether there is something, and it may go. */
static int
look_at_place(struct target *t, struct err *reterr)
{
    struct stat st;
    if (fstatat(t->above, t->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : err_set_errno(reterr, errno, "'%s'", t->wish->to);
    if (!S_ISDIR(st.st_mode) || (!t->wish->replace && !is_empty(t->above, t->name)))
        return in_the_way(reterr, t->wish->to);
    t->replaces = true;
    return 0;
}

/* Others may not even look into it, and nobody else works on it. */
static int
open_staging(struct target *t)
{
    struct stat st;
    int r = fault_mkdir(t->above, t->staging, STAGING_MODE);
    t->was_there = r == -EEXIST;
    if (r < 0 && r != -EEXIST)
        return r;
    t->fd = openat(t->above, t->staging, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (t->fd < 0 || fstat(t->fd, &st) < 0)
        return -errno;
    if (st.st_uid != geteuid())
        return -EPERM;
    return flock(t->fd, LOCK_EX | LOCK_NB) < 0 ? -EBUSY : 0;
}

/* Of the same snapshot, and the same part of it: then what is there already is what it should be. */
static void
name_staging(struct target *t)
{
    char digest[HASH_SHA256_HEX], snapshot[HASH_SHA256_HEX];
    hash_sha256_hex(t->wish->snapshot, snapshot);
    _cleanup_free_ char *what = mem_printf("%s/%s", snapshot, t->wish->path ? t->wish->path : "");
    hash_sha256_text(what, strlen(what), digest);
    t->staging = mem_printf(".%.200s.restore-%.12s", t->name, digest);
    t->staging_path = mem_printf("%.*s%s", (int)(t->name - t->path), t->path, t->staging);
}

static int
open_in_place(struct target *t, struct err *reterr)
{
    t->fd = openat(t->above, t->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int r = t->fd < 0 ? -errno : root_holds(t->fd);
    return r < 0 ? root_err(reterr, r, "cannot restore into '%s'", t->wish->to) : 0;
}

int
target_open(struct target *t, const struct restore_wish *wish, struct err *reterr)
{
    struct file_place place;
    t->wish = wish;
    t->path = mem_strdup(wish->to);
    for (size_t len = strlen(t->path); len > 1 && t->path[len - 1] == '/';)
        t->path[--len] = '\0';
    int r = file_place_open(t->path, &place);
    if (r < 0)
        return root_err(reterr, r, "cannot restore into '%s'", wish->to);
    t->above = place.dir;
    t->name = place.name;
    if (wish->in_place)
        return open_in_place(t, reterr);
    r = look_at_place(t, reterr);
    if (r < 0)
        return r;
    name_staging(t);
    r = open_staging(t);
    return r < 0 ? err_set_errno(reterr, -r, "cannot make '%s'", t->staging_path) : 0;
}

/* An empty directory is replaced by any rename; else both change their names at once. */
static int
put_in_place(struct target *t)
{
    unsigned flags = t->replaces ? RENAME_EXCHANGE : RENAME_NOREPLACE;
    if (t->replaces && is_empty(t->above, t->name))
        flags = 0;
    int r = fault_point("rename");
    if (r < 0)
        return r;
    if (renameat2(t->above, t->staging, t->above, t->name, flags) < 0)
        return -errno;
    return fault_sync(t->above);
}

/* All that others have written to this file system would go to the disk with it: only worth it where the
 * files are many. */
int
target_sync_all(struct target *t, struct err *reterr)
{
    int r = fault_point("syncfs");
    if (r == 0 && syncfs(t->fd) < 0)
        r = -errno;
    return r < 0 ? err_set_errno(reterr, -r, "cannot bring '%s' to the disk", t->wish->to) : 0;
}

int
target_end(struct target *t, struct err *reterr)
{
    int r = t->staging ? put_in_place(t) : 0;
    if (r < 0)
        return err_set_errno(reterr, -r, "cannot bring '%s' to its place", t->wish->to);
    return t->replaces ? file_remove_tree(t->staging_path, reterr) : 0;
}

void
target_close(struct target *t)
{
    cleanup_close(&t->above);
    cleanup_close(&t->fd);
    cleanup_close(&t->parent);
    free(t->path);
    free(t->parent_path);
    free(t->staging);
    free(t->staging_path);
}

/* ---- a place in it ---- */

/* A directory below, and no link on the way to it. */
static int
open_below(const struct target *t, const char *path)
{
    const struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
                                 .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
    long fd = syscall(SYS_openat2, t->fd, path[0] ? path : ".", &how, sizeof(how));
    return fd < 0 ? -errno : (int)fd;
}

static int
failed(const char *path, int r, struct err *reterr)
{
    if (r == -ELOOP || r == -ENOTDIR || r == -EISDIR || r == -EXDEV)
        return in_the_way(reterr, path);
    return err_set_errno(reterr, -r, "cannot restore '%s'", path);
}

int
target_sync(struct target *t, const char *path, struct err *reterr)
{
    const struct open_how how = {.flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
                                 .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
    long opened = syscall(SYS_openat2, t->fd, path[0] ? path : ".", &how, sizeof(how));
    _cleanup_close_ int fd = (int)opened;
    int r = fd < 0 ? -errno : fault_sync(fd);
    return r < 0 ? failed(path, r, reterr) : 0;
}

int
place_find(struct target *t, const char *path, struct place *ret, struct err *reterr)
{
    const char *slash = strrchr(path, '/');
    size_t len = slash ? (size_t)(slash - path) : 0;
    if (t->parent < 0 || strlen(t->parent_path) != len || memcmp(t->parent_path, path, len) != 0) {
        cleanup_close(&t->parent);
        free(t->parent_path);
        t->parent_path = mem_strndup(path, len);
        t->parent = open_below(t, t->parent_path);
        if (t->parent < 0) {
            int r = failed(t->parent_path, t->parent, reterr);
            t->parent = -1;
            return r;
        }
    }
    *ret = (struct place){
        .target = t, .dir = t->parent, .path = path, .name = slash ? slash + 1 : path};
    return 0;
}

/* Of a name that may be as long as names get. */
static void
name_draft(const struct place *p, char ret[PLACE_DRAFT_MAX])
{
    char digest[HASH_SHA256_HEX];
    hash_sha256_text(p->name, strlen(p->name), digest);
    (void)snprintf(ret, PLACE_DRAFT_MAX, PLACE_DRAFT "%.16s", digest);
}

/* ---- what all are given ---- */

static struct timespec
time_of(int64_t ns)
{
    int64_t s = ns / 1000000000, rest = ns % 1000000000;
    return rest < 0 ? (struct timespec){s - 1, rest + 1000000000} : (struct timespec){s, rest};
}

static void
find_owner(struct owners *o, const struct snapshot_entry *e, uid_t *ret_uid, gid_t *ret_gid)
{
    struct account account;
    if (!text_eq(o->user, e->owner)) {
        (void)snprintf(o->user, sizeof(o->user), "%s", e->owner);
        o->has_user = account_find(e->owner, NULL, &account, NULL) == 0;
        o->uid = account.uid;
    }
    *ret_uid = o->has_user ? o->uid : e->uid;
    if (!text_eq(o->group, e->group)) {
        (void)snprintf(o->group, sizeof(o->group), "%s", e->group);
        o->has_group = account_find("root", e->group, &account, NULL) == 0;
        o->gid = account.gid;
    }
    *ret_gid = o->has_group ? o->gid : e->gid;
}

static int
give_owner(struct owners *o, int dir, const char *name, const struct stat *st,
           const struct snapshot_entry *e)
{
    uid_t uid;
    gid_t gid;
    find_owner(o, e, &uid, &gid);
    if (st->st_uid == uid && st->st_gid == gid)
        return 0;
    if (fchownat(dir, name, uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) == 0)
        return 0;
    o->refused += errno == EPERM;
    return errno == EPERM ? 0 : -errno;
}

static int
give_xattrs(struct owners *o, int fd, const struct snapshot_entry *e)
{
    struct snapshot_records records = e->xattrs;
    struct snapshot_xattr x;
    while (snapshot_next_xattr(&records, &x)) {
        if (fsetxattr(fd, x.name, x.value, x.len, 0) == 0)
            continue;
        if (errno != EPERM && errno != EOPNOTSUPP && errno != EACCES && errno != EINVAL)
            return -errno;
        o->attributes++;
    }
    return 0;
}

/* Of a file or directory that is open. What would change an owner takes rights away, and what changes
 * anything changes times: hence the order. */
static int
give_all(struct owners *o, int fd, const struct snapshot_entry *e)
{
    struct stat st;
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, time_of(e->mtime_ns)};
    if (fstat(fd, &st) < 0)
        return -errno;
    int r = give_owner(o, fd, "", &st, e);
    if (r == 0 && fchmod(fd, e->mode) < 0)
        r = -errno;
    if (r == 0)
        r = give_xattrs(o, fd, e);
    if (r == 0 && futimens(fd, times) < 0)
        r = -errno;
    return r;
}

/* ---- what has no content ---- */

static int
make_directory(const struct place *p)
{
    struct stat st;
    int r = fault_mkdir(p->dir, p->name, STAGING_MODE);
    if (r != -EEXIST)
        return r;
    if (fstatat(p->dir, p->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

static int
make_node(const struct place *p, const char *draft, const struct snapshot_entry *e)
{
    const mode_t type = e->kind == SNAPSHOT_FIFO               ? S_IFIFO
                        : e->kind == SNAPSHOT_CHARACTER_DEVICE ? S_IFCHR
                                                               : S_IFBLK;
    int r = fault_point("mknod");
    if (r < 0)
        return r;
    dev_t device = makedev((unsigned)(e->size >> 32), (unsigned)e->size);
    return mknodat(p->dir, draft, type | STAGING_MODE, device) < 0 ? -errno : 0;
}

static bool
is_same_link(const struct place *p, const struct snapshot_entry *e)
{
    char target[SNAPSHOT_PATH_MAX + 1];
    ssize_t n = readlinkat(p->dir, p->name, target, sizeof(target));
    return n >= 0 && (size_t)n == strlen(e->target) && memcmp(target, e->target, (size_t)n) == 0;
}

static int
give_node(const struct place *p, const char *name, const struct snapshot_entry *e,
          struct owners *owners)
{
    struct stat st;
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, time_of(e->mtime_ns)};
    if (fstatat(p->dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    int r = give_owner(owners, p->dir, name, &st, e);
    if (r == 0 && !S_ISLNK(st.st_mode) && fchmodat(p->dir, name, e->mode, 0) < 0)
        r = -errno;
    if (r == 0 && utimensat(p->dir, name, times, AT_SYMLINK_NOFOLLOW) < 0)
        r = -errno;
    return r;
}

static int
make_other(const struct place *p, const struct snapshot_entry *e, struct owners *owners)
{
    char draft[PLACE_DRAFT_MAX];
    if (e->kind == SNAPSHOT_SYMLINK && is_same_link(p, e))
        return give_node(p, p->name, e, owners);
    name_draft(p, draft);
    int r = fault_unlink(p->dir, draft, false);
    if (r == 0 || r == -ENOENT)
        r = e->kind == SNAPSHOT_SYMLINK ? fault_symlink(e->target, p->dir, draft)
                                        : make_node(p, draft, e);
    if (r == 0)
        r = give_node(p, draft, e, owners);
    return r < 0 ? r : fault_rename(p->dir, draft, p->name);
}

int
place_make(const struct place *p, const struct snapshot_entry *e, struct owners *owners,
           struct err *reterr)
{
    int r = e->kind == SNAPSHOT_DIRECTORY ? make_directory(p) : make_other(p, e, owners);
    return r < 0 ? failed(p->path, r, reterr) : 0;
}

static int
make_link(struct target *t, const struct place *p, const char *to)
{
    char draft[PLACE_DRAFT_MAX];
    struct stat here, there;
    const char *slash = strrchr(to, '/'), *name = slash ? slash + 1 : to;
    _cleanup_free_ char *parent = mem_strndup(to, slash ? (size_t)(slash - to) : 0);
    _cleanup_close_ int dir = open_below(t, parent);
    if (dir < 0 || fstatat(dir, name, &there, AT_SYMLINK_NOFOLLOW) < 0)
        return dir < 0 ? dir : -errno;
    if (fstatat(p->dir, p->name, &here, AT_SYMLINK_NOFOLLOW) == 0 && here.st_ino == there.st_ino &&
        here.st_dev == there.st_dev)
        return 0;
    name_draft(p, draft);
    int r = fault_unlink(p->dir, draft, false);
    if (r == 0 || r == -ENOENT)
        r = fault_point("link");
    if (r == 0 && linkat(dir, name, p->dir, draft, 0) < 0)
        r = -errno;
    return r < 0 ? r : fault_rename(p->dir, draft, p->name);
}

int
place_link(struct target *t, const struct place *p, const struct snapshot_entry *e,
           struct err *reterr)
{
    int r = make_link(t, p, e->target);
    if (r == -ENOENT)
        return err_set(reterr, ERR_SNAPSHOT_NONE,
                       "'%s' is another name of '%s', which is not restored with it", e->path,
                       e->target);
    return r < 0 ? failed(p->path, r, reterr) : 0;
}

int
place_end_directory(struct target *t, const struct snapshot_entry *e, struct owners *owners,
                    struct err *reterr)
{
    _cleanup_close_ int path = open_below(t, e->path);
    _cleanup_close_ int fd =
        path < 0 ? path : openat(path, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int r = path < 0 ? path : fd < 0 ? -errno : give_all(owners, fd, e);
    return r < 0 ? failed(e->path, r, reterr) : 0;
}

/* ---- files ---- */

int
place_file_open(const struct place *p, const struct snapshot_entry *e, struct place_file *ret,
                struct err *reterr)
{
    struct stat st;
    const int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY;
    if (p->target->staging && !p->target->was_there)
        return 0;
    _cleanup_close_ int fd = openat(p->dir, p->name, flags);
    if (fd < 0)
        return errno == ENOENT || errno == ELOOP || errno == ENXIO
                   ? 0
                   : failed(p->path, -errno, reterr);
    if (fstat(fd, &st) < 0)
        return failed(p->path, -errno, reterr);
    if (S_ISDIR(st.st_mode))
        return in_the_way(reterr, p->path);
    if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != e->size)
        return 0;
    *ret = (struct place_file){.fd = take_fd(&fd), .dir = -1, .is_open = true, .was_there = true};
    return 1;
}

/* In a directory of others, what has our draft's name may be theirs. */
static bool
is_ours(int fd, struct stat *ret)
{
    return fstat(fd, ret) == 0 && S_ISREG(ret->st_mode) && ret->st_nlink == 1 &&
           ret->st_uid == geteuid();
}

static int
open_draft(const struct place *p, const char *draft, struct stat *ret)
{
    int fd = fault_create(p->dir, draft, FILE_MODE);
    if (fd >= 0 && is_ours(fd, ret))
        return fd;
    cleanup_close(&fd);
    int r = fault_unlink(p->dir, draft, false);
    if (r < 0)
        return r;
    fd = fault_create(p->dir, draft, FILE_MODE);
    if (fd < 0 || is_ours(fd, ret))
        return fd;
    (void)close(fd);
    return -EEXIST;
}

static int
size_file(int fd, const struct snapshot_entry *e)
{
    int r = fault_truncate(fd, (off_t)e->size);
    if (r < 0 || e->flags & SNAPSHOT_SPARSE || e->size < ALLOCATE_BYTES)
        return r;
    return fallocate(fd, 0, 0, (off_t)e->size) < 0 && errno == ENOSPC ? -ENOSPC : 0;
}

int
place_file_make(const struct place *p, const struct snapshot_entry *e, struct place_file *ret,
                struct err *reterr)
{
    struct stat st = {0};
    *ret = (struct place_file){.fd = -1, .dir = -1, .name = p->name};
    name_draft(p, ret->draft);
    _cleanup_close_ int fd = open_draft(p, ret->draft, &st);
    int r = fd < 0 ? fd : size_file(fd, e);
    if (r >= 0 && (ret->dir = fcntl(p->dir, F_DUPFD_CLOEXEC, 0)) < 0)
        r = -errno;
    if (r < 0)
        return failed(p->path, r, reterr);
    ret->fd = take_fd(&fd);
    ret->is_open = true;
    ret->was_there = st.st_size > 0;
    return 0;
}

static bool
is_zeros(const uint8_t *bytes, size_t len)
{
    return bytes[0] == 0 && memcmp(bytes, bytes + 1, len - 1) == 0;
}

static int
write_at(int fd, const uint8_t *bytes, size_t len, uint64_t at)
{
    int r = fault_point("write");
    while (r == 0 && len > 0) {
        ssize_t n = pwrite(fd, bytes, len, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        bytes += n;
        at += (size_t)n;
        len -= (size_t)n;
    }
    return r;
}

int
place_write(const struct place_file *f, const uint8_t *bytes, size_t len, uint64_t at, bool skips)
{
    size_t from = 0;
    int r = 0;
    for (size_t i = 0; skips && i < len && r == 0; i += PAGE_BYTES) {
        size_t page = MIN(len - i, (size_t)PAGE_BYTES);
        if (!is_zeros(bytes + i, page))
            continue;
        if (i > from)
            r = write_at(f->fd, bytes + from, i - from, at + from);
        from = i + page;
    }
    return r < 0 || from >= len ? r : write_at(f->fd, bytes + from, len - from, at + from);
}

int
place_file_end(struct place_file *f, const struct snapshot_entry *e, struct owners *owners,
               struct err *reterr)
{
    int r = give_all(owners, f->fd, e);
    if (r == 0 && f->dir >= 0)
        r = fault_rename(f->dir, f->draft, f->name);
    place_file_close(f);
    return r < 0 ? failed(e->path, r, reterr) : 0;
}

void
place_file_close(struct place_file *f)
{
    if (!f->is_open)
        return;
    cleanup_close(&f->fd);
    cleanup_close(&f->dir);
    f->is_open = false;
}
