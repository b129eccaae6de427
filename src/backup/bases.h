#pragma once

/* Where a model comes from: another one in the repository whose tensors have the same names. A fine-tune
 * differs from its base in few bits of each number, and is stored as these: in a third of what it would
 * take, or less.
 *
 * Nobody tells which it is. Looked at is the newest snapshot of each model, of this one, too; taken is
 * the one that saves most of some blocks, if it saves enough. */

#include "backup/cut.h"
#include "backup/index.h"
#include "backup/repository.h"

struct bases; /* of one backup */
struct base;  /* the tensors of one snapshot */

#define BASES_MAX 16               /* snapshots that are looked at */
#define BASES_BLOCKS_MAX (1 << 20) /* of all of them, 40 bytes each: 1 TiB of weights */

/* Nothing is read until somebody asks. The index is that of all that may be relied on. */
struct bases *bases_new(struct repository *repository, const struct index *index,
                        const char *subject) must_check;
void bases_free(struct bases *b);

/* That of an open file which is cut so; NULL: none that pays. Any thread may ask. What cannot be read is
 * passed over: it is for those who verify. */
const struct base *bases_choose(struct bases *b, int fd, const struct cut_layout *layout)
    must_check;

/* The block that lies in it where this one does in its own tensor. */
bool base_find(const struct base *base, const struct cut_region *region, uint64_t at,
               uint32_t bytes, struct block_id *ret);
