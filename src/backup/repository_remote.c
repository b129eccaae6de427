/* A repository on another host. What it holds is there alone; on this machine, in a directory of
 * its id, are drafts, and copies of what is small and asked for often: index, snapshots, marks,
 * keys. They are named as there, and never change, so that a copy is as good as what it was made
 * of; but for those who look whether that is still whole (forget()). What does not fit its name is
 * never kept. Packs are read in parts, or brought here for as long as somebody reads all of one. */

#include "backup/remote.h"
#include "backup/repository_int.h"
#include "backup/window.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/vec.h"
#include "sys/fault.h"
#include "sys/files.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define DIRECTORY_MODE 0700
#define OBJECTS_MAX 4000000                  /* of an area: 512 TiB of packs */
#define FILE_BYTES_MAX ((uint64_t)INT64_MAX) /* of what a stranger tells: so that sums stay sums */
#define COPIES_BYTES_MAX (4 * GIB)           /* then all go, and come again as they are needed */
#define SNAPSHOT_COPIED_BYTES (2 * MIB)      /* a larger one is not brought here for its ends */

/* How long a file is, as was told with its name, or asked for. */
struct known_size {
    char key[REMOTE_KEY_MAX];
    uint64_t bytes;
};

struct elsewhere {
    const struct remote_kind *kind;
    void *there;
    struct windows *windows;
    pthread_mutex_t lock; /* of the rest */
    pthread_cond_t ended;
    unsigned transfers;
    struct map size_by_key;
    VEC(struct known_size *) sizes;
    uint64_t copied_bytes;
};

static void
name_key(enum repository_area area, const char *name, char ret[REMOTE_KEY_MAX])
{
    (void)snprintf(ret, REMOTE_KEY_MAX, "%s/%s", repository_area_name(area), name);
}

/* ---- transfers, so many at a time ---- */

static void
begin_transfer(struct elsewhere *e)
{
    (void)pthread_mutex_lock(&e->lock);
    while (e->transfers == e->kind->transfers)
        (void)pthread_cond_wait(&e->ended, &e->lock);
    e->transfers++;
    (void)pthread_mutex_unlock(&e->lock);
}

static int
end_transfer(struct elsewhere *e, int r)
{
    (void)pthread_mutex_lock(&e->lock);
    e->transfers--;
    (void)pthread_cond_signal(&e->ended);
    (void)pthread_mutex_unlock(&e->lock);
    return r;
}

static int
read_there(void *arg, const char *key, uint64_t at, void *ret_bytes, size_t len, struct err *reterr)
{
    struct elsewhere *e = arg;
    begin_transfer(e);
    return end_transfer(e, e->kind->read(e->there, key, at, ret_bytes, len, reterr));
}

static int
store_there(struct elsewhere *e, int from, const char *key, struct err *reterr)
{
    begin_transfer(e);
    return end_transfer(e, e->kind->store(e->there, from, key, reterr));
}

/* ---- sizes ---- */

static void
remember_size(struct elsewhere *e, const char *key, uint64_t bytes)
{
    (void)pthread_mutex_lock(&e->lock);
    struct known_size *known = map_get(&e->size_by_key, key);
    if (!known) {
        known = mem_new(struct known_size);
        (void)snprintf(known->key, sizeof(known->key), "%s", key);
        vec_push(&e->sizes, known);
        (void)map_add(&e->size_by_key, known->key, known);
    }
    known->bytes = MIN(bytes, FILE_BYTES_MAX);
    (void)pthread_mutex_unlock(&e->lock);
}

static int
find_size(struct elsewhere *e, const char *key, uint64_t *ret_bytes, struct err *reterr)
{
    (void)pthread_mutex_lock(&e->lock);
    const struct known_size *known = map_get(&e->size_by_key, key);
    if (known)
        *ret_bytes = known->bytes;
    (void)pthread_mutex_unlock(&e->lock);
    if (known)
        return 0;
    int r = e->kind->size(e->there, key, ret_bytes, reterr);
    if (r < 0)
        return r;
    *ret_bytes = MIN(*ret_bytes, FILE_BYTES_MAX);
    remember_size(e, key, *ret_bytes);
    return 0;
}

/* ---- copies ---- */

