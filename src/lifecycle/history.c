#include "lifecycle/history.h"

#include "base/mem.h"
#include "sys/clock.h"
#include "sys/fault.h"
#include "sys/files.h"
#include "sys/root.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LARGEST ((off_t)(2 * HISTORY_BYTES_MAX))
#define READ_BYTES (64 * KIB)

static const char *const directories[] = {
    [HISTORY_OF_SERVICES] = "monitor", [HISTORY_OF_DEPLOYMENTS] = "deploy"};

static void
make_paths(const char *state_dir, enum history_of what, char **ret_path, char **ret_old_path)
{
    *ret_path = mem_printf("%s/%s/events.jsonl", state_dir, directories[what]);
    *ret_old_path = mem_printf("%s/%s/events.old.jsonl", state_dir, directories[what]);
}

/* ---- writing ---- */

/* Where the last whole line ends, as no line is longer than EVENT_LINE_MAX. */
static int
find_end(int fd, uint64_t size, uint64_t *ret_end)
{
    char tail[EVENT_LINE_MAX];
    uint64_t from = size > sizeof(tail) ? size - sizeof(tail) : 0;
    ssize_t n = pread(fd, tail, (size_t)(size - from), (off_t)from);
    if (n < 0)
        return -errno;
    const char *last = memrchr(tail, '\n', (size_t)n);
    *ret_end = last ? from + (uint64_t)(last - tail) + 1 : from;
    return 0;
}

static int
cut_torn(struct history *h, uint64_t *ret_torn)
{
    struct stat st;
    uint64_t end = 0;
    if (fstat(h->fd, &st) < 0)
        return -errno;
    int r = find_end(h->fd, (uint64_t)st.st_size, &end);
    if (r == 0 && end < (uint64_t)st.st_size)
        r = fault_truncate(h->fd, (off_t)end);
    *ret_torn = (uint64_t)st.st_size - end;
    h->bytes = end;
    return r;
}

static void
read_first(struct history *h)
{
    char line[EVENT_LINE_MAX];
    struct event event;
    ssize_t n = pread(h->fd, line, sizeof(line), 0);
    const char *end = n > 0 ? memchr(line, '\n', (size_t)n) : NULL;
    h->first_us = 0;
    if (end && event_parse(line, (size_t)(end - line), &event, NULL) >= 0)
        h->first_us = event.at_us;
}

static int
open_file(struct history *h, struct err *reterr)
{
    h->fd = file_open(h->path, O_RDWR | O_APPEND | O_CREAT, 0644);
    if (h->fd < 0)
        return root_err(reterr, h->fd, "cannot open '%s'", h->path);
    if (fchmod(h->fd, 0644) < 0) /* whatever the umask: everybody may read what happened */
        return err_set_errno(reterr, errno, "cannot let others read '%s'", h->path);
    return 0;
}

static void
forget_old(const struct history *h)
{
    struct stat st;
    uint64_t now = clock_wall_us();
    if (stat(h->old_path, &st) == 0 && (uint64_t)st.st_mtime * 1000000 + h->keep_us < now)
        (void)!fault_unlink(AT_FDCWD, h->old_path, false);
}

int
history_open(struct history *h, const char *state_dir, enum history_of what, uint64_t keep_us,
             uint64_t bytes_max, uint64_t *ret_torn, struct err *reterr)
{
    *h = (struct history){
        .keep_us = keep_us, .bytes_max = bytes_max ? bytes_max : HISTORY_BYTES_MAX, .fd = -1};
    make_paths(state_dir, what, &h->path, &h->old_path);
    _cleanup_free_ char *dir = mem_printf("%s/%s", state_dir, directories[what]);
    int r = file_make_dirs(dir, 0755, reterr);
    if (r == 0)
        r = open_file(h, reterr);
    if (r < 0)
        return r;
    r = cut_torn(h, ret_torn);
    if (r < 0)
        return err_set_errno(reterr, -r, "cannot read '%s'", h->path);
    read_first(h);
    forget_old(h);
    return 0;
}

void
history_close(struct history *h)
{
    cleanup_close(&h->fd);
    free(take_ptr(h->path));
    free(take_ptr(h->old_path));
}

