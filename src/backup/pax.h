#pragma once

/* A tar archive, as POSIX has it since 2001 (pax): any tar reads it. What the 512 bytes before a file
 * have no room for stands in records before these: names that are long or not of ASCII, sizes from 8 GiB
 * on, times in nanoseconds and before 1970, large numbers of owners, and attributes, these as GNU tar,
 * bsdtar and Python have them (SCHILY.xattr). A sparse file is written out as what it reads as.
 *
 * Nothing is kept of it, and it is never gone back in. */

#include "backup/flow.h"
#include "backup/snapshot.h"

struct pax {
    struct flow_sink to;
    uint64_t size, left; /* of the last file, and what of it is to come */
};

void pax_begin(struct pax *p, const struct flow_sink *to);

/* An entry as a snapshot has it, in a directory of the archive; "": at its top, by its own path. Of
 * a file exactly e->size bytes follow, in any pieces. */
int pax_add(struct pax *p, const char *top, const struct snapshot_entry *e, struct err *reterr)
    must_check;
int pax_write(struct pax *p, const void *bytes, size_t len, struct err *reterr) must_check;

/* Without it the archive has no end, and says so to whoever reads it. */
int pax_end(struct pax *p, struct err *reterr) must_check;
