#pragma once

/* Where everything lies: the directories of place.def, the link to the active models, and the disks that
 * are to be mounted. What differs on this machine, and how it is put right.
 *
 * Nothing is ever written below a mount point at which nothing is mounted, nor through a link below
 * one of our directories; what is in the way is told and left. */

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"

#include <sys/types.h>

struct config;

enum storage_owner { STORAGE_ROOT, STORAGE_SERVICE, STORAGE_GATEWAY, STORAGE_OWNERS };
enum storage_area {
    STORAGE_run,
    STORAGE_state,
    STORAGE_generations,
    STORAGE_root,
    STORAGE_logs,
    STORAGE_models, /* a disk of its own, */
    STORAGE_backup, /* likewise */
    STORAGE_AREAS
};

struct storage_place {
    enum storage_area area;
    const char *name; /* within the area, "" for itself */
    mode_t mode;
    enum storage_owner owner;
    bool held;     /* owner and mode are put right */
    bool of_model; /* one of those that each model has */
};

/* All that should be there for a configuration, in the arena; NULL: it is full. */
const struct storage_place *storage_places(const struct config *config, struct arena *arena,
                                           size_t *ret_count) must_check;
const char *storage_area_path(const struct config *config, enum storage_area area);
bool storage_area_is_disk(enum storage_area area);

enum storage_fault {
    STORAGE_MISSING,     /* a directory */
    STORAGE_RIGHTS,      /* it has another owner or mode */
    STORAGE_LINK,        /* the link is missing, or leads elsewhere */
    STORAGE_IN_THE_WAY,  /* something else is there */
    STORAGE_NOT_MOUNTED, /* an area that is to be a disk of its own */
};

struct storage_finding {
    enum storage_fault fault;
    const char *path;
    const char *found; /* "root:root 0777"; NULL: nothing is there */
    const char *wanted;
    const struct storage_place *place; /* of a directory */
    enum storage_area area;
    bool is_degraded; /* models can do without */
};

struct storage_report {
    struct arena arena;
    struct storage_finding *items; /* what is above others first */
    size_t count;
    size_t looked; /* at so many places, mounts and links */
};

/* Compares the machine with what should be. */
int storage_look(const struct config *config, struct storage_report *ret_report, struct err *reterr)
    must_check;
void storage_report_finish(struct storage_report *report);
#define _cleanup_storage_report_ _cleanup_(storage_report_finish)

const char *storage_fault_word(enum storage_fault fault);
/* Whether storage_mend() can do something about it. */
bool storage_is_mendable(const struct storage_finding *finding);
/* What is done about it: "make /x/y (root:root 0755)", or, done, "made /x/y (root:root 0755)". */
void storage_print_step(const struct storage_finding *finding, bool done, struct buf *out);
/* What is wrong, as an error with its fix; returns its errno. */
int storage_tell(const struct storage_finding *finding, struct err *reterr);

/* Puts one right; those before it have been. */
int storage_mend(const struct config *config, const struct storage_finding *finding,
                 struct err *reterr) must_check;

/* Takes back what setup makes, where it is empty: the path of each thing that was removed is told.
 * dry: none is. */
int storage_remove(const struct config *config, bool dry,
                   void (*removed)(const char *path, void *arg), void *arg, struct err *reterr)
    must_check;

/* For who reads or writes an area: that it is on the disk that was configured for it, if one was. 0, or
 * ERR_STORAGE_NOT_MOUNTED. */
int storage_check_mount(const struct config *config, enum storage_area area, struct err *reterr)
    must_check;