static bool
is_full(const struct history *h, size_t len, uint64_t now_us)
{
    bool old = h->first_us && now_us > h->first_us && now_us - h->first_us > h->keep_us / 2;
    return h->bytes + len > h->bytes_max || old;
}

static int
begin_anew(struct history *h, struct err *reterr)
{
    int r = fault_rename(AT_FDCWD, h->path, h->old_path);
    if (r < 0)
        return err_set_errno(reterr, -r, "cannot rename '%s'", h->path);
    cleanup_close(&h->fd);
    h->bytes = h->first_us = 0;
    return open_file(h, reterr);
}

/* What a full disk has cut short is taken back, so that the next line does not go on from it. */
static int
add_line(struct history *h, const struct buf *line)
{
    int r = fault_write(h->fd, line->data, line->len);
    if (r < 0)
        (void)!fault_truncate(h->fd, (off_t)h->bytes);
    return r;
}

int
history_add(struct history *h, const struct event *event, struct err *reterr)
{
    _cleanup_buf_ struct buf line = BUF_INIT(EVENT_LINE_MAX);
    event_print(event, &line);
    assert(buf_error(&line) == 0);
    int r = h->bytes && is_full(h, line.len, event->at_us) ? begin_anew(h, reterr) : 0;
    if (r == 0 && h->fd < 0) /* it could not be opened when the last one was full */
        r = open_file(h, reterr);
    if (r < 0)
        return r;
    r = add_line(h, &line);
    if (r < 0)
        return err_set_errno(reterr, -r, "cannot write '%s'", h->path);
    if (h->bytes == 0)
        h->first_us = event->at_us;
    h->bytes += line.len;
    return 0;
}

int
history_keep(const struct history *h, struct err *reterr)
{
    struct file_place place;
    int r = file_place_open(h->path, &place);
    if (r < 0)
        return root_err(reterr, r, "cannot open the directory of '%s'", h->path);
    _cleanup_close_ int dir = place.dir;
    r = fault_sync(h->fd);
    if (r == 0)
        r = fault_sync(dir);
    return r < 0 ? err_set_errno(reterr, -r, "'%s' may not outlive a power cut", h->path) : 0;
}

/* ---- reading ---- */

/* Another account than the reader's may have put it there. */
static int
refuse(const char *path, struct err *reterr)
{
    int r = err_set(reterr, ERR_SYNTAX, "'%s' is no file, and so no history of ours", path);
    err_fix(reterr, "rm -r %s; the next event begins it anew", path);
    return r;
}

/* Of one that is larger than ours ever get only the end is read. */
static int
open_to_read(struct history_reader *r, bool old, struct err *reterr)
{
    const char *path = old ? r->old_path : r->path;
    struct stat st;
    _cleanup_close_ int fd = file_open(path, O_RDONLY | O_NONBLOCK, 0);
    if (fd == -ENOENT)
        return 0;
    if (fd == -ELOOP || fd == -ENXIO || (fd >= 0 && fstat(fd, &st) == 0 && !S_ISREG(st.st_mode)))
        return refuse(path, reterr);
    if (fd < 0 || fstat(fd, &st) < 0)
        return root_err(reterr, fd < 0 ? fd : -errno, "cannot read '%s'", path);
    r->begin = st.st_size > LARGEST ? st.st_size - LARGEST : 0;
    r->lost += r->begin > 0;
    if (lseek(fd, r->begin, SEEK_SET) < 0)
        return err_set_errno(reterr, errno, "cannot read '%s'", path);
    cleanup_close(&r->fd);
    r->fd = take_fd(&fd);
    r->is_old = old;
    return 1;
}

static void
init_reader(struct history_reader *r, const char *state_dir, enum history_of what)
{
    *r = (struct history_reader){.fd = -1, .rest = BUF_INIT(READ_BYTES + EVENT_LINE_MAX)};
    make_paths(state_dir, what, &r->path, &r->old_path);
}

