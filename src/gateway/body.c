#include "gateway/body.h"

#include "base/mem.h"
#include "gateway/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define AHEAD_BYTES (512 * KIB) /* of the disk: a work writes so much in some milliseconds */

enum deed { DEED_WRITE, DEED_READ, DEED_CLOSE };

/* It outlives its body while a work is at it. */
struct body_file {
    struct body *body; /* NULL: it is finished */
    struct spool *spool;
    struct spool_job job;
    char *dir;
    struct buf waiting; /* to be written */

    /* the work's, while it runs */
    enum deed deed;
    int fd;              /* -1: it is not made yet */
    struct buf writing;  /* what is written */
    struct buf part;     /* what was read last, */
    size_t part_at;      /* from there on */
    bool cannot_be_made; /* the file */
    int error;
};

/* ---- on the thread ---- */

static int
write_all(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, bytes, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? errno : EIO;
        bytes += n;
        len -= (size_t)n;
    }
    return 0;
}

static int
read_all(int fd, char *room, size_t len, size_t at)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = pread(fd, room + done, len - done, (off_t)(at + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? errno : EIO;
        done += (size_t)n;
    }
    return 0;
}

static void
on_run(struct spool_job *job)
{
    struct body_file *f = container_of(job, struct body_file, job);
    switch (f->deed) {
    case DEED_WRITE:
        if (f->fd < 0)
            f->fd = open(f->dir, O_TMPFILE | O_RDWR | O_CLOEXEC | O_EXCL, 0600);
        f->cannot_be_made = f->fd < 0;
        f->error = f->fd < 0 ? 0 : write_all(f->fd, f->writing.data, f->writing.len);
        break;
    case DEED_READ:
        f->error = read_all(f->fd, f->part.data, f->part.len, f->part_at);
        break;
    case DEED_CLOSE: /* a disk takes some milliseconds to let go of a large one */
        (void)close(take_fd(&f->fd));
        break;
    }
}

/* ---- a file ---- */

static void
swap(struct buf *a, struct buf *b)
{
    struct buf kept = *a;
    *a = *b;
    *b = kept;
}

static void
free_file(struct body_file *f)
{
    buf_finish(&f->waiting);
    buf_finish(&f->writing);
    buf_finish(&f->part);
    spool_drop(f->spool);
    free(f->dir);
    free(f);
}

static void
do_deed(struct body_file *f, enum deed deed)
{
    f->deed = deed;
    spool_start(f->spool, &f->job);
}

/* Nobody has it any more. */
static void
give_up(struct body_file *f)
{
    if (f->fd >= 0)
        do_deed(f, DEED_CLOSE);
    else
        free_file(f);
}

static void
write_on(struct body_file *f)
{
    buf_clear(&f->writing);
    swap(&f->writing, &f->waiting);
    do_deed(f, DEED_WRITE);
}

static int
fail(int error, struct err *reterr)
{
    int r = err_set(reterr, ERR_SPOOL, "a body above %u KiB cannot be kept now: %s",
                    (unsigned)(BODY_MEMORY_MAX / KIB), error ? strerror(error) : "the disk hangs");
    err_fix(reterr, "try a smaller one, or later");
    return r;
}

/* All of it is in memory yet: it was to be written for the first time. */
static void
stay_in_memory(struct body *b)
{
    struct body_file *f = take_ptr(b->file);
    b->stays = true;
    buf_clear(&b->memory);
    swap(&b->memory, &f->writing);
    buf_add(&b->memory, f->waiting.data, f->waiting.len);
    free_file(f);
}

static void
on_done(struct spool_job *job)
{
    struct body_file *f = container_of(job, struct body_file, job);
    struct body *b = f->body;
    struct err error;
    if (!b) {
        give_up(f);
        return;
    }
    if (f->error) {
        (void)fail(f->error, &error);
        b->ready(b, &error);
        return;
    }
    if (f->cannot_be_made) {
        stay_in_memory(b);
    } else if (f->waiting.len > 0) {
        write_on(f);
    } else { /* which may have more room than a body takes that stays in memory */
        buf_finish(&f->waiting);
        buf_finish(&f->writing);
    }
    b->ready(b, NULL);
}

