#pragma once

/* The places on disks that the services need, looked at by a work: a disk or a server that hangs keeps
 * only that waiting, and is told. */

#include "base/err.h"
#include "sys/work.h"

struct config;

enum disk_kind { DISK_MODELS, DISK_STATE, DISK_BACKUP, DISK_COUNT };
const char *disk_word(enum disk_kind kind);

struct disk {
    const char *path;
    bool needed;        /* models stop without it; else it is only told */
    bool must_be_mount; /* on another file system than the root's */
    uint64_t total_bytes, free_bytes;
    struct err err; /* id ERR_NONE: all is well */
};

struct disks {
    struct loop *loop;
    void (*told)(struct disks *disks);
    void *arg;
    struct disk items[DISK_COUNT];
    bool known;
    bool looking, hung, closed;
    struct work work;
    struct disk found[DISK_COUNT]; /* the work's, while it runs */
    struct loop_timer limit;
};

struct disks *disks_new(struct loop *loop, const struct config *config,
                        void (*told)(struct disks *disks), void *arg) must_check;
/* Other paths to look at; those of before live until nothing is looked at. */
void disks_configure(struct disks *disks, const struct config *config);
void disks_free(struct disks *disks); /* one that is being looked at goes when that has ended */
void disks_look(struct disks *disks);
