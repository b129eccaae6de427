/* A repository in a directory of this machine. Everything is below one descriptor, from the mount point
 * on: a disk that is unmounted meanwhile keeps what is written, and the one around it gets nothing. */

#include "backup/repository_int.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/vec.h"
#include "sys/fault.h"
#include "sys/files.h"
#include "sys/mounts.h"
#include "sys/root.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define DIRECTORY_MODE 0700
#define FILE_MODE 0600
#define OBJECTS_MAX 4000000 /* of an area: 512 TiB of packs */

/* ---- where it is ---- */

static int
not_mounted(struct err *reterr, const char *mount)
{
    int r = err_set(reterr, ERR_STORAGE_NOT_MOUNTED,
                    "nothing is mounted at %s, where the repository is to be", mount);
    err_fix(reterr, "mount %s; or set storage.require_mounts to false", mount);
    return r;
}

/* A descriptor of the mount point, or of "/". */
static int
open_top(const char *mount, struct err *reterr)
{
    _cleanup_mounts_ struct mounts mounts = {0};
    _cleanup_close_ int fd = open(mount ? mount : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 && mount)
        return not_mounted(reterr, mount);
    if (fd < 0)
        return err_set_errno(reterr, errno, "cannot read /");
    int r = mount ? mounts_read(&mounts, reterr) : 0;
    if (r < 0)
        return r;
    if (mount && !mounts_find_open(&mounts, fd))
        return not_mounted(reterr, mount);
    return take_fd(&fd);
}

