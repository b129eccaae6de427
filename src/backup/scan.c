#include "backup/scan.h"

#include "backup/snapshot.h"
#include "base/text.h"
#include "base/vec.h"
#include "sys/files.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

struct level {
    int dir;
    size_t path_len;    /* of the directory's path */
    struct buf names;   /* one behind the other, each with its zero */
    VEC(size_t) sorted; /* where they begin */
    size_t at;          /* the next of these */
};

struct scan {
    dev_t device;
    bool has_begun;
    struct buf path;
    int next; /* a directory that was told, and is to be entered; -1: none */
    VEC(struct level) levels;
};

/* ---- a directory ---- */

static int
by_name(const void *a, const void *b, void *names)
{
    const size_t *x = a, *y = b;
    return strcmp((const char *)names + *x, (const char *)names + *y);
}

static int
read_names(struct level *l)
{
    _cleanup_dir_ DIR *dir = file_open_dir(l->dir, ".", 0);
    if (!dir)
        return -errno;
    errno = 0;
    for (const struct dirent *e; (e = readdir(dir)); errno = 0) {
        if (text_eq(e->d_name, ".") || text_eq(e->d_name, ".."))
            continue;
        vec_push(&l->sorted, l->names.len);
        buf_add(&l->names, e->d_name, strlen(e->d_name) + 1);
        if (buf_error(&l->names) < 0)
            return -EFBIG;
    }
    if (errno != 0)
        return -errno;
    if (l->sorted.count > 1)
        qsort_r(l->sorted.items, l->sorted.count, sizeof(size_t), by_name, l->names.data);
    return 0;
}

static void
leave(struct scan *s)
{
    struct level *l = &s->levels.items[--s->levels.count];
    (void)close(l->dir);
    buf_finish(&l->names);
    vec_finish(&l->sorted);
}

/* Takes the descriptor. */
static int
enter(struct scan *s, int dir)
{
    struct level *l = vec_add(&s->levels);
    *l = (struct level){.dir = dir, .path_len = s->path.len};
    buf_init(&l->names, SCAN_NAMES_MAX);
    return read_names(l);
}

/* ---- the walk ---- */

int
scan_open(int top, struct scan **ret, struct err *reterr)
{
    struct stat st;
    int dir = openat(top, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0 || fstat(dir, &st) < 0) {
        int r = err_set_errno(reterr, errno, "cannot read the directory");
        cleanup_close(&dir);
        return r;
    }
    struct scan *s = mem_new(struct scan);
    s->device = st.st_dev;
    s->next = dir;
    buf_init(&s->path, SNAPSHOT_PATH_MAX);
    *ret = s;
    return 0;
}

void
scan_free(struct scan *s)
{
    if (!s)
        return;
    while (s->levels.count > 0)
        leave(s);
    vec_finish(&s->levels);
    cleanup_close(&s->next);
    buf_finish(&s->path);
    free(s);
}

static int
failed(const struct scan *s, int r, struct err *reterr)
{
    if (r == -EFBIG)
        return err_set(reterr, ERR_TOO_LARGE, "'%s' has more names than can be sorted",
                       s->path.data);
    return err_set_errno(reterr, -r, "cannot read '%s'", s->path.len ? s->path.data : ".");
}

static int
tell_top(struct scan *s, struct scan_item *ret, struct err *reterr)
{
    s->has_begun = true;
    *ret = (struct scan_item){.path = "", .dir = s->next, .name = "."};
    return fstat(s->next, &ret->st) < 0 ? failed(s, -errno, reterr) : 1;
}

/* Of the same file system: what is mounted inside is told as the directory that it is mounted on. */
static int
open_below(struct scan *s, const struct scan_item *item, struct err *reterr)
{
    if (!S_ISDIR(item->st.st_mode) || item->is_mount)
        return 0;
    if (s->levels.count == SCAN_DEPTH_MAX)
        return err_set(reterr, ERR_TOO_LARGE, "'%s' is deeper than %d directories", s->path.data,
                       SCAN_DEPTH_MAX);
    s->next = openat(item->dir, item->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return s->next < 0 && errno != ENOENT && errno != ENOTDIR ? failed(s, -errno, reterr) : 0;
}

/* 0: it has gone since its directory was read. */
static int
tell(struct scan *s, struct level *l, const char *name, struct scan_item *ret, struct err *reterr)
{
    buf_truncate(&s->path, l->path_len);
    if (s->path.len > 0)
        buf_add_char(&s->path, '/');
    buf_add_str(&s->path, name);
    if (buf_error(&s->path) < 0)
        return err_set(reterr, ERR_TOO_LARGE, "a path in '%s' is longer than %d bytes",
                       s->path.data, SNAPSHOT_PATH_MAX);
    *ret = (struct scan_item){.path = s->path.data, .dir = l->dir, .name = name};
    if (fstatat(l->dir, name, &ret->st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : failed(s, -errno, reterr);
    ret->is_mount = S_ISDIR(ret->st.st_mode) && ret->st.st_dev != s->device;
    int r = open_below(s, ret, reterr);
    return r < 0 ? r : 1;
}

int
scan_next(struct scan *s, struct scan_item *ret, struct err *reterr)
{
    if (!s->has_begun)
        return tell_top(s, ret, reterr);
    if (s->next >= 0) {
        int r = enter(s, take_fd(&s->next));
        if (r < 0)
            return failed(s, r, reterr);
    }
    while (s->levels.count > 0) {
        struct level *l = &s->levels.items[s->levels.count - 1];
        if (l->at == l->sorted.count) {
            leave(s);
            continue;
        }
        int r = tell(s, l, l->names.data + l->sorted.items[l->at++], ret, reterr);
        if (r != 0)
            return r;
    }
    return 0;
}
