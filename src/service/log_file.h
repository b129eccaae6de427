#pragma once

/* The log of a service as files: NAME.log, and NAME.log.1 to .4, which are older. When NAME.log is
 * full the others move on by one, and the last is dropped: five times ten MiB, whatever the service
 * says. A crash between two moves leaves a gap in the numbers, which the next
 * rotation closes.
 *
 * Each line has the local time in front, and a word for its priority if it began with one as for the
 * journal (<3> to <7>):
 *
 *     2026-11-21 07:35:58.543 warning: the text
 *
 * What the service wrote is a stranger's text: colours are taken out, other bytes that could drive a
 * terminal are replaced, a line longer than 4 KiB is cut. A carriage return ends a line too, as
 * programs write that show their progress; empty lines are not kept. */

#include "base/buf.h"
#include "base/err.h"

#define LOG_FILE_BYTES (10 * MIB)
#define LOG_FILE_COUNT 5
#define LOG_LINE_MAX 4096

struct log_file {
    const char *path; /* the caller's */
    int fd;           /* -1: it cannot be written, and is tried again with the next line */
    uint64_t bytes;
    uint64_t bytes_max;
    char line[LOG_LINE_MAX];
    size_t len;
    bool cut; /* there was more of it */
};

int log_file_open(struct log_file *log, const char *path, struct err *reterr) must_check;
void log_file_close(struct log_file *log);

/* Whole lines are written, each once its end has come. What cannot be written (a full disk) is lost:
 * whoever writes is never kept waiting. written, if any, gets the same lines. */
void log_file_add(struct log_file *log, const char *bytes, size_t len, struct buf *written);
void log_file_end(struct log_file *log, struct buf *written); /* a line that was begun is whole */

/* Adds the last lines of a log, from older files too as far as needed and as the buffer's ceiling
 * allows. -ENOENT: there is no such log. */
int log_file_tail(const char *path, size_t lines, struct buf *out, struct err *reterr) must_check;