/* All that an area has a copy of, but those in `but`, which are sorted. */
static void
drop_copies(struct repository *r, enum repository_area area, const struct repository_names *but)
{
    _cleanup_dir_ DIR *dir = file_open_dir(r->areas[area], ".", 0);
    for (const struct dirent *e; dir && (e = readdir(dir));) {
        uint8_t digest[HASH_SHA256_BYTES];
        if (!object_is_name(e->d_name))
            continue;
        object_digest(e->d_name, digest);
        if (!repository_names_have(but, digest))
            (void)!fault_unlink(r->areas[area], e->d_name, false);
    }
}

static uint64_t
measure_copies(const struct repository *r)
{
    uint64_t bytes = 0;
    for (enum repository_area i = 0; i < REPOSITORY_AREAS; i++) {
        struct stat st;
        _cleanup_dir_ DIR *dir =
            repository_is_copied(i) ? file_open_dir(r->areas[i], ".", 0) : NULL;
        for (const struct dirent *e; dir && (e = readdir(dir));)
            if (object_is_name(e->d_name) && fstatat(r->areas[i], e->d_name, &st, 0) == 0)
                bytes += (uint64_t)st.st_size;
    }
    return bytes;
}

static void
remote_forget(struct repository *r)
{
    static const struct repository_names none;
    for (enum repository_area i = 0; i < REPOSITORY_AREAS; i++)
        if (repository_is_copied(i))
            drop_copies(r, i, &none);
    windows_drop(r->elsewhere->windows, NULL);
    (void)pthread_mutex_lock(&r->elsewhere->lock);
    r->elsewhere->copied_bytes = 0;
    (void)pthread_mutex_unlock(&r->elsewhere->lock);
}

/* Makes room for one more. */
static void
count_copy(struct repository *r, int fd)
{
    struct stat st;
    struct elsewhere *e = r->elsewhere;
    uint64_t more = fstat(fd, &st) == 0 ? (uint64_t)st.st_size : 0;
    (void)pthread_mutex_lock(&e->lock);
    bool full = e->copied_bytes + more > COPIES_BYTES_MAX;
    e->copied_bytes += more;
    (void)pthread_mutex_unlock(&e->lock);
    if (full)
        remote_forget(r);
}

