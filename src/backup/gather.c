#include "backup/gather.h"

#include "backup/scan.h"
#include "base/buf.h"
#include "base/quantity.h"
#include "base/text.h"
#include "sys/clock.h"
#include "sys/files.h"
#include "sys/root.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define LEFT_OUT_MAX 1000
#define PIECE_BYTES ((size_t)(1 * MIB))
#define FRESH_US \
    UINT64_C(2000000) /* some file systems know whole seconds only, and every second one */

/* ---- beginning and end ---- */

int
gather_begin(struct gather *g, const char *dir, uint64_t bytes_max, struct err *reterr)
{
    *g = (struct gather){.lock = -1, .bytes_max = bytes_max};
    hash_sha256_init(&g->seen);
    if (!dir)
        return 0;
    _cleanup_free_ char *lock = mem_printf("%s.lock", dir);
    _cleanup_free_ char *above = mem_strndup(dir, (size_t)(strrchr(dir, '/') - dir));
    int r = file_make_dirs(above, 0755, reterr);
    if (r < 0)
        return r;
    g->lock = file_open(lock, O_RDWR | O_CREAT, 0600);
    if (g->lock < 0)
        return root_err(reterr, g->lock, "'%s'", lock);
    if (file_lock(g->lock, 0) < 0) {
        r = err_set(reterr, ERR_REPOSITORY_BUSY, "somebody else is gathering in '%s'", dir);
        err_fix(reterr, "wait until that has ended");
        return r;
    }
    g->dir = mem_strdup(dir);
    r = file_remove_tree(dir, reterr);
    return r < 0 ? r : file_make_dirs(dir, 0700, reterr);
}

void
gather_end(struct gather *g)
{
    if (g->dir)
        (void)!file_remove_tree(g->dir, NULL);
    free(g->dir);
    cleanup_close(&g->lock);
    vec_foreach (&g->left_out, path)
        free(*path);
    vec_finish(&g->left_out);
    *g = (struct gather){.lock = -1};
}

/* ---- what was looked at ---- */

/* Of a directory the names matter, which are looked at themselves, and not when one came or went. */
static void
look(struct gather *g, const char *path, const struct stat *st)
{
    char text[256];
    int n =
        snprintf(text, sizeof(text), "%x %u:%u\n", (unsigned)st->st_mode, st->st_uid, st->st_gid);
    hash_sha256_update(&g->seen, path, strlen(path) + 1);
    hash_sha256_update(&g->seen, text, (size_t)n);
    if (S_ISDIR(st->st_mode))
        return;
    n = snprintf(text, sizeof(text), "%lld %lld.%09ld %lld.%09ld %llu\n", (long long)st->st_size,
                 (long long)st->st_mtim.tv_sec, st->st_mtim.tv_nsec, (long long)st->st_ctim.tv_sec,
                 st->st_ctim.tv_nsec, (unsigned long long)st->st_ino);
    hash_sha256_update(&g->seen, text, (size_t)n);
    g->is_fresh |= (uint64_t)MAX(st->st_ctim.tv_sec, 0) * 1000000 + FRESH_US > clock_wall_us();
}

void
gather_look(struct gather *g, const char *path)
{
    struct stat st;
    if (lstat(path, &st) == 0)
        look(g, path, &st);
}

void
gather_digest(const struct gather *g, char ret_text[HASH_SHA256_HEX])
{
    struct hash_sha256 seen = g->seen;
    uint8_t digest[HASH_SHA256_BYTES];
    const char *because = g->secrets_because ? g->secrets_because : "";
    hash_sha256_update(&seen, because, strlen(because) + 1);
    hash_sha256_final(&seen, digest);
    hash_sha256_hex(digest, ret_text);
    if (g->is_fresh)
        ret_text[0] = '\0';
}

/* ---- room ---- */

static int
take_room(struct gather *g, uint64_t bytes, const char *path, struct err *reterr)
{
    quantity_text most;
    if (bytes <= g->bytes_max - g->bytes) {
        g->bytes += bytes;
        return 0;
    }
    int r = err_set(reterr, ERR_TOO_LARGE, "with '%s' it is more than the %s that are saved so",
                    path, quantity_show_bytes(g->bytes_max, most));
    err_fix(reterr, "see what is so large there, and move it elsewhere");
    return r;
}

bool
gather_takes_secret(struct gather *g, const char *path)
{
    bool is_new = g->secrets_because && g->left_out.count < LEFT_OUT_MAX;
    vec_foreach (&g->left_out, was)
        is_new = is_new && !text_eq(*was, root_strip(path));
    if (is_new)
        vec_push(&g->left_out, mem_strdup(root_strip(path)));
    return !g->secrets_because;
}

int
gather_place(struct gather *g, const char *name, char **ret_path, struct err *reterr)
{
    *ret_path = NULL;
    if (!g->dir)
        return 0;
    char *path = mem_printf("%s/%s", g->dir, name);
    char *slash = strrchr(path, '/');
    *slash = '\0';
    int r = file_make_dirs(path, 0700, reterr);
    *slash = '/';
    if (r < 0)
        free(path);
    else
        *ret_path = path;
    return r;
}

/* ---- copies ---- */

/* Who is not root cannot give it away; the snapshot has whose it was then, and no more. */
static int
dress(int fd, const struct stat *st)
{
    const struct timespec times[2] = {st->st_atim, st->st_mtim};
    (void)!fchown(fd, st->st_uid, st->st_gid);
    return fchmod(fd, st->st_mode & 07777) < 0 || futimens(fd, times) < 0 ? -errno : 0;
}

