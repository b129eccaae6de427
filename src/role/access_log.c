#include "role/access_log.h"

#include "base/buf.h"
#include "base/mem.h"
#include "config/config.h"
#include "fmt/json.h"
#include "gateway/ledger.h"
#include "role/losses.h"
#include "sys/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What a pipe takes at once, or not at all (pipe(7)). */
#define LINE_MAX_BYTES 4096

void
access_log_open(struct access_log *log, const struct config *config)
{
    *log = (struct access_log){.fd = -1, .lost = log->lost};
    if (config->gateway.access_log == CONFIG_ACCESS_LOG_JOURNAL)
        log->fd = dup(STDERR_FILENO);
    if (config->gateway.access_log == CONFIG_ACCESS_LOG_FILE)
        log->path = mem_printf("%s/services/access.log", config->paths.logs);
}

void
access_log_close(struct access_log *log)
{
    cleanup_close(&log->fd);
    log->fd = -1;
    free(take_ptr(log->path));
}

static void
open_file(struct access_log *log)
{
    struct stat st;
    int fd = file_open(log->path, O_WRONLY | O_APPEND | O_CREAT, 0640);
    log->fd = fd < 0 ? -1 : fd;
    log->error = fd < 0 ? -fd : 0;
    log->bytes = fd >= 0 && fstat(fd, &st) == 0 ? (uint64_t)st.st_size : 0;
}

static void
rotate(struct access_log *log)
{
    _cleanup_free_ char *before = mem_printf("%s.1", log->path);
    cleanup_close(&log->fd);
    (void)!rename(log->path, before);
    open_file(log);
}

/* What was written in part only is taken back: a line is there as a whole. */
static bool
write_whole(struct access_log *log, const struct buf *line)
{
    ssize_t n = write(log->fd, line->data, line->len);
    log->error = n < 0 ? errno : 0;
    if (n == (ssize_t)line->len) {
        log->bytes += line->len;
        return true;
    }
    if (n >= 0)
        log->error = log->path && ftruncate(log->fd, (off_t)log->bytes) < 0 ? errno : ENOSPC;
    return false;
}

static bool
write_line(struct access_log *log, const struct buf *line)
{
    if (log->path && log->fd < 0)
        open_file(log);
    if (log->path && log->fd >= 0 && log->bytes + line->len > ACCESS_LOG_BYTES)
        rotate(log);
    return log->fd >= 0 && losses_has_room(log->fd) && write_whole(log, line);
}

void
access_log_add(struct access_log *log, const struct ledger_row *row, const char *id)
{
    _cleanup_buf_ struct buf line = BUF_INIT(LINE_MAX_BYTES);
    struct json_writer w;
    if (!log->path && log->fd < 0)
        return;
    json_init(&w, &line, false);
    json_open_map(&w, NULL);
    ledger_print(row, id, &w);
    json_close_map(&w);
    buf_add_char(&line, '\n');
    if (buf_error(&line) < 0 || !write_line(log, &line))
        log->lost++;
}

const char *
access_log_why(const struct access_log *log)
{
    return log->error ? strerror(log->error) : "who reads it is too slow";
}
