#pragma once

/* The places on disks that the services need, looked at by a work: a disk or a server that hangs
 * keeps only that waiting, and is told. With them goes what lies there and is told on. */

#include "backup/job.h"
#include "base/err.h"
#include "storage/layout.h"
#include "sys/work.h"

enum place_kind { PLACE_MODELS, PLACE_STATE, PLACE_BACKUP, PLACE_COUNT };
const char *place_word(enum place_kind kind);

struct place {
    enum storage_area area;
    const char *path;
    bool needed; /* models stop without it; else it is only told */
    uint64_t total_bytes, free_bytes;
    struct err err; /* id ERR_NONE: all is well */
};

struct places {
    struct loop *loop;
    const struct config *config;
    void (*told)(struct places *places);
    void *arg;
    struct place items[PLACE_COUNT];
    struct jobs jobs; /* of backups, as they have left word at STATE */
    bool known;
    bool looking, hung, closed;
    struct work work;
    struct place found[PLACE_COUNT]; /* the work's, while it runs; and what it goes by */
    struct jobs found_jobs;
    const struct config *found_for;
    struct loop_timer limit;
};

struct places *places_new(struct loop *loop, const struct config *config,
                          void (*told)(struct places *places), void *arg) must_check;
/* Another configuration from here on. What is looked at meanwhile is that of before, which stays
 * until it was told. */
void places_configure(struct places *places, const struct config *config);
void places_free(struct places *places); /* one that is being looked at goes when that has ended */
void places_look(struct places *places);
