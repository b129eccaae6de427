/* A file is written under a second name, ".NAME.new" beside it, and renamed when it is complete and
 * on the disk. That name is always the same, so that what a crash leaves is taken over by the next
 * writer and never piles up; a lock on it keeps two writers apart. */

#include "sys/files.h"

#include "base/mem.h"
#include "base/text.h"
#include "sys/clock.h"
#include "sys/fault.h"
#include "sys/root.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Directories in directories: a tree that is deeper was not made by us, and recursion must end. */
#define TREE_DEPTH_MAX 100
#define CLEARED_MAX 5 /* somebody puts them there again */

/* Of a lock that another has, between two tries: the kernel tells nobody when it is free. */
#define LOCK_BEAT_MS 5
/* For another writer of the same file: a few system calls, and a disk that is busy. */
#define DRAFT_US UINT64_C(1000000)

int
file_place_open(const char *path, struct file_place *ret_place)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    if (!name[0] || text_eq(name, ".") || text_eq(name, ".."))
        return -EINVAL;
    _cleanup_free_ char *parent =
        slash ? mem_strndup(path, (size_t)(name - path)) : mem_strdup(".");
    _cleanup_close_ int dir = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int r = dir < 0 ? -errno : root_holds(dir);
    if (r < 0)
        return r;
    *ret_place = (struct file_place){take_fd(&dir), name};
    return 0;
}

int
file_open(const char *path, int flags, mode_t mode)
{
    struct file_place place;
    int r = file_place_open(path, &place);
    if (r < 0)
        return r;
    _cleanup_close_ int dir = place.dir;
    int fd = openat(dir, place.name, flags | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY, mode);
    return fd < 0 ? -errno : fd;
}

int
file_lock(int fd, uint64_t limit_us)
{
    const uint64_t until = clock_now_us() + limit_us;
    while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return -errno;
        if (clock_now_us() >= until)
            return -EWOULDBLOCK;
        (void)poll(NULL, 0, LOCK_BEAT_MS);
    }
    return 0;
}

/* ---- reading ---- */

