#pragma once

/* What an engine writes, passed on to our standard error a line at a time, and our own log with it.
 * Nobody waits for a reader: while none keeps up, a bounded number of lines is kept, and how many
 * were lost is told. */

#include "base/buf.h"
#include "sys/loop.h"

#define RELAY_KEPT_BYTES (256 * KIB)

struct relay {
    struct loop *loop;
    int fd;
    struct loop_timer retry;
    struct buf kept;
    size_t kept_at; /* what is before it was written */
    uint64_t lost;
};

/* fd stays the caller's, and as it is: others may share it. Until relay_finish() the log of this
 * process goes this way, too. */
void relay_init(struct relay *relay, struct loop *loop, int fd);
void relay_finish(struct relay *relay); /* waits a moment for a reader */

/* A line without its end; cut to what fits into a pipe at a time. */
void relay_line(struct relay *relay, const char *line, size_t len);
/* Text as it is, of any number of lines; and whether it would have to wait for a reader. */
void relay_text(struct relay *relay, const char *text, size_t len);
bool relay_is_behind(const struct relay *relay);
