#pragma once

/* What may go: rotated logs, caches that nobody has used for long, temporary files and staging that were
 * left. Found first, shown, and then removed, if it still is what was found and nobody has it open.
 *
 * Directories in which accounts of services may write are hostile: no link in them is followed. */

#include "base/err.h"
#include "base/mem.h"

#include <sys/types.h>

struct config;

#define CLEAN_ITEMS_MAX 200000

enum clean_kind { CLEAN_LOG, CLEAN_CACHE, CLEAN_TEMPORARY, CLEAN_STAGING, CLEAN_KINDS };
const char *clean_kind_word(enum clean_kind kind);

struct clean_item {
    enum clean_kind kind;
    const char *name; /* within the directory of its kind */
    uint64_t bytes, age_us;
    dev_t device;
    ino_t inode;
    int64_t modified_ns;
    bool is_open; /* by some process: it stays */
};

struct clean_list {
    struct arena arena;
    int tops[CLEAN_KINDS];
    const char *paths[CLEAN_KINDS];
    struct clean_item *items; /* as found */
    size_t count, room;
    bool more;     /* than CLEAN_ITEMS_MAX */
    bool is_blind; /* the disk of the caches does not note when a file is read: none is offered */
};

/* How old each kind must be; 0: it is kept for ever. */
struct clean_ages {
    uint64_t of_us[CLEAN_KINDS];
};
struct clean_ages clean_ages_of(const struct config *config);

int clean_find(const struct config *config, const struct clean_ages *ages, uint64_t now_us,
               struct clean_list *ret_list, struct err *reterr) must_check;
void clean_list_finish(struct clean_list *list);
#define _cleanup_clean_list_ _cleanup_(clean_list_finish)

/* Notes who has which of them open, as far as this user may see: once more before they go. */
void clean_mark_open(struct clean_list *list);

/* -EBUSY: somebody has it open; -ESTALE: it is another file now. */
int clean_remove(const struct clean_list *list, const struct clean_item *item) must_check;
