#include "backup/object.h"

#include "base/text.h"
#include "sys/fault.h"
#include "sys/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define PENDING_BYTES (256 * KIB)

static int
failed(struct object_writer *w, int r, struct err *reterr)
{
    w->has_failed = true;
    r = err_set_errno(reterr, -r, "cannot write %s of the repository", w->draft);
    if (r == -ENOSPC)
        err_fix(reterr, w->place.put ? "make room on the disk of paths.state, where drafts lie"
                                     : "make room on its disk, or let go of what is old: citadel "
                                       "backup prune");
    return r;
}

/* Whether it is ours: not found, and about to be removed, between its making and its lock. Where there
 * are no locks, nobody can find it abandoned either. */
static bool
is_ours(int fd)
{
    struct stat st;
    if (flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK)
        return false;
    return fstat(fd, &st) < 0 || st.st_nlink > 0;
}

int
object_make_draft(int dir, char ret_name[OBJECT_DRAFT_MAX])
{
    for (;;) {
        uint64_t chance = 0;
        (void)!getrandom(&chance, sizeof(chance), 0);
        (void)snprintf(ret_name, OBJECT_DRAFT_MAX, OBJECT_DRAFT "%016llx",
                       (unsigned long long)chance);
        int fd = fault_create(dir, ret_name, 0600);
        if (fd < 0 || is_ours(fd))
            return fd;
        (void)close(fd);
    }
}

/* What lies there in the end. */
static int
put(struct object_writer *w, const void *bytes, size_t len, struct err *reterr)
{
    int r = 0;
    hash_sha256_update(&w->hash, bytes, len);
    if (w->pending.len + len > PENDING_BYTES)
        r = object_flush(w, reterr);
    if (r < 0)
        return r;
    if (len <= PENDING_BYTES) {
        buf_add(&w->pending, bytes, len);
        return 0;
    }
    r = fault_write(w->fd, bytes, len);
    return r < 0 ? failed(w, r, reterr) : 0;
}

static int
put_sealed(void *arg, const void *bytes, size_t len, struct err *reterr)
{
    return put(arg, bytes, len, reterr);
}

int
object_begin(struct object_writer *w, const struct object_place *place, struct err *reterr)
{
    *w = (struct object_writer){.place = *place};
    w->fd = object_make_draft(place->dir, w->draft);
    if (w->fd < 0)
        return failed(w, w->fd, reterr);
    hash_sha256_init(&w->hash);
    buf_init(&w->pending, PENDING_BYTES);
    w->sink = (struct flow_sink){put_sealed, w};
    int r = place->keys ? seal_begin(place->keys, place->whom, &w->sink, &w->seal, reterr) : 0;
    if (r < 0)
        object_end(w);
    return r;
}

int
object_flush(struct object_writer *w, struct err *reterr)
{
    int r = fault_write(w->fd, w->pending.data, w->pending.len);
    buf_clear(&w->pending);
    return r < 0 ? failed(w, r, reterr) : 0;
}

int
object_write(struct object_writer *w, const void *bytes, size_t len, struct err *reterr)
{
    assert(!w->has_failed && !w->is_finished);
    w->bytes += len;
    return w->seal ? seal_write(w->seal, bytes, len, reterr) : put(w, bytes, len, reterr);
}

/* What it holds is on the disk before its name is. */
static int
take_name(struct object_writer *w, const char *name)
{
    int r = fault_sync(w->fd);
    if (r == 0)
        r = fault_rename(w->place.dir, w->draft, name);
    w->keeps_draft = r == 0;
    return r;
}

/* And its name before anybody relies on it. Of what is elsewhere the copy is no more than that. */
static int
commit(struct object_writer *w, const char *name, struct err *reterr)
{
    int r = 0;
    if (w->place.put) {
        r = w->place.put(w->place.arg, w->fd, name, reterr);
        w->has_failed = r < 0;
        if (r == 0 && w->place.keeps)
            (void)!take_name(w, name);
    } else {
        r = take_name(w, name);
        if (r == 0)
            r = fault_sync(w->place.dir);
        if (r < 0)
            r = failed(w, r, reterr);
    }
    w->is_finished = r == 0;
    return r;
}

static int
end_writing(struct object_writer *w, struct err *reterr)
{
    assert(!w->has_failed && !w->is_finished);
    int r = w->seal ? seal_finish(w->seal, reterr) : 0;
    return r < 0 ? r : object_flush(w, reterr);
}

int
object_finish(struct object_writer *w, char ret_name[HASH_SHA256_HEX], struct err *reterr)
{
    uint8_t digest[HASH_SHA256_BYTES];
    int r = end_writing(w, reterr);
    if (r < 0)
        return r;
    hash_sha256_final(&w->hash, digest);
    hash_sha256_hex(digest, ret_name);
    return commit(w, ret_name, reterr);
}

int
object_finish_if(struct object_writer *w, const char *name, struct err *reterr)
{
    uint8_t digest[HASH_SHA256_BYTES];
    char found[HASH_SHA256_HEX];
    int r = end_writing(w, reterr);
    if (r < 0)
        return r;
    hash_sha256_final(&w->hash, digest);
    hash_sha256_hex(digest, found);
    return strcmp(found, name) == 0 ? commit(w, name, reterr) : -EBADMSG;
}

int
object_finish_as(struct object_writer *w, const char *name, struct err *reterr)
{
    int r = end_writing(w, reterr);
    return r < 0 ? r : commit(w, name, reterr);
}

void
object_abandon(struct object_writer *w)
{
    if (!w->has_failed && !w->is_finished)
        w->is_finished = w->keeps_draft = object_flush(w, NULL) == 0;
}

void
object_end(struct object_writer *w)
{
    if (w->fd < 0)
        return;
    (void)close(w->fd);
    if (!w->keeps_draft)
        (void)!fault_unlink(w->place.dir, w->draft, false);
    buf_finish(&w->pending);
    seal_writer_free(w->seal);
}

/* ---- drafts, and what a crash has left of them ---- */

int
object_next_abandoned(DIR *dir, char ret_name[OBJECT_DRAFT_MAX])
{
    for (const struct dirent *e; (e = readdir(dir));) {
        struct stat st;
        size_t len = strlen(e->d_name);
        if (!text_starts(e->d_name, OBJECT_DRAFT) || len >= OBJECT_DRAFT_MAX)
            continue;
        int fd = openat(dirfd(dir), e->d_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &st) == 0 &&
            S_ISREG(st.st_mode) && st.st_nlink > 0) {
            memcpy(ret_name, e->d_name, len + 1);
            return fd;
        }
        if (fd >= 0)
            (void)close(fd);
    }
    return -1;
}

void
object_clear_abandoned(int dir)
{
    _cleanup_dir_ DIR *stream = file_open_dir(dir, ".", 0);
    char name[OBJECT_DRAFT_MAX];
    for (int fd; stream && (fd = object_next_abandoned(stream, name)) >= 0; (void)close(fd))
        (void)!fault_unlink(dir, name, false);
}

bool
object_is_name(const char *name)
{
    return strlen(name) == HASH_SHA256_HEX - 1 &&
           strspn(name, "0123456789abcdef") == HASH_SHA256_HEX - 1;
}

void
object_digest(const char *name, uint8_t ret[HASH_SHA256_BYTES])
{
    for (size_t i = 0; i < HASH_SHA256_BYTES; i++) {
        char high = name[2 * i], low = name[2 * i + 1];
        ret[i] = (uint8_t)((high <= '9' ? high - '0' : high - 'a' + 10) << 4 |
                           (low <= '9' ? low - '0' : low - 'a' + 10));
    }
}
