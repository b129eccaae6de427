#pragma once

/* Files that are as an earlier backup of the same directory has seen them, which so need not be read: by
 * size, times and inode. Asked are the last snapshot, and what a crash has left of one; keys that only add
 * can ask neither. */

#include "backup/known.h"
#include "backup/snapshot.h"

#include <sys/stat.h>

struct earlier;

/* For a snapshot that begins so. */
int earlier_open(struct repository *repository, const struct snapshot_head *head,
                 struct earlier **ret, struct err *reterr) must_check;
void earlier_free(struct earlier *e);

/* The file at this path, which comes behind that of the call before, if it is unchanged and all its
 * blocks are known. What the entry points to lives as long as *e. */
bool earlier_find(struct earlier *e, const char *path, const struct stat *st,
                  const struct known *known, struct snapshot_entry *ret);

/* Whether there is an earlier snapshot, and which. */
const uint8_t *earlier_name(const struct earlier *e);

/* What crashes have left is not needed any more. */
void earlier_clear(struct earlier *e);