int
file_read_fd(int fd, struct buf *out)
{
    for (;;) {
        /* One byte more than may be there, so that a file at the ceiling is told from one above. */
        size_t left = out->ceiling_bytes - out->len, piece = MIN(left, (size_t)(64 * KIB));
        char probe = 0;
        void *to = piece ? buf_reserve(out, piece) : &probe;
        if (!to)
            return -ENOMEM;
        ssize_t n = read(fd, to, piece ? piece : 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : 0;
        if (!piece)
            return -EFBIG;
        buf_commit(out, (size_t)n);
    }
}

int
file_open_regular(const char *path, struct err *reterr)
{
    struct stat st;
    /* O_NONBLOCK: opening a pipe must not wait for a writer before we have seen what it is. */
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_set_errno(reterr, errno, "cannot read '%s'", path);
    if (S_ISDIR(st.st_mode))
        return err_set_errno(reterr, EISDIR, "cannot read '%s'", path);
    if (!S_ISREG(st.st_mode))
        return err_set(reterr, ERR_VALUE, "'%s' is not a file but a device, pipe or socket", path);
    return take_fd(&fd);
}

int
file_read(const char *path, struct buf *out, struct err *reterr)
{
    _cleanup_close_ int fd = file_open_regular(path, reterr);
    if (fd < 0)
        return fd;
    int r = file_read_fd(fd, out);
    if (r == -EFBIG)
        return err_set(reterr, ERR_TOO_LARGE, "'%s' is larger than %zu bytes", path,
                       out->ceiling_bytes);
    return r < 0 ? err_set_errno(reterr, -r, "cannot read '%s'", path) : 0;
}

int
file_read_if_there(const char *path, struct buf *out, struct err *reterr)
{
    struct err err;
    int r = file_read(path, out, &err);
    if (r == -ENOENT)
        return 0;
    if (r < 0 && reterr)
        *reterr = err;
    return r < 0 ? r : 1;
}

/* ---- writing ---- */

/* A link, pipe or second name of a file that matters, or an empty directory: no draft of ours. */
static int
clear_draft(int dir, const char *draft)
{
    int r = fault_unlink(dir, draft, false);
    if (r == -EISDIR || r == -EPERM)
        r = fault_unlink(dir, draft, true);
    return r < 0 && r != -ENOENT ? -EEXIST : 0;
}

/* Opens and locks the second name; when another writer has renamed it meanwhile, the next one. */
static int
open_draft(int dir, const char *draft)
{
    for (unsigned cleared = 0; cleared < CLEARED_MAX;) {
        struct stat here, there;
        _cleanup_close_ int fd = fault_create(dir, draft, 0600);
        if (fd == -ELOOP || fd == -EISDIR || fd == -ENXIO) {
            int r = clear_draft(dir, draft);
            if (r < 0)
                return r;
            cleared++;
            continue;
        }
        if (fd < 0)
            return fd;
        int r = file_lock(fd, DRAFT_US);
        if (r < 0)
            return r;
        if (fstat(fd, &here) < 0)
            return -errno;
        if (fstatat(dir, draft, &there, AT_SYMLINK_NOFOLLOW) < 0 || here.st_ino != there.st_ino ||
            here.st_dev != there.st_dev)
            continue;
        if (S_ISREG(here.st_mode) && here.st_nlink == 1)
            return take_fd(&fd);
        r = clear_draft(dir, draft);
        if (r < 0)
            return r;
        cleared++;
    }
    return -EEXIST;
}

/* What lies there may be replaced by us, whosesoever it is. */
static bool
is_ours(int dir)
{
    struct stat st;
    return fstat(dir, &st) == 0 && st.st_uid == geteuid();
}

int
file_take_owner(int fd, int dir, const char *name, mode_t mode)
{
    struct stat old, now;
    if (fstat(fd, &now) < 0)
        return -errno;
    if (fstatat(dir, name, &old, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(old.st_mode)) {
        mode = old.st_mode & 0777; /* what it was set to run as was meant for its bytes */
        bool differs = old.st_uid != now.st_uid || old.st_gid != now.st_gid;
        if (differs && fchown(fd, old.st_uid, old.st_gid) < 0 && !is_ours(dir))
            return -errno;
    }
    return fchmod(fd, mode) < 0 ? -errno : 0;
}

static bool
draft_name(const char *name, char draft[NAME_MAX + 1])
{
    return snprintf(draft, NAME_MAX + 1, ".%s.new", name) <= NAME_MAX;
}

static int
write_at(int dir, const char *name, const void *bytes, size_t len, mode_t mode)
{
    char draft[NAME_MAX + 1];
    if (!draft_name(name, draft))
        return -ENAMETOOLONG;
    _cleanup_close_ int fd = open_draft(dir, draft);
    if (fd < 0)
        return fd;
    int r = fault_truncate(fd, 0);
    if (r == 0)
        r = fault_write(fd, bytes, len);
    if (r == 0)
        r = file_take_owner(fd, dir, name, mode);
    if (r == 0)
        r = fault_sync(fd);
    if (r == 0)
        r = fault_rename(dir, draft, name);
    if (r < 0) {
        (void)!fault_unlink(dir, draft, false);
        return r;
    }
    return fault_sync(dir);
}

int
file_write(const char *path, const void *bytes, size_t len, mode_t mode, struct err *reterr)
{
    struct file_place place = {.dir = -1, .name = path};
    int r = file_place_open(path, &place);
    if (r == 0) {
        _cleanup_close_ int dir = place.dir;
        r = write_at(dir, place.name, bytes, len, mode);
    }
    const int parent = (int)(place.name - path);
    if (r == -EEXIST) {
        r = err_set(reterr, ERR_CHANGE_IN_THE_WAY, "cannot write '%s': '%.*s.%s.new' is in the way",
                    path, parent, path, place.name);
        err_fix(reterr, "remove that; it is nothing of ours");
    } else if (r == -EWOULDBLOCK) {
        r = err_set(reterr, ERR_CHANGE_BUSY, "another process has been writing '%s' for %llu s",
                    path, (unsigned long long)(DRAFT_US / 1000000));
        err_fix(reterr, "see who: `fuser %.*s.%s.new`", parent, path, place.name);
    } else if (r < 0) {
        r = root_err(reterr, r, "cannot write '%s'", path);
    }
    return r;
}

int
file_create(const char *path, const void *bytes, size_t len, mode_t mode, struct err *reterr)
{
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd < 0)
        return err_set_errno(reterr, errno, "cannot make '%s'", path);
    int r = fault_write(fd, bytes, len);
    if (r == 0)
        r = fault_sync(fd);
    if (r == 0)
        return 0;
    (void)unlink(path); /* the half of it is of no use, and would be in the way */
    return err_set_errno(reterr, -r, "cannot write '%s'", path);
}

static int
link_at(int dir, const char *name, const char *target)
{
    char draft[NAME_MAX + 1];
    if (!draft_name(name, draft))
        return -ENAMETOOLONG;
    int r = fault_unlink(dir, draft, false);
    if (r == 0 || r == -ENOENT)
        r = fault_symlink(target, dir, draft);
    if (r == 0)
        r = fault_rename(dir, draft, name);
    if (r < 0) {
        (void)!fault_unlink(dir, draft, false);
        return r;
    }
    return fault_sync(dir);
}

int
file_link(const char *path, const char *target, struct err *reterr)
{
    struct file_place place = {.dir = -1, .name = path};
    int r = file_place_open(path, &place);
    if (r == 0) {
        _cleanup_close_ int dir = place.dir;
        r = link_at(dir, place.name, target);
    }
    return r < 0 ? root_err(reterr, r, "cannot make the link '%s'", path) : 0;
}

int
file_remove_draft(const char *path, struct err *reterr)
{
    char draft[NAME_MAX + 1];
    struct file_place place = {.dir = -1, .name = path};
    int r = file_place_open(path, &place);
    if (r == 0) {
        _cleanup_close_ int dir = place.dir;
        r = draft_name(place.name, draft) ? fault_unlink(dir, draft, false) : 0;
    }
    return r < 0 && r != -ENOENT ? root_err(reterr, r, "cannot tidy up behind '%s'", path) : 0;
}

/* ---- directories ---- */

/* Opens it, and makes it first where it is missing. Where we may not read the directory that holds it,
 * the kernel writes the name in its own time. */
static int
enter_dir(int dir, const char *name, mode_t mode)
{
    int next = openat(dir, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (next >= 0 || errno != ENOENT)
        return next < 0 ? -errno : next;
    int r = root_holds(dir);
    if (r == 0)
        r = fault_mkdir(dir, name, mode);
    if (r < 0 && r != -EEXIST)
        return r;
    _cleanup_close_ int holder = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    r = holder < 0 || r == -EEXIST ? 0 : fault_sync(holder);
    if (r < 0)
        return r;
    next = openat(dir, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return next < 0 ? -errno : next;
}

int
file_make_dirs(const char *path, mode_t mode, struct err *reterr)
{
    _cleanup_free_ char *part = mem_strdup(path);
    _cleanup_close_ int dir = open(path[0] == '/' ? "/" : ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    int r = dir < 0 ? -errno : 0;
    char *rest = part;
    for (char *name; r == 0 && (name = strsep(&rest, "/"));) {
        if (!name[0])
            continue;
        int next = enter_dir(dir, name, mode);
        r = MIN(next, 0);
        cleanup_close(&dir);
        dir = next;
    }
    if (r == 0)
        r = root_holds(dir);
    return r < 0 ? root_err(reterr, r, "cannot make the directory '%s'", path) : 0;
}

DIR *
file_open_dir(int at, const char *name, int flags)
{
    _cleanup_close_ int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | flags);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (d)
        (void)take_fd(&fd); /* closedir() closes it */
    return d;
}

void
file_close_dir(DIR **dir)
{
    if (*dir)
        (void)closedir(*dir);
}

static int remove_at(int dir, const char *name, dev_t device, unsigned depth);

static int
remove_inside(DIR *d, dev_t device, unsigned depth)
{
    struct stat st;
    int r = 0;
    if (depth > TREE_DEPTH_MAX)
        return -ELOOP;
    if (fstat(dirfd(d), &st) < 0 || st.st_dev != device)
        return -EBUSY;
    for (struct dirent *e; r == 0 && (e = readdir(d));)
        if (!text_eq(e->d_name, ".") && !text_eq(e->d_name, ".."))
            r = remove_at(dirfd(d), e->d_name, device, depth + 1);
    return r;
}

static int
remove_at(int dir, const char *name, dev_t device, unsigned depth)
{
    int r = fault_unlink(dir, name, false);
    if (r != -EISDIR && r != -EPERM)
        return r == -ENOENT ? 0 : r;
    DIR *d = file_open_dir(dir, name, O_NOFOLLOW);
    if (!d)
        return errno == ENOTDIR ? r : -errno;
    r = remove_inside(d, device, depth);
    (void)closedir(d);
    if (r == 0)
        r = fault_unlink(dir, name, true);
    return r == -ENOENT ? 0 : r;
}

int
file_remove_tree(const char *path, struct err *reterr)
{
    struct file_place place = {.dir = -1, .name = path};
    struct stat st;
    int r = file_place_open(path, &place);
    if (r == -ENOENT)
        return 0;
    if (r == 0) {
        _cleanup_close_ int dir = place.dir;
        r = fstat(dir, &st) < 0 ? -errno : remove_at(dir, place.name, st.st_dev, 0);
        if (r == 0)
            r = fault_sync(dir);
    }
    return r < 0 ? root_err(reterr, r, "cannot remove '%s'", path) : 0;
}