/* The next directory of a path, made when it is not there; closes the one it is in. */
static int
enter(int dir, const char *name, bool make)
{
    _cleanup_close_ int above = dir;
    int r = 0;
    if (make) {
        r = root_holds(above);
        if (r == 0)
            r = fault_mkdir(above, name, DIRECTORY_MODE);
        if (r == 0)
            r = fault_sync(above);
    }
    if (r < 0 && r != -EEXIST)
        return r;
    int fd = openat(above, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static int
open_path(const struct repository_wish *wish, struct err *reterr)
{
    const char *below = wish->where + (wish->mount ? strlen(wish->mount) : 0);
    _cleanup_free_ char *path = mem_strdup(below);
    char *rest = path;
    int dir = open_top(wish->mount, reterr);
    if (dir < 0)
        return dir;
    for (char *name; dir >= 0 && (name = strsep(&rest, "/"));) {
        struct stat st;
        if (!name[0])
            continue;
        bool make = wish->make && fstatat(dir, name, &st, 0) < 0 && errno == ENOENT;
        dir = enter(dir, name, make);
    }
    return dir < 0 && dir != -ENOENT
               ? root_err(reterr, dir, "cannot open the directory '%s'", wish->where)
               : dir;
}

/* ---- making and opening ---- */

static int
write_beside(int dir, const char *name, const void *bytes, size_t len, struct err *reterr)
{
    char path[96];
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", dir, name);
    return file_write(path, bytes, len, FILE_MODE, reterr);
}

static int
write_file(int dir, bool is_encrypted, struct err *reterr)
{
    struct repository_about about;
    _cleanup_buf_ struct buf text = BUF_INIT(REPOSITORY_FILE_BYTES);
    int r = repository_print(is_encrypted, &text, &about, reterr);
    return r < 0 ? r : write_beside(dir, REPOSITORY_FILE, text.data, text.len, reterr);
}

/* Of one whose making broke off: they open nothing. */
static int
clear_keys(int keys)
{
    _cleanup_dir_ DIR *dir = file_open_dir(keys, ".", 0);
    int r = 0;
    for (const struct dirent *e; dir && r == 0 && (e = readdir(dir));)
        if (object_is_name(e->d_name))
            r = fault_unlink(keys, e->d_name, false);
    return dir ? r : -errno;
}

static int
write_keys(int dir, const struct repository_wish *wish, struct err *reterr)
{
    const int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW;
    const char *area = repository_area_name(REPOSITORY_KEYS);
    _cleanup_close_ int keys = openat(dir, area, flags);
    int r = keys < 0 ? -errno : clear_keys(keys);
    if (r < 0)
        return err_set_errno(reterr, -r, "cannot make %s of the repository", area);
    const struct object_place place = {.dir = keys};
    for (size_t i = 0; i < wish->keys_count && r == 0; i++)
        r = repository_write_key(&place, &wish->keys[i], reterr);
    return r;
}

/* Areas and keys first: what has the file is whole. */
static int
make(int dir, const struct repository_wish *wish, struct err *reterr)
{
    const char *where = wish->where;
    struct stat st;
    if (fstatat(dir, REPOSITORY_FILE, &st, AT_SYMLINK_NOFOLLOW) == 0)
        return repository_is_there(where, reterr);
    int r = root_holds(dir);
    for (enum repository_area i = 0; i < REPOSITORY_AREAS && r == 0; i++) {
        r = fault_mkdir(dir, repository_area_name(i), DIRECTORY_MODE);
        r = r == -EEXIST ? 0 : r;
    }
    if (r == 0)
        r = fault_sync(dir);
    if (r < 0)
        return root_err(reterr, r, "cannot make a repository in %s", where);
    r = write_keys(dir, wish, reterr);
    return r < 0 ? r : write_file(dir, wish->keys_count > 0, reterr);
}

static int
read_file(int dir, const char *where, struct repository_about *ret, struct err *reterr)
{
    _cleanup_buf_ struct buf text = BUF_INIT(REPOSITORY_FILE_BYTES);
    const int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY;
    _cleanup_close_ int fd = dir < 0 ? -1 : openat(dir, REPOSITORY_FILE, flags);
    if (dir < 0 || (fd < 0 && errno == ENOENT))
        return repository_none(where, reterr);
    int r = fd < 0 ? -errno : file_read_fd(fd, &text);
    if (r < 0)
        return err_set_errno(reterr, -r, "cannot read %s/" REPOSITORY_FILE, where);
    r = repository_parse(text.data, text.len, ret, reterr);
    if (r < 0)
        err_prefix(reterr, "%s", where);
    return r;
}

/* Those that came with a later release are made where an older one has none, if that is possible. */
static int
open_area(int dir, enum repository_area area)
{
    const int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW;
    const char *name = repository_area_name(area);
    int fd = openat(dir, name, flags);
    if (fd >= 0 || errno != ENOENT || area < REPOSITORY_KEYS)
        return fd < 0 ? -errno : fd;
    if (root_holds(dir) < 0 || fault_mkdir(dir, name, DIRECTORY_MODE) < 0)
        return -1;
    return openat(dir, name, flags);
}

static int
open_areas(struct repository *r, int dir, struct err *reterr)
{
    for (enum repository_area i = 0; i < REPOSITORY_AREAS; i++) {
        r->areas[i] = open_area(dir, i);
        if (r->areas[i] < 0 && i < REPOSITORY_KEYS)
            return err_set_errno(reterr, -r->areas[i], "cannot open %s of the repository %s",
                                 repository_area_name(i), r->where);
        r->areas[i] = MAX(r->areas[i], -1);
    }
    return 0;
}

static int
directory_open(struct repository *r, const struct repository_wish *wish, struct err *reterr)
{
    struct repository_about about = {0};
    _cleanup_close_ int dir = open_path(wish, reterr);
    if (dir < 0 && dir != -ENOENT)
        return dir;
    int k = wish->make ? make(dir, wish, reterr) : 0;
    if (k == 0)
        k = read_file(dir, r->where, &about, reterr);
    memcpy(r->id, about.id, sizeof(r->id));
    r->is_encrypted = about.is_encrypted;
    return k < 0 ? k : open_areas(r, dir, reterr);
}

/* ---- objects ---- */

struct digest {
    uint8_t bytes[HASH_SHA256_BYTES];
};

static int
directory_list(struct repository *r, enum repository_area area, struct repository_names *ret,
               struct err *reterr)
{
    VEC(struct digest) names = {0};
    *ret = (struct repository_names){0};
    if (r->areas[area] < 0)
        return 0;
    _cleanup_dir_ DIR *dir = file_open_dir(r->areas[area], ".", 0);
    errno = dir ? 0 : errno;
    for (const struct dirent *e; dir && names.count < OBJECTS_MAX && (e = readdir(dir)); errno = 0)
        if (object_is_name(e->d_name))
            object_digest(e->d_name, vec_add(&names)->bytes);
    if (errno != 0) {
        int k = err_set_errno(reterr, errno, "cannot list %s of the repository %s",
                              repository_area_name(area), r->where);
        vec_finish(&names);
        return k;
    }
    if (names.count == OBJECTS_MAX) {
        vec_finish(&names);
        return err_set(reterr, ERR_TOO_LARGE, "%s of the repository %s has %d files and more",
                       repository_area_name(area), r->where, OBJECTS_MAX);
    }
    *ret = (struct repository_names){(void *)names.items, names.count};
    return 0;
}

static int
cannot(int k, const char *doing, enum repository_area area, const char *name, struct err *reterr)
{
    return k < 0 ? err_set_errno(reterr, -k, "cannot %s %s/%s of the repository", doing,
                                 repository_area_name(area), name)
                 : k;
}

static int
open_object(const struct repository *r, enum repository_area area, const char *name)
{
    struct stat st;
    const int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY;
    if (r->areas[area] < 0)
        return -ENOENT;
    _cleanup_close_ int fd = openat(r->areas[area], name, flags);
    if (fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    return S_ISREG(st.st_mode) ? take_fd(&fd) : -EINVAL;
}

static int
directory_get(const struct repository *r, enum repository_area area, const char *name,
              struct err *reterr)
{
    return cannot(open_object(r, area, name), "read", area, name, reterr);
}

/* From a descriptor on: a disk that is unmounted meanwhile keeps it. */
static int
directory_write(struct repository *r, const char *name, const void *bytes, size_t len,
                struct err *reterr)
{
    const int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
    _cleanup_close_ int dir = openat(r->areas[REPOSITORY_SNAPSHOTS], "..", flags);
    if (dir < 0)
        return err_set_errno(reterr, errno, "cannot open the repository %s", r->where);
    return write_beside(dir, name, bytes, len, reterr);
}

static int
directory_remove(const struct repository *r, enum repository_area area, const char *name,
                 struct err *reterr)
{
    int k = r->areas[area] < 0 ? -ENOENT : fault_unlink(r->areas[area], name, false);
    if (k == 0)
        k = fault_sync(r->areas[area]);
    return cannot(k, "remove", area, name, reterr);
}

/* The clock is that of the file system: of a server, where it is one of the network. */
static int
directory_touch(const struct repository *r, enum repository_area area, const char *name,
                struct err *reterr)
{
    int k = fault_point("utimensat");
    if (k == 0 && utimensat(r->areas[area], name, NULL, AT_SYMLINK_NOFOLLOW) < 0)
        k = -errno;
    return cannot(k, "touch", area, name, reterr);
}

static int
directory_changed(const struct repository *r, enum repository_area area, const char *name,
                  uint64_t *ret_us, struct err *reterr)
{
    struct stat st;
    if (fstatat(r->areas[area], name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return cannot(-errno, "look at", area, name, reterr);
    *ret_us = (uint64_t)st.st_mtim.tv_sec * 1000000 + (uint64_t)st.st_mtim.tv_nsec / 1000;
    return 0;
}

static int
directory_find_room(const struct repository *r, uint64_t *ret_bytes, struct err *reterr)
{
    struct statvfs st;
    if (fstatvfs(r->areas[REPOSITORY_PACKS], &st) < 0)
        return err_set_errno(reterr, errno, "cannot tell what room the repository %s has",
                             r->where);
    *ret_bytes = (uint64_t)st.f_bavail * st.f_frsize;
    return 0;
}

const struct repository_kind repository_directory = {
    .scheme = "/",
    .open = directory_open,
    .list = directory_list,
    .get = directory_get,
    .write = directory_write,
    .remove = directory_remove,
    .touch = directory_touch,
    .changed = directory_changed,
    .find_room = directory_find_room,
};
