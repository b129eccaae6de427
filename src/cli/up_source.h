#pragma once

/* What `citadel up` runs: a configuration that was read whole, and what it asks for. The services read the
 * supervisor's copy of it, and not the file that a person may be editing: one that crashes in between
 * starts again as it was. */

#include "base/buf.h"
#include "base/mem.h"
#include "service/client.h"
#include "service/list.h"

struct config;

struct up_source {
    struct config *config; /* NULL: nothing is deployed, and nothing runs */
    struct arena arena;    /* of the list */
    struct service_list list;
    struct buf text; /* of the configuration */
    struct service_source told;
};

struct up_wish {
    const char *program;      /* our own path */
    const char *const *names; /* of those that are wanted; none: all are */
    char *run_dir, *store; /* for its life those of the first configuration; NULL: not known yet */
};

/* Of a configuration that was loaded from `file`; it becomes the source's. Whether the current generation
 * is the same is looked at. */
int up_source_make(const struct up_wish *wish, struct config *config, const char *text, size_t len,
                   const char *file, struct up_source *ret, struct err *reterr) must_check;
/* Anew: the same file, or the generation that is current in the same store. */
int up_source_read(const struct up_wish *wish, const struct up_source *before,
                   enum service_read what, struct up_source *ret, struct err *reterr) must_check;
void up_source_finish(struct up_source *source);
#define _cleanup_up_source_ _cleanup_(up_source_finish)

/* "generation 7", or "/etc/citadel.yaml, which is not deployed". */
void up_source_print(const struct service_source *source, struct buf *out);