static void
on_late(struct spool_job *job)
{
    struct body_file *f = container_of(job, struct body_file, job);
    struct err error;
    if (f->body) {
        (void)fail(0, &error);
        f->body->ready(f->body, &error);
    } else if (f->job.state == SPOOL_IDLE) { /* to be closed: when it can be */
        give_up(f);
    }
}

/* What is in memory goes into the file first. */
static int
move_out(struct body *b, struct err *reterr)
{
    if (spool_hangs(b->spool))
        return fail(0, reterr);
    struct body_file *f = mem_new(struct body_file);
    *f = (struct body_file){.body = b,
                            .spool = spool_hold(b->spool),
                            .job = {.run = on_run, .done = on_done, .late = on_late},
                            .dir = mem_strdup(b->dir),
                            .fd = -1};
    buf_init(&f->waiting, b->memory.ceiling_bytes);
    buf_init(&f->writing, b->memory.ceiling_bytes);
    buf_init(&f->part, BODY_PART_BYTES);
    swap(&b->memory, &f->waiting);
    buf_add(&b->memory, f->waiting.data, MIN(f->waiting.len, (size_t)BODY_HEAD_BYTES));
    b->file = f;
    return 0;
}

/* ---- a body ---- */

void
body_init(struct body *b, struct spool *spool, const char *dir, uint64_t bytes_max)
{
    *b = (struct body){.spool = spool, .dir = dir};
    buf_init(&b->memory, MIN((size_t)bytes_max, BUF_CEILING_MAX));
}

void
body_finish(struct body *b)
{
    struct body_file *f = take_ptr(b->file);
    buf_finish(&b->memory);
    *b = (struct body){.memory = BUF_INIT(0)};
    if (!f)
        return;
    f->body = NULL;
    if (f->job.state == SPOOL_IDLE || spool_forget(f->spool, &f->job))
        give_up(f);
}

int
body_add(struct body *b, const char *bytes, size_t len, struct err *reterr)
{
    bool grows_out = !b->file && !b->stays && b->len + len > BODY_MEMORY_MAX;
    int r = grows_out ? move_out(b, reterr) : 0;
    if (r < 0)
        return r;
    if (b->file && b->memory.len == b->len) /* its head comes at once with the rest */
        buf_add(&b->memory, bytes,
                MIN(len, BODY_HEAD_BYTES - MIN(b->len, (size_t)BODY_HEAD_BYTES)));
    b->len += len;
    struct buf *to = b->file ? &b->file->waiting : &b->memory;
    buf_add(to, bytes, len);
    if (buf_error(to) < 0)
        return err_set(reterr, ERR_TOO_LARGE, "the body is larger than its ceiling");
    if (b->file && b->file->job.state == SPOOL_IDLE)
        write_on(b->file);
    return 0;
}

bool
body_is_ahead(const struct body *b)
{
    return b->file && b->file->waiting.len > AHEAD_BYTES;
}

bool
body_is_kept(const struct body *b)
{
    return !b->file || (b->file->job.state == SPOOL_IDLE && b->file->waiting.len == 0);
}

const char *
body_head(const struct body *b, size_t at, size_t *ret_len)
{
    bool is_there = at < b->memory.len;
    *ret_len = is_there ? b->memory.len - at : 0;
    return is_there ? b->memory.data + at : NULL;
}

const char *
body_look(struct body *b, size_t at, size_t len, size_t *ret_len)
{
    struct body_file *f = b->file;
    assert(at < b->len && len > 0 && len <= b->len - at);
    if (at < b->memory.len) {
        *ret_len = MIN(len, b->memory.len - at);
        return b->memory.data + at;
    }
    assert(f);
    if (f->job.state != SPOOL_IDLE)
        return NULL;
    if (at >= f->part_at && at - f->part_at < f->part.len) {
        *ret_len = MIN(len, f->part.len - (at - f->part_at));
        return f->part.data + (at - f->part_at);
    }
    size_t part = MIN(b->len - at, (size_t)BODY_PART_BYTES);
    buf_clear(&f->part);
    const void *room = buf_reserve(&f->part, part);
    assert(room);
    buf_commit(&f->part, part);
    f->part_at = at;
    do_deed(f, DEED_READ);
    return NULL;
}