static bool
has_copy(const struct repository *r, enum repository_area area, const char *name)
{
    struct stat st;
    return repository_is_copied(area) &&
           fstatat(r->areas[area], name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static bool
fits(int fd, const char *name)
{
    uint8_t digest[HASH_SHA256_BYTES];
    char found[HASH_SHA256_HEX];
    if (repository_hash_fd(fd, digest) < 0)
        return false;
    hash_sha256_hex(digest, found);
    return strcmp(found, name) == 0;
}

/* As a file of this machine, which stays if it is to be kept. Its draft is none of a snapshot that
 * somebody makes. */
static int
fetch(struct repository *r, enum repository_area area, const char *name, struct err *reterr)
{
    struct elsewhere *e = r->elsewhere;
    const int dir = r->areas[REPOSITORY_PACKS];
    char key[REMOTE_KEY_MAX], draft[OBJECT_DRAFT_MAX], to[sizeof("../") + REMOTE_KEY_MAX];
    name_key(area, name, key);
    (void)snprintf(to, sizeof(to), "../%s", key);
    _cleanup_close_ int fd = object_make_draft(dir, draft);
    if (fd < 0)
        return err_set_errno(reterr, -fd, "cannot make a file for what is fetched from %s",
                             r->where);
    begin_transfer(e);
    int k = end_transfer(e, e->kind->fetch(e->there, key, fd, repository_most_bytes(area), reterr));
    bool keeps = k == 0 && repository_is_copied(area) && fits(fd, name);
    if (keeps)
        count_copy(r, fd);
    if (!keeps || fault_sync(fd) < 0 || fault_rename(dir, draft, to) < 0)
        (void)!fault_unlink(dir, draft, false);
    return k < 0 ? k : take_fd(&fd);
}

/* ---- objects ---- */

struct listing {
    struct repository *r;
    enum repository_area area;
    VEC(struct digest { uint8_t bytes[HASH_SHA256_BYTES]; }) names;
};

static int
on_name(void *arg, const char *name, uint64_t bytes)
{
    struct listing *l = arg;
    char key[REMOTE_KEY_MAX];
    if (!object_is_name(name))
        return 0;
    if (l->names.count == OBJECTS_MAX)
        return -EFBIG;
    object_digest(name, vec_add(&l->names)->bytes);
    name_key(l->area, name, key);
    remember_size(l->r->elsewhere, key, bytes);
    return 0;
}

static int
remote_list(struct repository *r, enum repository_area area, struct repository_names *ret,
            struct err *reterr)
{
    const struct elsewhere *e = r->elsewhere;
    struct listing l = {.r = r, .area = area};
    int k = e->kind->list(e->there, repository_area_name(area), on_name, &l, reterr);
    if (k == -ENOENT && area >= REPOSITORY_KEYS) /* an older one that has none */
        k = 0;
    if (k == -EFBIG)
        k = err_set(reterr, ERR_TOO_LARGE, "%s of the repository %s has %d files and more",
                    repository_area_name(area), r->where, OBJECTS_MAX);
    if (k < 0) {
        vec_finish(&l.names);
        return k;
    }
    *ret = (struct repository_names){(void *)l.names.items, l.names.count};
    repository_names_sort(ret);
    if (repository_is_copied(area))
        drop_copies(r, area, ret);
    return 0;
}

static int
remote_get(const struct repository *r, enum repository_area area, const char *name,
           struct err *reterr)
{
    if (repository_is_copied(area)) {
        int fd = openat(r->areas[area], name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        if (fd >= 0)
            return fd;
    }
    return fetch(r->shelves[area].repository, area, name, reterr);
}

/* Snapshots are many: of a large one most want only its ends. */
static int
remote_find(const struct repository *r, enum repository_area area, const char *name,
            uint64_t *ret_bytes, struct err *reterr)
{
    char key[REMOTE_KEY_MAX];
    bool may_be = area == REPOSITORY_PACKS || area == REPOSITORY_PARITY ||
                  (area == REPOSITORY_SNAPSHOTS && !has_copy(r, area, name));
    if (!may_be)
        return 0;
    name_key(area, name, key);
    int k = find_size(r->elsewhere, key, ret_bytes, reterr);
    return k < 0 ? k : area != REPOSITORY_SNAPSHOTS || *ret_bytes > SNAPSHOT_COPIED_BYTES;
}

static int
remote_measure(const struct repository *r, enum repository_area area, const char *name,
               uint64_t *ret_bytes, struct err *reterr)
{
    const struct elsewhere *e = r->elsewhere;
    char key[REMOTE_KEY_MAX];
    name_key(area, name, key);
    return e->kind->size(e->there, key, ret_bytes, reterr);
}

static int
remote_read(const struct repository *r, enum repository_area area, const char *name, uint64_t at,
            void *ret_bytes, size_t len, struct err *reterr)
{
    char key[REMOTE_KEY_MAX];
    uint64_t bytes = 0;
    name_key(area, name, key);
    int k = find_size(r->elsewhere, key, &bytes, reterr);
    return k < 0 ? k : windows_read(r->elsewhere->windows, key, bytes, at, ret_bytes, len, reterr);
}

static int
remote_put(void *arg, int fd, const char *name, struct err *reterr)
{
    const struct repository_shelf *shelf = arg;
    struct repository *r = shelf->repository;
    char key[REMOTE_KEY_MAX];
    struct stat st;
    name_key(shelf->area, name, key);
    int k = fault_point("put");
    if (k < 0 || fstat(fd, &st) < 0)
        return err_set_errno(reterr, k < 0 ? -k : errno, "cannot store %s", key);
    k = store_there(r->elsewhere, fd, key, reterr);
    windows_drop(r->elsewhere->windows, key);
    if (k < 0)
        return k;
    remember_size(r->elsewhere, key, (uint64_t)st.st_size);
    if (repository_is_copied(shelf->area))
        count_copy(r, fd);
    return 0;
}

static int
write_as(struct elsewhere *e, const char *name, const void *bytes, size_t len, bool only_new,
         struct err *reterr)
{
    _cleanup_close_ int fd = memfd_create(name, MFD_CLOEXEC);
    int k = fd < 0 ? -errno : fault_write(fd, bytes, len);
    if (k < 0)
        return err_set_errno(reterr, -k, "cannot hold %zu bytes for %s", len, name);
    return only_new ? e->kind->store_new(e->there, fd, name, reterr)
                    : store_there(e, fd, name, reterr);
}

static int
remote_write(struct repository *r, const char *name, const void *bytes, size_t len,
             struct err *reterr)
{
    return write_as(r->elsewhere, name, bytes, len, false, reterr);
}

static int
remote_remove(const struct repository *r, enum repository_area area, const char *name,
              struct err *reterr)
{
    char key[REMOTE_KEY_MAX];
    name_key(area, name, key);
    int k = fault_point("remove");
    if (k < 0)
        return err_set_errno(reterr, -k, "cannot remove %s", key);
    k = r->elsewhere->kind->remove(r->elsewhere->there, key, reterr);
    windows_drop(r->elsewhere->windows, key);
    if (repository_is_copied(area))
        (void)!fault_unlink(r->areas[area], name, false);
    return k;
}

static int
remote_touch(const struct repository *r, enum repository_area area, const char *name,
             struct err *reterr)
{
    char key[REMOTE_KEY_MAX];
    name_key(area, name, key);
    return r->elsewhere->kind->touch(r->elsewhere->there, key, reterr);
}

static int
remote_changed(const struct repository *r, enum repository_area area, const char *name,
               uint64_t *ret_us, struct err *reterr)
{
    char key[REMOTE_KEY_MAX];
    name_key(area, name, key);
    return r->elsewhere->kind->changed(r->elsewhere->there, key, ret_us, reterr);
}

static int
remote_tidy(struct repository *r, uint64_t before_us, struct err *reterr)
{
    const struct elsewhere *e = r->elsewhere;
    int k = 0;
    for (enum repository_area i = 0; i < REPOSITORY_AREAS && k == 0; i++) {
        k = e->kind->tidy(e->there, repository_area_name(i), before_us, reterr);
        k = k == -ENOENT ? 0 : k;
    }
    return k;
}

static int
remote_find_room(const struct repository *r, uint64_t *ret_bytes, struct err *reterr)
{
    const struct elsewhere *e = r->elsewhere;
    *ret_bytes = UINT64_MAX;
    return e->kind->find_room ? e->kind->find_room(e->there, ret_bytes, reterr) : 0;
}

/* ---- making and opening ---- */

/* -ENOENT: there is none. */
static int
read_file(struct repository *r, struct buf *out, struct err *reterr)
{
    struct elsewhere *e = r->elsewhere;
    char text[REPOSITORY_FILE_BYTES];
    uint64_t bytes = 0;
    int k = e->kind->size(e->there, REPOSITORY_FILE, &bytes, reterr);
    if (k == 0 && bytes > sizeof(text))
        k = err_set(reterr, ERR_REPOSITORY_OTHER, "'" REPOSITORY_FILE "' has %llu bytes",
                    (unsigned long long)bytes);
    if (k == 0 && bytes > 0)
        k = read_there(e, REPOSITORY_FILE, 0, text, (size_t)bytes, reterr);
    if (k == 0)
        buf_add(out, text, (size_t)bytes);
    return k;
}

/* By the id, under which this machine knows it. */
static int
open_areas(struct repository *r, const char *copies, struct err *reterr)
{
    for (enum repository_area i = 0; i < REPOSITORY_AREAS; i++) {
        _cleanup_free_ char *path = mem_printf("%s/%s/%s", copies, r->id, repository_area_name(i));
        int k = file_make_dirs(path, DIRECTORY_MODE, reterr);
        if (k < 0) {
            err_prefix(reterr, "%s needs a place for drafts", r->where);
            return k;
        }
        r->areas[i] = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (r->areas[i] < 0)
            return err_set_errno(reterr, errno, "cannot open '%s'", path);
        if (i != REPOSITORY_SNAPSHOTS) /* whose drafts a backup reads */
            object_clear_abandoned(r->areas[i]);
    }
    r->elsewhere->copied_bytes = measure_copies(r);
    return 0;
}

/* Those of one whose making broke off open nothing. */
static int
write_keys(struct repository *r, const struct repository_wish *wish, struct err *reterr)
{
    const struct object_place place = repository_place_raw(r, REPOSITORY_KEYS);
    struct repository_names names = {0};
    int k = repository_list(r, REPOSITORY_KEYS, &names, reterr);
    for (size_t i = 0; i < names.count && k == 0; i++)
        k = repository_remove(r, REPOSITORY_KEYS, names.items[i], reterr);
    free(names.items);
    for (size_t i = 0; i < wish->keys_count && k == 0; i++)
        k = repository_write_key(&place, &wish->keys[i], reterr);
    return k;
}

/* Last: what has the file is whole. Of two that are made at once one has it; whose, is looked at. */
static int
write_file(struct repository *r, const struct buf *text, struct err *reterr)
{
    _cleanup_buf_ struct buf found = BUF_INIT(REPOSITORY_FILE_BYTES);
    int k = write_as(r->elsewhere, REPOSITORY_FILE, text->data, text->len, true, reterr);
    if (k < 0 && k != -EEXIST)
        return k;
    k = read_file(r, &found, reterr);
    if (k == 0 && (found.len != text->len || memcmp(found.data, text->data, text->len) != 0))
        k = repository_is_there(r->where, reterr);
    return k;
}

static int
make(struct repository *r, const struct repository_wish *wish, struct err *reterr)
{
    const struct elsewhere *e = r->elsewhere;
    struct repository_about about;
    _cleanup_buf_ struct buf found = BUF_INIT(REPOSITORY_FILE_BYTES),
                             text = BUF_INIT(REPOSITORY_FILE_BYTES);
    int k = read_file(r, &found, reterr);
    if (k != -ENOENT)
        return k < 0 ? k : repository_is_there(r->where, reterr);
    k = repository_print(wish->keys_count > 0, &text, &about, reterr);
    memcpy(r->id, about.id, sizeof(r->id));
    if (k == 0 && e->kind->make)
        k = e->kind->make(e->there, reterr);
    if (k == 0)
        k = open_areas(r, wish->access.copies, reterr);
    if (k == 0)
        k = write_keys(r, wish, reterr);
    r->is_encrypted = about.is_encrypted;
    return k < 0 ? k : write_file(r, &text, reterr);
}

static int
open_there(struct repository *r, const struct repository_wish *wish, struct err *reterr)
{
    struct repository_about about;
    _cleanup_buf_ struct buf text = BUF_INIT(REPOSITORY_FILE_BYTES);
    int k = read_file(r, &text, reterr);
    if (k == -ENOENT)
        return repository_none(r->where, reterr);
    if (k == 0)
        k = repository_parse(text.data, text.len, &about, reterr);
    if (k < 0) {
        err_prefix(reterr, "%s", r->where);
        return k;
    }
    memcpy(r->id, about.id, sizeof(r->id));
    r->is_encrypted = about.is_encrypted;
    return open_areas(r, wish->access.copies, reterr);
}

static void
remote_close(struct repository *r)
{
    struct elsewhere *e = r->elsewhere;
    e->kind->free(e->there);
    windows_free(e->windows);
    (void)pthread_mutex_destroy(&e->lock);
    (void)pthread_cond_destroy(&e->ended);
    map_finish(&e->size_by_key);
    vec_foreach (&e->sizes, known)
        free(*known);
    vec_finish(&e->sizes);
    free(e);
}

static int
remote_open(struct repository *r, const struct repository_wish *wish, struct err *reterr)
{
    const struct remote_kind *kind = r->kind->remote;
    void *there = NULL;
    int k = kind->open(wish, &there, reterr);
    if (k < 0)
        return k;
    struct elsewhere *e = r->elsewhere = mem_new(struct elsewhere);
    e->kind = kind;
    e->there = there;
    e->windows = windows_new(read_there, e);
    (void)pthread_mutex_init(&e->lock, NULL);
    (void)pthread_cond_init(&e->ended, NULL);
    return wish->make ? make(r, wish, reterr) : open_there(r, wish, reterr);
}

#define KIND(scheme_, remote_)                                                                    \
    {                                                                                             \
        .scheme = (scheme_), .remote = (remote_), .open = remote_open, .close = remote_close,     \
        .list = remote_list, .get = remote_get, .find = remote_find, .measure = remote_measure,   \
        .read = remote_read,                                                                      \
        .put = remote_put, .write = remote_write, .remove = remote_remove, .touch = remote_touch, \
        .changed = remote_changed, .tidy = remote_tidy, .find_room = remote_find_room,            \
        .forget = remote_forget                                                                   \
    }

const struct repository_kind repository_sftp = KIND("sftp://", &remote_sftp);
const struct repository_kind repository_s3 = KIND("s3", &remote_s3); /* s3://, s3+http:// */
