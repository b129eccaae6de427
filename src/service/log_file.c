#include "service/log_file.h"

#include "sys/clock.h"
#include "sys/files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static int
open_file(struct log_file *log)
{
    struct stat st;
    log->fd = open(log->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (log->fd < 0 || fstat(log->fd, &st) < 0)
        return -errno;
    log->bytes = (uint64_t)st.st_size;
    return 0;
}

int
log_file_open(struct log_file *log, const char *path, struct err *reterr)
{
    char dir[PATH_MAX];
    *log = (struct log_file){.path = path, .fd = -1, .bytes_max = LOG_FILE_BYTES};
    const char *slash = strrchr(path, '/');
    int len = snprintf(dir, sizeof(dir), "%.*s", slash ? (int)(slash - path) : 0, path);
    int r = len > 0 && len < (int)sizeof(dir) ? file_make_dirs(dir, 0755, reterr) : 0;
    if (r < 0)
        return r;
    r = open_file(log);
    return r < 0 ? err_set_errno(reterr, -r, "the log '%s'", path) : 0;
}

void
log_file_close(struct log_file *log)
{
    cleanup_close(&log->fd);
}

static void
name_of(const char *path, unsigned age, char name[PATH_MAX])
{
    if (age)
        (void)snprintf(name, PATH_MAX, "%s.%u", path, age);
    else
        (void)snprintf(name, PATH_MAX, "%s", path);
}

static void
rotate(struct log_file *log)
{
    char from[PATH_MAX], to[PATH_MAX];
    for (unsigned age = LOG_FILE_COUNT - 1; age > 0; age--) {
        name_of(log->path, age - 1, from);
        name_of(log->path, age, to);
        (void)rename(from, to);
    }
    cleanup_close(&log->fd);
    (void)!open_file(log);
}

/* "<4>" as sd-daemon(3) has it becomes "warning: "; what is no more than information goes bare. */
static const char *
take_priority(const char **line, size_t *len)
{
    static const char *const words[] = {
        "error: ", "error: ", "error: ", "error: ", "warning: ", "", "", "debug: "};
    if (*len < 3 || (*line)[0] != '<' || (*line)[1] < '0' || (*line)[1] > '7' || (*line)[2] != '>')
        return "";
    const char *word = words[(*line)[1] - '0'];
    *line += 3;
    *len -= 3;
    return word;
}

static void
write_line(struct log_file *log, struct buf *written)
{
    char out[LOG_LINE_MAX + 64];
    const char *line = log->line;
    size_t len = log->len;
    const char *word = take_priority(&line, &len);
    uint64_t now = clock_wall_us();
    time_t seconds = (time_t)(now / 1000000);
    struct tm tm;
    size_t at = strftime(out, 40, "%Y-%m-%d %H:%M:%S", localtime_r(&seconds, &tm));
    at += (size_t)snprintf(out + at, 60 - at, ".%03u %s", (unsigned)(now / 1000 % 1000), word);
    memcpy(out + at, line, len);
    at += len;
    out[at++] = '\n';
    if (log->bytes + at > log->bytes_max)
        rotate(log);
    if (log->fd >= 0 && write(log->fd, out, at) == (ssize_t)at)
        log->bytes += at;
    if (written)
        buf_add(written, out, at);
    log->len = 0;
}

void
log_file_add(struct log_file *log, const char *bytes, size_t len, struct buf *written)
{
    for (size_t i = 0; i < len; i++) {
        if (bytes[i] == '\n')
            write_line(log, written);
        else if (log->len < sizeof(log->line))
            log->line[log->len++] = bytes[i];
    }
}

/* ---- reading ---- */

/* Puts the last lines of a file before what is there already; returns how many. */
static size_t
tail_one(const char *path, size_t lines, struct buf *out)
{
    struct stat st;
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &st) < 0 || st.st_size == 0 || !S_ISREG(st.st_mode))
        return 0;
    size_t room = out->ceiling_bytes - out->len;
    size_t want = MIN((size_t)st.st_size, MIN(room, (size_t)LOG_FILE_BYTES + LOG_LINE_MAX));
    _cleanup_free_ char *text = malloc(want + 1);
    ssize_t got = text ? pread(fd, text, want, st.st_size - (off_t)want) : -1;
    if (got <= 0)
        return 0;
    size_t at = (size_t)got, count = 0;
    while (at > 0 && (text[at - 1] != '\n' || at == (size_t)got || ++count < lines))
        at--;
    count += at == 0;
    _cleanup_buf_ struct buf later = BUF_INIT(out->ceiling_bytes);
    buf_add(&later, out->data, out->len);
    buf_clear(out);
    buf_add(out, text + at, (size_t)got - at);
    buf_add(out, later.data, later.len);
    return MIN(count, lines);
}

void
log_file_tail(const char *path, size_t lines, struct buf *out)
{
    char name[PATH_MAX];
    for (unsigned age = 0; age < LOG_FILE_COUNT && lines > 0; age++) {
        name_of(path, age, name);
        lines -= tail_one(name, lines, out);
    }
}
