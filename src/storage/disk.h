#pragma once

/* How the disks are that Citadel's directories lie on, as they say themselves (SMART). Asking takes root
 * and smartctl; what was heard is written to STATE/storage/health.json for those who have neither. */

#include "base/buf.h"
#include "base/err.h"

#include <sys/types.h>

struct config;
struct json_writer;

#define DISKS_MAX 32
#define DISK_NAME_MAX 32

enum disk_state { DISK_UNKNOWN, DISK_GOOD, DISK_WORN, DISK_FAILING };
const char *disk_state_word(enum disk_state state);

struct disk {
    char name[DISK_NAME_MAX]; /* "nvme0n1", in /dev */
    char serves[128];         /* what lies on it: "models backup" */
    enum disk_state state;
    char why[256]; /* of what it is; "" when it is good */
    char model[64], serial[64];
    bool has_celsius, has_hours, has_used;
    unsigned celsius, hours, used_percent; /* of its life, as the maker reckons */
};

struct disks {
    size_t count;
    struct disk items[DISKS_MAX];
};

/* The whole disks that a device is made of: of a partition, a mapped device, an array. sys: "/sys". */
void disk_find(const char *sys, dev_t device, const char *serves, struct disks *disks);

/* Those of the configured paths, not asked yet. */
int disks_list(const struct config *config, struct disks *ret_disks, struct err *reterr) must_check;

/* Asks each by smartctl; one that does not answer is DISK_UNKNOWN, and tells why. */
void disks_ask(struct disks *disks);

/* What smartctl said of one, as JSON. */
void disk_read_answer(const char *text, size_t len, struct disk *disk);

void disks_json(const struct disks *disks, uint64_t at_us, struct json_writer *w);
int disks_save(const struct disks *disks, uint64_t at_us, const char *state, struct err *reterr)
    must_check;
