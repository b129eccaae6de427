#include "service/log_file.h"

#include "base/text.h"
#include "sys/clock.h"
#include "sys/fault.h"
#include "sys/files.h"
#include "sys/root.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define TIME_MAX 32
#define LOSS_TEXT_MAX 320

/* ---- files ---- */

/* O_NONBLOCK: a pipe that somebody has put there would keep us waiting. */
static int
open_path(struct log_file *log)
{
    struct stat st;
    _cleanup_close_ int fd = file_open(log->path, O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK, 0640);
    if (fd < 0 || fstat(fd, &st) < 0)
        return fd < 0 ? fd : -errno;
    if (!S_ISREG(st.st_mode))
        return -EINVAL;
    log->bytes = (uint64_t)st.st_size;
    log->device = st.st_dev;
    log->inode = st.st_ino;
    log->fd = take_fd(&fd);
    return 0;
}

static int
make_dir(const char *path, struct err *reterr)
{
    char dir[PATH_MAX];
    const char *slash = strrchr(path, '/');
    int len = snprintf(dir, sizeof(dir), "%.*s", slash ? (int)(slash - path) : 0, path);
    return len > 0 && len < (int)sizeof(dir) ? file_make_dirs(dir, 0755, reterr) : 0;
}

static int
open_file(struct log_file *log, struct err *reterr)
{
    int r = open_path(log);
    if (r == -ENOENT) {
        r = make_dir(log->path, reterr);
        if (r < 0)
            return r;
        r = open_path(log);
    }
    return r < 0 ? root_err(reterr, r, "cannot write the log '%s'", log->path) : 0;
}

int
log_file_open(struct log_file *log, const char *path, struct err *reterr)
{
    *log = (struct log_file){.path = path, .fd = -1, .bytes_max = LOG_FILE_BYTES};
    return open_file(log, reterr);
}

/* In a file that somebody has moved, replaced or removed nobody will find what is written; one that
 * was emptied has room again. */
static int
find_file(struct log_file *log)
{
    struct stat st;
    if (log->fd >= 0 && lstat(log->path, &st) == 0 && st.st_dev == log->device &&
        st.st_ino == log->inode) {
        log->bytes = (uint64_t)st.st_size;
        return 0;
    }
    cleanup_close(&log->fd);
    return open_file(log, NULL);
}

static void
name_of(const char *path, unsigned age, char name[PATH_MAX])
{
    if (age)
        (void)snprintf(name, PATH_MAX, "%s.%u", path, age);
    else
        (void)snprintf(name, PATH_MAX, "%s", path);
}

/* The oldest first, from the first number that is free: after a crash in between, the next time goes on
 * where it ended. Where the file cannot be moved it is emptied, since it must not grow. */
static int
rotate(struct log_file *log)
{
    char from[PATH_MAX], to[PATH_MAX];
    unsigned age = 1;
    for (; age < LOG_FILE_COUNT - 1; age++) {
        name_of(log->path, age, to);
        if (access(to, F_OK) < 0)
            break;
    }
    for (; age > 0; age--) {
        name_of(log->path, age - 1, from);
        name_of(log->path, age, to);
        int r = fault_rename(AT_FDCWD, from, to);
        if (r < 0 && r != -ENOENT && age == 1)
            (void)!truncate(from, 0);
    }
    cleanup_close(&log->fd);
    return open_file(log, NULL);
}

/* All of it or nothing: no line stands behind a half of another. */
static int
put(struct log_file *log, const char *text, size_t len)
{
    int r = find_file(log);
    if (r == 0 && log->bytes + len > log->bytes_max)
        r = rotate(log);
    if (r == 0)
        r = fault_write(log->fd, text, len);
    if (r < 0 && log->fd >= 0)
        (void)!ftruncate(log->fd, (off_t)log->bytes);
    return r;
}

/* ---- lines ---- */

/* "<4>" as sd-daemon(3) has it becomes "warning: "; what is no more than information goes bare. */
static const char *
take_priority(const char **line)
{
    static const char *const words[] = {
        "error: ", "error: ", "error: ", "error: ", "warning: ", "", "", "debug: "};
    const char *l = *line;
    if (l[0] != '<' || l[1] < '0' || l[1] > '7' || l[2] != '>')
        return "";
    *line += 3;
    return words[l[1] - '0'];
}

/* "ESC [ 1 ; 3 2 m": the bytes of it; 0 for anything else. */
static size_t
color_len(const char *at, size_t left)
{
    size_t len = 2;
    if (left < 3 || at[0] != '\033' || at[1] != '[')
        return 0;
    while (len < left && (at[len] == ';' || (at[len] >= '0' && at[len] <= '9')))
        len++;
    return len < left && at[len] == 'm' ? len + 1 : 0;
}

/* As text that any terminal and any reader of UTF-8 may get. */
static void
clean(const struct log_file *log, char text[LOG_LINE_MAX + 4])
{
    size_t len = 0;
    for (size_t at = 0; at < log->len;) {
        size_t color = color_len(log->line + at, log->len - at);
        size_t step = text_utf8_step(log->line + at, log->len - at);
        if (color) {
            at += color;
            continue;
        }
        if (step == 0 || log->line[at] == '\0')
            text[len] = '?';
        else if (log->line[at] == '\t')
            text[len] = ' ';
        else
            memcpy(text + len, log->line + at, step);
        len += MAX(step, 1u);
        at += MAX(step, 1u);
    }
    memcpy(text + len, "...", sizeof("..."));
    if (!log->cut)
        text[len] = '\0';
    text_make_safe(text, LOG_LINE_MAX + 4, (int)strlen(text));
}

