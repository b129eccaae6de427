#pragma once

/* Which blocks a repository has: those of its index, and those that are being added. What is in
 * packs that are going (mark.h) is as good as gone. */

#include "backup/index.h"
#include "backup/repository.h"

struct known;

/* Packs that no fragment of the index tells of, which a crash or another host may have left, are
 * indexed before. What of them is damaged is passed over: it is for those who verify; and so are
 * all, by keys that only add. */
int known_open(struct repository *repository, struct known **ret, struct err *reterr) must_check;
void known_free(struct known *k);

/* Whether it is in the repository for sure: what is being added is not yet. */
bool known_has(const struct known *k, const struct block_id *id);
const struct index *known_index(const struct known *k); /* of what is */
/* Whether it was known in either way; from here on it is. */
bool known_add(struct known *k, const struct block_id *id);
