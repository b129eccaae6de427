#include "gateway/body.h"

#include "base/mem.h"
#include "sys/work.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void
body_init(struct body *b, struct loop *loop, const char *dir, uint64_t bytes_max)
{
    *b = (struct body){.loop = loop, .dir = dir, .fd = -1};
    buf_init(&b->memory, MIN((size_t)bytes_max, BUF_CEILING_MAX));
}

/* ---- the end of a file ---- */

struct closing {
    struct work work;
    int fd;
};

static void
on_close(struct work *work)
{
    (void)close(container_of(work, struct closing, work)->fd);
}

static void
on_closed(struct work *work, bool cancelled unused_arg)
{
    free(container_of(work, struct closing, work));
}

static void
close_elsewhere(struct loop *loop, int fd)
{
    struct closing *c = mem_new(struct closing);
    *c = (struct closing){.work = {.run = on_close, .done = on_closed}, .fd = fd};
    work_start_alone(loop, &c->work);
}

/* ---- a body ---- */

void
body_finish(struct body *b)
{
    if (b->fd >= 0)
        close_elsewhere(b->loop, b->fd);
    buf_finish(&b->memory);
    *b = (struct body){.fd = -1, .memory = BUF_INIT(0)};
}

static int
fail(int error, struct err *reterr)
{
    int r = err_set(reterr, ERR_SPOOL, "a body above %u KiB cannot be kept now: %s",
                    (unsigned)(BODY_MEMORY_MAX / KIB), strerror(error));
    err_fix(reterr, "try a smaller one, or later");
    return r;
}

static int
write_all(const struct body *b, const char *bytes, size_t len, struct err *reterr)
{
    while (len > 0) {
        ssize_t n = write(b->fd, bytes, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return fail(n < 0 ? errno : EIO, reterr);
        bytes += n;
        len -= (size_t)n;
    }
    return 0;
}

/* What is in memory goes into the file first. */
static int
move_out(struct body *b, struct err *reterr)
{
    b->fd = open(b->dir, O_TMPFILE | O_RDWR | O_CLOEXEC | O_EXCL, 0600);
    if (b->fd < 0)
        return 0;
    int r = write_all(b, b->memory.data, b->memory.len, reterr);
    buf_finish(&b->memory);
    buf_init(&b->memory, 0);
    return r;
}

int
body_add(struct body *b, const char *bytes, size_t len, struct err *reterr)
{
    bool grows_out = b->len <= BODY_MEMORY_MAX && b->len + len > BODY_MEMORY_MAX;
    int r = grows_out ? move_out(b, reterr) : 0;
    b->len += len;
    if (r < 0)
        return r;
    if (b->fd >= 0)
        return write_all(b, bytes, len, reterr);
    buf_add(&b->memory, bytes, len);
    return buf_error(&b->memory) < 0
               ? err_set(reterr, ERR_TOO_LARGE, "the body is larger than its ceiling")
               : 0;
}

bool
body_is_in_memory(const struct body *b)
{
    return b->fd < 0;
}

const char *
body_read(const struct body *b, size_t at, size_t len, char *room, struct err *reterr)
{
    assert(at <= b->len && len <= b->len - at);
    if (b->fd < 0)
        return b->memory.data + at;
    for (size_t done = 0; done < len;) {
        ssize_t n = pread(b->fd, room + done, len - done, (off_t)(at + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            (void)fail(n < 0 ? errno : EIO, reterr);
            return NULL;
        }
        done += (size_t)n;
    }
    return room;
}