static int
write_all(int fd, const uint8_t *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, bytes, len);
        if (n < 0 && errno != EINTR)
            return -errno;
        bytes += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
    return 0;
}

static int
copy_bytes(struct gather *g, int from, int to, const char *path, struct err *reterr)
{
    _cleanup_free_ uint8_t *piece = mem_alloc(PIECE_BYTES);
    int r = 0;
    for (ssize_t n; r == 0 && (n = read(from, piece, PIECE_BYTES)) != 0;) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set_errno(reterr, errno, "cannot read '%s'", path);
        r = take_room(g, (uint64_t)n, path, reterr);
        if (r == 0 && (r = write_all(to, piece, (size_t)n)) < 0)
            r = err_set_errno(reterr, -r, "cannot copy '%s' into '%s'", path, g->dir);
    }
    return r;
}

/* A link or a pipe may have come in its place since it was looked at. */
static int
copy_file(struct gather *g, int dir, const char *name, const char *path, const char *to,
          struct err *reterr)
{
    struct stat st;
    _cleanup_close_ int from =
        openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (from < 0)
        return errno == ENOENT || errno == ELOOP
                   ? 0
                   : err_set_errno(reterr, errno, "cannot read '%s'", path);
    if (fstat(from, &st) < 0 || !S_ISREG(st.st_mode))
        return 0;
    _cleanup_close_ int fd = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno == EEXIST ? 0
                               : err_set_errno(reterr, errno, "'%s'", to); /* gathered already */
    int r = copy_bytes(g, from, fd, path, reterr);
    if (r == 0 && (r = dress(fd, &st)) < 0)
        r = err_set_errno(reterr, -r, "'%s'", to);
    return r;
}

static int
copy_link(int dir, const char *name, const char *path, const char *to, struct err *reterr)
{
    char target[PATH_MAX];
    ssize_t n = readlinkat(dir, name, target, sizeof(target) - 1);
    if (n < 0)
        return errno == ENOENT || errno == EINVAL
                   ? 0
                   : err_set_errno(reterr, errno, "cannot read '%s'", path);
    target[n] = '\0';
    return symlink(target, to) < 0 && errno != EEXIST ? err_set_errno(reterr, errno, "'%s'", to)
                                                      : 0;
}

static int
copy_dir(const struct stat *st, const char *to, struct err *reterr)
{
    if (mkdir(to, 0700) < 0 && errno != EEXIST)
        return err_set_errno(reterr, errno, "'%s'", to);
    (void)!chown(to, st->st_uid, st->st_gid);
    return chmod(to, (st->st_mode & 07777) | 0700) < 0 ? err_set_errno(reterr, errno, "'%s'", to)
                                                       : 0;
}

/* One thing, which is in a directory by a name, and on this machine at a path. */
static int
take(struct gather *g, int dir, const char *name, const struct stat *st, const char *path,
     enum gather_kind kind, struct err *reterr)
{
    const bool closed = kind == GATHER_SECRET || (kind == GATHER_OPEN && !(st->st_mode & S_IROTH));
    char *to;
    if (S_ISREG(st->st_mode) && closed && !gather_takes_secret(g, path))
        return 0;
    look(g, path, st);
    int r = gather_place(g, root_strip(path) + 1, &to, reterr);
    if (r < 0 || !to)
        return r;
    if (S_ISDIR(st->st_mode))
        r = copy_dir(st, to, reterr);
    else if (S_ISLNK(st->st_mode))
        r = copy_link(dir, name, path, to, reterr);
    else if (S_ISREG(st->st_mode))
        r = copy_file(g, dir, name, path, to, reterr);
    free(to);
    return r;
}

static int
take_tree(struct gather *g, int top, const char *path, enum gather_kind kind, struct err *reterr)
{
    struct scan *scan = NULL;
    struct scan_item found;
    int r = scan_open(top, &scan, reterr);
    while (r >= 0 && (r = scan_next(scan, &found, reterr)) > 0) {
        _cleanup_free_ char *at = mem_printf("%s%s%s", path, found.path[0] ? "/" : "", found.path);
        r = take(g, found.dir, found.name, &found.st, at, kind, reterr);
    }
    scan_free(scan);
    if (r < 0)
        err_prefix(reterr, "%s", path);
    return r;
}

int
gather_path(struct gather *g, const char *path, enum gather_kind kind, struct err *reterr)
{
    struct stat st;
    if (lstat(path, &st) < 0)
        return errno == ENOENT || errno == ENOTDIR
                   ? 0
                   : err_set_errno(reterr, errno, "cannot look at '%s'", path);
    if (!S_ISDIR(st.st_mode))
        return take(g, AT_FDCWD, path, &st, path, kind, reterr);
    _cleanup_close_ int top = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (top < 0)
        return err_set_errno(reterr, errno, "cannot read '%s'", path);
    return take_tree(g, top, path, kind, reterr);
}

int
gather_text(struct gather *g, const char *name, const void *bytes, size_t len, mode_t mode,
            struct err *reterr)
{
    char *to;
    int r = take_room(g, len, name, reterr);
    if (r == 0)
        r = gather_place(g, name, &to, reterr);
    if (r < 0 || !to)
        return r;
    _cleanup_close_ int fd = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    r = fd < 0 ? -errno : write_all(fd, bytes, len);
    if (r == 0 && fchmod(fd, mode) < 0)
        r = -errno;
    if (r < 0)
        r = err_set_errno(reterr, -r, "'%s'", to);
    free(to);
    return r;
}
