#pragma once

/* Two histories: events in STATE/monitor/events.jsonl of services, and in STATE/deploy/events.jsonl of
 * deployments, a line each, oldest first. Each is only ever
 * added to. When it is full, or half of what is to be kept is older than the rest, it becomes
 * events.old.jsonl, which replaces the one before: so there is never more than twice the ceiling,
 * and nothing older than one and a half times what is to be kept.
 *
 * One writes, the monitor or whoever has the lock of deployments; any number read, while it
 * does. A crash leaves at most the beginning of one line: the next writer cuts it off and says
 * so, and readers pass it over. */

#include "base/buf.h"
#include "lifecycle/event.h"

#include <sys/types.h>

#define HISTORY_BYTES_MAX (8 * MIB) /* of a file */

enum history_of { HISTORY_OF_SERVICES, HISTORY_OF_DEPLOYMENTS };

struct history {
    char *path, *old_path;
    uint64_t keep_us;
    uint64_t bytes_max, bytes;
    uint64_t first_us; /* of the oldest event in the file; 0: it is empty */
    int fd;
};

/* bytes_max: 0 for HISTORY_BYTES_MAX. *ret_torn: how many bytes of a line that was not whole have been
 * cut off. */
int history_open(struct history *history, const char *state_dir, enum history_of what,
                 uint64_t keep_us, uint64_t bytes_max, uint64_t *ret_torn, struct err *reterr)
    must_check;
void history_close(struct history *history);

/* When it returns, the event outlives us; a power cut only after history_keep(). */
int history_add(struct history *history, const struct event *event, struct err *reterr) must_check;
/* What was added outlives a power cut, too, when this returns: it waits for the disk. */
int history_keep(const struct history *history, struct err *reterr) must_check;

/* Reads what is there, and what is added. */
struct history_reader {
    char *path, *old_path;
    int fd;
    off_t begin;     /* what lies before it is not looked at */
    bool is_old;     /* fd is that of the file before */
    struct buf rest; /* of a line that is not whole yet */
    uint64_t lost;   /* lines that are no events, or too long */
};
int history_reader_open(struct history_reader *reader, const char *state_dir, enum history_of what,
                        struct err *reterr) must_check;
/* Likewise from the last so many lines on, which are looked for from behind. */
int history_reader_open_last(struct history_reader *reader, const char *state_dir,
                             enum history_of what, uint64_t lines, struct err *reterr) must_check;
void history_reader_close(struct history_reader *reader);
#define _cleanup_history_reader_ _cleanup_(history_reader_close)

/* 1: the next event; 0: there are no more now. */
int history_next(struct history_reader *reader, struct event *ret_event, struct err *reterr)
    must_check;