int
history_reader_open(struct history_reader *r, const char *state_dir, enum history_of what,
                    struct err *reterr)
{
    init_reader(r, state_dir, what);
    int found = open_to_read(r, true, reterr);
    if (found == 0)
        found = open_to_read(r, false, reterr);
    return MIN(found, 0);
}

/* To where the last lines begin; *left: how many of them are not in this file. */
static int
seek_last(struct history_reader *r, uint64_t *left, struct err *reterr)
{
    char piece[4 * KIB];
    uint64_t ends = 0;
    off_t at = lseek(r->fd, 0, SEEK_END), from = 0;
    while (at > r->begin && from == 0) {
        size_t len = MIN((size_t)(at - r->begin), sizeof(piece));
        ssize_t n = pread(r->fd, piece, len, at - (off_t)len);
        if (n != (ssize_t)len)
            return err_set_errno(reterr, n < 0 ? errno : EIO, "cannot read '%s'", r->path);
        for (size_t i = len; i > 0 && from == 0; i--)
            if (piece[i - 1] == '\n' && ends++ == *left)
                from = at - (off_t)(len - i);
        at -= (off_t)len;
    }
    *left = from ? 0 : *left - ends;
    if (at < 0 || lseek(r->fd, MAX(from, r->begin), SEEK_SET) < 0)
        return err_set_errno(reterr, errno, "cannot read '%s'", r->path);
    return 0;
}

int
history_reader_open_last(struct history_reader *r, const char *state_dir, enum history_of what,
                         uint64_t lines, struct err *reterr)
{
    uint64_t left = lines;
    init_reader(r, state_dir, what);
    for (int old = 0; old < 2 && left > 0; old++) {
        int found = open_to_read(r, old, reterr);
        if (found > 0)
            found = seek_last(r, &left, reterr);
        if (found < 0)
            return found;
    }
    return 0;
}

void
history_reader_close(struct history_reader *r)
{
    cleanup_close(&r->fd);
    buf_finish(&r->rest);
    free(take_ptr(r->path));
    free(take_ptr(r->old_path));
}

/* The file has been read to its end. 1: there is one behind it, which is open now. */
static int
open_next(struct history_reader *r, struct err *reterr)
{
    struct stat here, there;
    if (r->fd >= 0 && !r->is_old) {
        if (fstat(r->fd, &here) < 0 || stat(r->path, &there) < 0 ||
            (here.st_dev == there.st_dev && here.st_ino == there.st_ino))
            return 0;
    }
    int found = open_to_read(r, false, reterr);
    if (found > 0 && r->rest.len) { /* whoever wrote it has ended there */
        r->lost++;
        buf_clear(&r->rest);
    }
    return found;
}

static int
read_more(struct history_reader *r, struct err *reterr)
{
    if (r->fd < 0)
        return open_next(r, reterr);
    void *to = buf_reserve(&r->rest, READ_BYTES);
    assert(to); /* less than a line is left in it */
    ssize_t n = read(r->fd, to, READ_BYTES);
    if (n < 0)
        return err_set_errno(reterr, errno, "cannot read '%s'", r->path);
    buf_commit(&r->rest, (size_t)n);
    return n > 0 ? 1 : open_next(r, reterr);
}

/* The next line out of what was read: 1 an event, 0 none, and *ret_more tells whether to look again. */
static int
take_line(struct history_reader *r, struct event *ret_event, bool *ret_more)
{
    const char *end = memchr(r->rest.data, '\n', r->rest.len);
    *ret_more = end != NULL;
    if (!end && r->rest.len < EVENT_LINE_MAX)
        return 0;
    size_t len = end ? (size_t)(end - r->rest.data) : r->rest.len;
    int found = end ? event_parse(r->rest.data, len, ret_event, NULL) : -E2BIG;
    r->lost += found < 0;
    buf_consume(&r->rest, len + (end != NULL));
    return MAX(found, 0);
}

int
history_next(struct history_reader *r, struct event *ret_event, struct err *reterr)
{
    for (;;) {
        bool more = true;
        while (more)
            if (take_line(r, ret_event, &more) > 0)
                return 1;
        int n = read_more(r, reterr);
        if (n <= 0)
            return n;
    }
}
