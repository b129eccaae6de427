#pragma once

/* The file of a lease, and the lock on it. */

#include "base/buf.h"
#include "gpu/lease.h"

/* A lease of every part and the longest names takes some 6 KiB. */
#define LEASE_FILE_MAX (16 * KIB)
#define LEASE_DRAFT_SUFFIX ".new" /* of ".NAME.new", which becomes NAME */

void lease_print(const struct gpu_lease *lease, struct buf *out);
int lease_parse(const char *text, size_t len, struct gpu_lease *ret_lease, struct err *reterr)
    must_check;

/* Opens a directory of leases; one that others can write to is refused. With `make`, it is made when
 * it is not there, and belongs to the owner of the one above. */
int lease_dir_open(const char *path, bool make, int *ret_dir, struct err *reterr) must_check;

/* Puts the lease into dir as `name`, locked: complete and locked from the moment it can be seen. */
int lease_file_put(int dir, const char *name, const struct gpu_lease *lease, int *ret_fd)
    must_check;

/* 1: held, and read; 0: nobody holds it. -errno also for what is no lease. */
int lease_file_read(int dir, const char *name, struct gpu_lease *ret_lease) must_check;
