#include "backup/object.h"

#include "sys/fault.h"

#include <stdio.h>
#include <sys/random.h>
#include <unistd.h>

#define PENDING_BYTES (256 * KIB)

static int
failed(struct object_writer *w, int r, struct err *reterr)
{
    w->has_failed = true;
    return err_set_errno(reterr, -r, "cannot write %s of the repository", w->draft);
}

int
object_begin(struct object_writer *w, int dir, struct err *reterr)
{
    uint64_t chance = 0;
    *w = (struct object_writer){.dir = dir};
    (void)!getrandom(&chance, sizeof(chance), 0);
    (void)snprintf(w->draft, sizeof(w->draft), OBJECT_DRAFT "%016llx", (unsigned long long)chance);
    w->fd = fault_create(dir, w->draft, 0600);
    if (w->fd < 0)
        return failed(w, w->fd, reterr);
    hash_sha256_init(&w->hash);
    buf_init(&w->pending, PENDING_BYTES);
    return 0;
}

static int
flush(struct object_writer *w, struct err *reterr)
{
    int r = fault_write(w->fd, w->pending.data, w->pending.len);
    buf_clear(&w->pending);
    return r < 0 ? failed(w, r, reterr) : 0;
}

int
object_write(struct object_writer *w, const void *bytes, size_t len, struct err *reterr)
{
    int r = 0;
    assert(!w->has_failed && !w->is_finished);
    hash_sha256_update(&w->hash, bytes, len);
    w->bytes += len;
    if (w->pending.len + len > PENDING_BYTES)
        r = flush(w, reterr);
    if (r < 0)
        return r;
    if (len <= PENDING_BYTES) {
        buf_add(&w->pending, bytes, len);
        return 0;
    }
    r = fault_write(w->fd, bytes, len);
    return r < 0 ? failed(w, r, reterr) : 0;
}

/* What it holds is on the disk before its name is, and its name before anybody relies on it. */
static int
commit(struct object_writer *w, const char *name, struct err *reterr)
{
    int r = fault_sync(w->fd);
    if (r == 0)
        r = fault_rename(w->dir, w->draft, name);
    w->is_finished = r == 0;
    if (r == 0)
        r = fault_sync(w->dir);
    return r < 0 ? failed(w, r, reterr) : 0;
}

int
object_finish(struct object_writer *w, char ret_name[HASH_SHA256_HEX], struct err *reterr)
{
    uint8_t digest[HASH_SHA256_BYTES];
    assert(!w->has_failed && !w->is_finished);
    int r = flush(w, reterr);
    if (r < 0)
        return r;
    hash_sha256_final(&w->hash, digest);
    hash_sha256_hex(digest, ret_name);
    return commit(w, ret_name, reterr);
}

void
object_end(struct object_writer *w)
{
    if (w->fd < 0)
        return;
    (void)close(w->fd);
    if (!w->is_finished)
        (void)!fault_unlink(w->dir, w->draft, false);
    buf_finish(&w->pending);
}
