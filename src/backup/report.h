#pragma once

/* What a repository has, by what was backed up: one row for each host, subject and name. Snapshots
 * that are marked as deleted only count as such, and take part in what is stored. */

#include "backup/mark.h"
#include "backup/snapshots.h"

struct report_row {
    const char *host, *subject, *name;          /* of the snapshots */
    uint64_t snapshots, deleted, good, damaged; /* good, damaged: as the last verification found */
    int64_t newest_ns, newest_good_ns;          /* begun; 0: there is none */
    const struct snapshot_row *newest;
    uint64_t bytes;        /* of the newest, as files */
    uint64_t total_bytes;  /* of all, as files: */
    uint64_t new_bytes;    /* of these new to the repository, */
    uint64_t stored_bytes; /* which have become so many */
};

struct report {
    VEC(struct report_row) rows; /* by subject, name and host */
    struct report_row all;       /* newest and the words are not set */
    uint64_t unread;             /* snapshots */
};

/* Points into all. */
void report_make(const struct snapshots *all, const struct marks *marks, struct report *ret);
void report_finish(struct report *report);

/* How many times smaller; 0: nothing tells. */
double report_dedup(const struct report_row *row);
double report_compression(const struct report_row *row);

/* Whether one should have come since: a quarter of the interval is for the run itself, and for starts that
 * are spread. 0: none is wanted. */
bool report_is_late(const struct report_row *row, uint64_t now_us, uint64_t interval_us);

/* Of what one host has backed up under that name; NULL: nothing. */
const struct report_row *report_find(const struct report *report, const char *host,
                                     const char *subject, const char *name);
