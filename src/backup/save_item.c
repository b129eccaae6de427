#include "backup/save_int.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

static int64_t
in_ns(struct timespec t)
{
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static enum snapshot_kind
kind_of(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFDIR:
        return SNAPSHOT_DIRECTORY;
    case S_IFLNK:
        return SNAPSHOT_SYMLINK;
    case S_IFIFO:
        return SNAPSHOT_FIFO;
    case S_IFCHR:
        return SNAPSHOT_CHARACTER_DEVICE;
    case S_IFBLK:
        return SNAPSHOT_BLOCK_DEVICE;
    default:
        return SNAPSHOT_FILE;
    }
}

static void
take_owner(struct item *item, const struct stat *st, struct owner_names *names)
{
    if (!names->has_user || names->uid != st->st_uid)
        (void)account_print_user(st->st_uid, names->user);
    if (!names->has_group || names->gid != st->st_gid)
        (void)account_print_group(st->st_gid, names->group);
    names->has_user = names->has_group = true;
    names->uid = st->st_uid;
    names->gid = st->st_gid;
    memcpy(item->owner, names->user, sizeof(item->owner));
    memcpy(item->group, names->group, sizeof(item->group));
}

static void
take_stat(struct item *item, const struct stat *st)
{
    struct snapshot_entry *e = &item->entry;
    item->st = *st;
    e->kind = kind_of(st->st_mode);
    e->mode = st->st_mode & 07777;
    e->uid = st->st_uid;
    e->gid = st->st_gid;
    e->mtime_ns = in_ns(st->st_mtim);
    e->ctime_ns = in_ns(st->st_ctim);
    e->inode = (uint64_t)st->st_ino;
    e->size = S_ISREG(st->st_mode) ? (uint64_t)st->st_size : 0;
    if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode))
        e->size = (uint64_t)major(st->st_rdev) << 32 | minor(st->st_rdev);
    if (S_ISREG(st->st_mode) && (uint64_t)st->st_blocks * 512 < e->size)
        e->flags |= SNAPSHOT_SPARSE;
}

static int
failed(const struct scan_item *found, int errno_value, struct err *reterr)
{
    return err_set_errno(reterr, errno_value, "cannot read '%s'", found->path);
}

/* 0: it has gone. */
static int
read_link(struct item *item, const struct scan_item *found, struct err *reterr)
{
    char target[PATH_MAX];
    ssize_t n = readlinkat(found->dir, found->name, target, sizeof(target));
    if (n < 0)
        return errno == ENOENT || errno == EINVAL ? 0 : failed(found, errno, reterr);
    if ((size_t)n > SNAPSHOT_PATH_MAX)
        return failed(found, ENAMETOOLONG, reterr);
    free(item->target);
    item->target = mem_strndup(target, (size_t)n);
    return 1;
}

/* A link or a pipe may have come in its place since. Its access time is nobody's business, where we may
 * leave it. 0: it has gone. */
static int
open_file(struct item *item, const struct scan_item *found, struct err *reterr)
{
    const int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY;
    struct stat st;
    item->fd = openat(found->dir, found->name, flags | O_NOATIME);
    if (item->fd < 0 && errno == EPERM)
        item->fd = openat(found->dir, found->name, flags);
    if (item->fd < 0)
        return errno == ENOENT || errno == ELOOP ? 0 : failed(found, errno, reterr);
    if (fstat(item->fd, &st) < 0)
        return failed(found, errno, reterr);
    if (!S_ISREG(st.st_mode))
        return 0;
    take_stat(item, &st);
    return 1;
}

static struct item *
begin(const char *path, const struct stat *st, struct owner_names *names)
{
    struct item *item = mem_new(struct item);
    item->fd = -1;
    arena_init(&item->arena, CUT_ARENA_MAX);
    item->path = mem_strdup(path);
    item->target = mem_strdup("");
    take_stat(item, st);
    take_owner(item, st, names);
    return item;
}

static void
name(struct item *item)
{
    item->entry.path = item->path;
    item->entry.target = item->target;
    item->entry.owner = item->owner;
    item->entry.group = item->group;
}

/* It is read each time, as nothing tells whether it has changed. */
int
item_new_image(int *fd, uint64_t bytes, const char *path, struct owner_names *names,
               struct item **ret_top, struct item **ret_image, struct err *reterr)
{
    struct stat st;
    if (fstat(*fd, &st) < 0)
        return err_set_errno(reterr, errno, "cannot read '%s'", path);
    const bool is_device = S_ISBLK(st.st_mode);
    st.st_mode = S_IFDIR | 0700;
    *ret_top = begin("", &st, names);
    st.st_mode = S_IFREG | 0600;
    st.st_size = (off_t)bytes;
    st.st_nlink = 1;
    struct item *image = begin(path, &st, names);
    image->entry.flags = SNAPSHOT_SPARSE | SNAPSHOT_FRESH;
    image->is_device = is_device;
    image->fd = take_fd(fd);
    name(*ret_top);
    name(image);
    *ret_image = image;
    return 0;
}

int
item_new(const struct scan_item *found, struct owner_names *names, struct item **ret,
         struct err *reterr)
{
    struct item *item = begin(found->path, &found->st, names);
    int r = 1;
    if (item->entry.kind == SNAPSHOT_SYMLINK)
        r = read_link(item, found, reterr);
    else if (item->entry.kind == SNAPSHOT_FILE)
        r = open_file(item, found, reterr);
    if (r <= 0) {
        item_free(item);
        return r;
    }
    name(item);
    *ret = item;
    return 1;
}

void
item_free(struct item *item)
{
    if (!item)
        return;
    cleanup_close(&item->fd);
    arena_finish(&item->arena);
    vec_foreach (&item->xattrs, x) {
        free(x->name);
        free(x->value);
    }
    vec_finish(&item->xattrs);
    vec_finish(&item->blocks);
    free(item->path);
    free(item->target);
    free(item);
}

/* ---- attributes ---- */

static int
read_xattr(struct item *item, int fd, const char *name)
{
    uint8_t value[SNAPSHOT_XATTR_MAX];
    ssize_t n = fgetxattr(fd, name, value, sizeof(value));
    if (n < 0)
        return errno == ENODATA || errno == EPERM || errno == EACCES ? 0 : -errno;
    struct save_xattr *x = vec_add(&item->xattrs);
    x->name = mem_strdup(name);
    x->value = mem_alloc((size_t)n + 1);
    x->len = (size_t)n;
    memcpy(x->value, value, (size_t)n);
    return 0;
}

static int
read_xattrs(struct item *item, int fd)
{
    char names[XATTR_LIST_MAX];
    ssize_t n = flistxattr(fd, names, sizeof(names));
    int r = 0;
    if (n < 0)
        return errno == ENOTSUP ? 0 : -errno;
    for (const char *name = names; name < names + n && r == 0; name += strlen(name) + 1)
        if (item->xattrs.count < SNAPSHOT_XATTRS_MAX)
            r = read_xattr(item, fd, name);
    return r;
}

int
item_read_xattrs(struct item *item, const struct scan_item *found, struct err *reterr)
{
    const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    if (item->fd < 0 && item->entry.kind != SNAPSHOT_DIRECTORY)
        return 0;
    _cleanup_close_ int dir = item->fd < 0 ? openat(found->dir, found->name, flags) : -1;
    if (item->fd < 0 && dir < 0)
        return errno == ENOENT || errno == ENOTDIR ? 0 : failed(found, errno, reterr);
    int r = read_xattrs(item, item->fd < 0 ? dir : item->fd);
    return r < 0 ? failed(found, -r, reterr) : 0;
}