/* "2026-11-21 07:35:58.543" */
static size_t
print_time(uint64_t us, char text[TIME_MAX])
{
    time_t seconds = (time_t)(us / 1000000);
    struct tm tm;
    size_t len = strftime(text, TIME_MAX - 8, "%Y-%m-%d %H:%M:%S", localtime_r(&seconds, &tm));
    return len +
           (size_t)snprintf(text + len, TIME_MAX - len, ".%03u", (unsigned)(us / 1000 % 1000));
}

/* What is to be told of lines that were lost, as a line; nothing when none were. */
static size_t
print_loss(const struct log_loss *loss, char text[LOSS_TEXT_MAX])
{
    char now[TIME_MAX], first[TIME_MAX], last[TIME_MAX];
    bool one = loss->lines == 1;
    if (loss->lines == 0)
        return 0;
    (void)print_time(clock_wall_us(), now);
    (void)print_time(loss->first_us, first);
    (void)print_time(loss->last_us, last);
    int len = snprintf(
        text, LOSS_TEXT_MAX, "%s citadel: %llu line%s (%llu bytes) %s lost between %s and %s: %s\n",
        now, (unsigned long long)loss->lines, one ? "" : "s", (unsigned long long)loss->bytes,
        one ? "was" : "were", first, last, strerror(loss->error));
    assert(len < LOSS_TEXT_MAX);
    return (size_t)len;
}

static void
lose(struct log_file *log, size_t len, int error)
{
    struct log_loss *loss = &log->loss;
    loss->last_us = clock_wall_us();
    if (loss->lines++ == 0)
        loss->first_us = loss->last_us;
    loss->bytes += len;
    loss->error = error;
    log->lost_lines++;
    log->lost_bytes += len;
}

/* What was lost is told with the first line for which there is room again. */
static void
write_line(struct log_file *log, struct buf *written)
{
    char text[LOG_LINE_MAX + 4], out[LOSS_TEXT_MAX + LOG_LINE_MAX + 64];
    const char *line = text;
    size_t told = print_loss(&log->loss, out), len = told;
    clean(log, text);
    const char *word = take_priority(&line);
    len += print_time(clock_wall_us(), out + len);
    len += (size_t)snprintf(out + len, sizeof(out) - len, " %s%s\n", word, line);
    log->len = 0;
    log->cut = false;
    int r = put(log, out, len);
    if (r < 0)
        lose(log, len - told, -r);
    else
        log->loss = (struct log_loss){0};
    if (written)
        buf_add(written, out + (r < 0 ? told : 0), len - (r < 0 ? told : 0));
}

void
log_file_close(struct log_file *log)
{
    char text[LOSS_TEXT_MAX];
    size_t len = print_loss(&log->loss, text);
    if (len)
        (void)!put(log, text, len);
    cleanup_close(&log->fd);
}

void
log_file_end(struct log_file *log, struct buf *written)
{
    if (log->len)
        write_line(log, written);
}

void
log_file_add(struct log_file *log, const char *bytes, size_t len, struct buf *written)
{
    for (size_t i = 0; i < len; i++) {
        if (bytes[i] == '\n' || bytes[i] == '\r')
            log_file_end(log, written);
        else if (log->len < sizeof(log->line))
            log->line[log->len++] = bytes[i];
        else
            log->cut = true;
    }
}

/* ---- reading ---- */

/* Where the last lines begin; *ret_count: how many there are from there on. */
static size_t
find_lines(const char *text, size_t len, size_t lines, size_t *ret_count)
{
    size_t at = len, count = 0;
    while (at > 0 && count < lines) {
        const char *before = at > 1 ? memrchr(text, '\n', at - 1) : NULL;
        at = before ? (size_t)(before - text) + 1 : 0;
        count++;
    }
    *ret_count = count;
    return at;
}

static void
put_before(struct buf *out, const char *text, size_t len)
{
    char *room = buf_reserve(out, len);
    if (!room)
        return;
    memmove(out->data + len, out->data, out->len);
    memcpy(out->data, text, len);
    buf_commit(out, len);
}

/* Puts the last lines of a file before what is there already, and counts them; -ENOSPC: not all that
 * were wanted, since the buffer is full. */
static int
tail_one(const char *path, size_t lines, struct buf *out)
{
    struct stat st;
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode))
        return -EINVAL;
    size_t room = out->ceiling_bytes - out->len, size = (size_t)st.st_size, count;
    size_t want = MIN(size, MIN(room, (size_t)(LOG_FILE_BYTES + LOG_LINE_MAX)));
    _cleanup_free_ char *text = malloc(want + 1);
    ssize_t got = text ? pread(fd, text, want, (off_t)(size - want)) : -1;
    if (got < 0)
        return text ? -errno : -ENOMEM;
    size_t at = find_lines(text, (size_t)got, lines, &count);
    if (at == 0 && want < size) { /* begins in the middle of a line */
        const char *end = memchr(text, '\n', (size_t)got);
        at = end ? (size_t)(end - text) + 1 : (size_t)got;
        put_before(out, text + at, (size_t)got - at);
        return -ENOSPC;
    }
    put_before(out, text + at, (size_t)got - at);
    return (int)count;
}

int
log_file_tail(const char *path, size_t lines, struct buf *out, struct err *reterr)
{
    char name[PATH_MAX];
    int found = -ENOENT;
    for (unsigned age = 0; age < LOG_FILE_COUNT && (lines > 0 || age == 0); age++) {
        name_of(path, age, name);
        int r = tail_one(name, lines, out);
        if (r == -ENOSPC)
            return 1;
        if (r < 0 && r != -ENOENT)
            return err_set_errno(reterr, -r, "cannot read the log '%s'", name);
        if (r >= 0) {
            found = 0;
            lines -= MIN((size_t)r, lines);
        }
    }
    return found < 0 ? err_set_errno(reterr, -found, "there is no log '%s'", path) : 0;
}
