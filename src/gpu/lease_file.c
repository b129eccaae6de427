/* {
 *   "holder": "chat", "pid": 4711, "since": 1764000000000000,
 *   "gpus": [{"uuid": "GPU-...", "bytes": 42949672960, "total": 85520809984, "exclusive": false}]
 * }
 *
 * Members that are not known are passed over: a later release may add some. */

#include "gpu/lease_int.h"

#include "fmt/json.h"
#include "sys/files.h"
#include "sys/root.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void
lease_print(const struct gpu_lease *lease, struct buf *out)
{
    struct json_writer w;
    json_init(&w, out, true);
    json_open_map(&w, NULL);
    json_str(&w, "holder", lease->holder.name);
    json_u64(&w, "pid", lease->holder.pid);
    json_u64(&w, "since", lease->holder.since_us);
    json_open_list(&w, "gpus");
    for (size_t i = 0; i < lease->part_count; i++) {
        const struct gpu_lease_part *part = &lease->parts[i];
        json_open_map(&w, NULL);
        json_str(&w, "uuid", part->uuid);
        json_u64(&w, "bytes", part->bytes);
        json_u64(&w, "total", part->total_bytes);
        json_bool(&w, "exclusive", part->exclusive);
        json_close_map(&w);
    }
    json_close_list(&w);
    json_close_map(&w);
    buf_add_char(out, '\n');
}

static bool
is_uuid(const char *text)
{
    size_t len = 0;
    for (; text[len]; len++)
        if (!isalnum((unsigned char)text[len]) && text[len] != '-')
            return false;
    return len >= 1 && len <= GPU_UUID_MAX;
}

static bool
read_part(const struct value *v, struct gpu_lease_part *part)
{
    const char *uuid = value_str(value_get(v, "uuid"));
    if (!uuid || !is_uuid(uuid) || !value_u64(value_get(v, "bytes"), &part->bytes) ||
        !value_u64(value_get(v, "total"), &part->total_bytes) ||
        !value_bool(value_get(v, "exclusive"), &part->exclusive))
        return false;
    (void)snprintf(part->uuid, sizeof(part->uuid), "%s", uuid);
    return part->bytes <= part->total_bytes;
}

static bool
read_lease(const struct value *tree, struct gpu_lease *lease)
{
    const char *name = value_str(value_get(tree, "holder"));
    const struct value *gpus = value_get(tree, "gpus");
    uint64_t pid;
    if (!name || !text_is_name(name) || !gpus || gpus->type != VALUE_LIST ||
        gpus->count > GPU_LEASE_PARTS_MAX || !value_u64(value_get(tree, "pid"), &pid) ||
        pid > INT32_MAX || !value_u64(value_get(tree, "since"), &lease->holder.since_us))
        return false;
    lease->holder.pid = (unsigned)pid;
    (void)snprintf(lease->holder.name, sizeof(lease->holder.name), "%s", name);
    for (const struct value *v = gpus->first; v; v = v->next)
        if (!read_part(v, &lease->parts[lease->part_count++]))
            return false;
    return true;
}

int
lease_parse(const char *text, size_t len, struct gpu_lease *ret_lease, struct err *reterr)
{
    _cleanup_arena_ struct arena arena;
    struct gpu_lease lease = {.fd = -1, .dir = -1};
    struct value *tree;
    arena_init(&arena, 16 * LEASE_FILE_MAX);
    int r = json_parse(&arena, text, len, JSON_STRICT, &tree, NULL, reterr);
    if (r < 0)
        return r;
    if (!read_lease(tree, &lease))
        return err_set(reterr, ERR_GPU_LEASE_FILE, "not a lease");
    *ret_lease = lease;
    return 0;
}

/* What root makes belongs to the owner of the directory it is in, whose services use it too. */
static int
hand_over(int fd, int above)
{
    struct stat st;
    if (geteuid() != 0)
        return 0;
    return fstat(above, &st) < 0 || fchown(fd, st.st_uid, st.st_gid) < 0 ? -errno : 0;
}

static int
make_dir(const char *path)
{
    const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    struct file_place place;
    int r = file_place_open(path, &place);
    if (r < 0)
        return r;
    _cleanup_close_ int above = place.dir;
    if (mkdirat(above, place.name, 0755) < 0)
        return errno == EEXIST ? 0 : -errno;
    _cleanup_close_ int dir = openat(above, place.name, flags);
    if (dir < 0 || fchmod(dir, 0755) < 0) /* whatever the umask */
        return -errno;
    return hand_over(dir, above);
}

int
lease_dir_open(const char *path, bool make, int *ret_dir, struct err *reterr)
{
    struct stat st;
    int r = make ? make_dir(path) : 0;
    if (r < 0)
        return root_err(reterr, r, "%s", path);
    _cleanup_close_ int dir = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (dir < 0 || fstat(dir, &st) < 0)
        return err_set_errno(reterr, errno, "%s", path);
    r = root_holds(dir);
    if (r < 0)
        return root_err(reterr, r, "%s", path);
    if (st.st_mode & (S_IWGRP | S_IWOTH)) {
        r = err_set(reterr, ERR_GPU_LEASE_FILE, "%s can be written by others: its mode is %03o",
                    path, st.st_mode & 0777);
        err_fix(reterr, "chmod 755 %s", path);
        return r;
    }
    *ret_dir = take_fd(&dir);
    return 0;
}

static int
write_all(int fd, const struct gpu_lease *lease)
{
    _cleanup_buf_ struct buf text = BUF_INIT(LEASE_FILE_MAX);
    lease_print(lease, &text);
    if (buf_error(&text) < 0)
        return -EMSGSIZE;
    ssize_t n = write(fd, text.data, text.len);
    if (n < 0)
        return -errno;
    return (size_t)n == text.len ? 0 : -ENOSPC;
}

int
lease_file_put(int dir, const char *name, const struct gpu_lease *lease, int *ret_fd)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char draft[TEXT_NAME_MAX + 16];
    (void)snprintf(draft, sizeof(draft), ".%s" LEASE_DRAFT_SUFFIX, name);
    (void)unlinkat(dir, draft, 0); /* of one that died here; nobody else is at it now */
    _cleanup_close_ int fd = openat(dir, draft, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    int r = fcntl(fd, F_OFD_SETLK, &lock) < 0 ? -errno : write_all(fd, lease);
    if (r == 0)
        r = hand_over(fd, dir);
    if (r == 0 && (fchmod(fd, 0644) < 0 || renameat(dir, draft, dir, name) < 0))
        r = -errno;
    if (r < 0) {
        (void)unlinkat(dir, draft, 0);
        return r;
    }
    *ret_fd = take_fd(&fd);
    return 0;
}

/* Whether a holder lives: asked as a reader would, so that only those who may write the file count,
 * and nobody can keep a dead one alive by looking at it. */
static bool
is_locked(int fd)
{
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
    return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

int
lease_file_read(int dir, const char *name, struct gpu_lease *ret_lease)
{
    char text[LEASE_FILE_MAX];
    struct stat st;
    _cleanup_close_ int fd =
        openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : -errno;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return -EBADMSG;
    if (!is_locked(fd))
        return 0;
    ssize_t len = read(fd, text, sizeof(text));
    if (len < 0)
        return -errno;
    if (len == sizeof(text))
        return -EBADMSG;
    int r = lease_parse(text, (size_t)len, ret_lease, NULL);
    return r < 0 ? r : 1;
}
