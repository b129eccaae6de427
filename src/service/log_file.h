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
 * programs write that show their progress; empty lines are not kept.
 *
 * A line that cannot be written (the disk is full) is lost, since whoever writes is never kept
 * waiting; the next that can be has a line before it that tells so:
 *
 *     2026-11-21 07:40:01.002 citadel: 12 lines (930 bytes) were lost between 2026-11-21 07:36:00.100
 *     and 2026-11-21 07:39:58.700: No space left on device
 *
 * A file that was removed, with its directory too, is made again; one that was moved is left. */

#include "base/buf.h"
#include "base/err.h"

#include <sys/types.h>

#define LOG_FILE_BYTES (10 * MIB)
#define LOG_FILE_COUNT 5
#define LOG_LINE_MAX 4096

/* Lines that were lost, and that the log does not tell of yet. */
struct log_loss {
    uint64_t lines, bytes;
    uint64_t first_us, last_us; /* since 1970 */
    int error;                  /* why the last of them was; 0: none is */
};

struct log_file {
    const char *path; /* the caller's */
    int fd;           /* -1: it cannot be opened, and is tried again with the next line */
    dev_t device;
    ino_t inode;
    uint64_t bytes; /* before the last write */
    uint64_t bytes_max;
    struct log_loss loss;
    uint64_t lost_lines, lost_bytes; /* since it was opened */
    char line[LOG_LINE_MAX];
    size_t len;
    bool cut; /* there was more of it */
};

int log_file_open(struct log_file *log, const char *path, struct err *reterr) must_check;
void log_file_close(struct log_file *log); /* tells of a loss, if there is room by now */

/* Whole lines are written, each once its end has come. written, if any, gets the same lines, and those
 * that are lost. */
void log_file_add(struct log_file *log, const char *bytes, size_t len, struct buf *written);
void log_file_end(struct log_file *log, struct buf *written); /* a line that was begun is whole */

/* Adds the last lines of a log, from older files too as far as needed and as the buffer's ceiling
 * allows: 1: there are more, and it does not. -ENOENT: there is no such log. */
int log_file_tail(const char *path, size_t lines, struct buf *out, struct err *reterr) must_check;
