#pragma once

/* The log of a service as files: NAME.log, and NAME.log.1 to .4, which are older. Each line gets the
 * time in front, and the word for its priority if it begins with one as for the journal. When NAME.log is full the others move on by one; the last is dropped. */

#include "base/buf.h"
#include "base/err.h"

#define LOG_FILE_BYTES (10 * MIB)
#define LOG_FILE_COUNT 5
#define LOG_LINE_MAX 4096

struct log_file {
    const char *path; /* the caller's */
    int fd;
    uint64_t bytes;
    uint64_t bytes_max;
    char line[LOG_LINE_MAX];
    size_t len;
};

int log_file_open(struct log_file *log, const char *path, struct err *reterr) must_check;
void log_file_close(struct log_file *log);

/* Whole lines are written, each once its end has come; a longer one is cut. What cannot be written (a
 * full disk) is lost: whoever writes is never kept waiting. written, if any, gets the same bytes. */
void log_file_add(struct log_file *log, const char *bytes, size_t len, struct buf *written);

/* The last lines of a log, older files too as far as needed; up to the ceiling of the buffer. */
void log_file_tail(const char *path, size_t lines, struct buf *out);
