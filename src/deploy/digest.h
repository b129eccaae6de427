#pragma once

/* What was shown is what is done: all that a change of what is deployed rests on, in one number.
 * Whoever shows it and asks hands the number on, and it is compared with the lock held, before
 * anything is written. In it are the files that are to be deployed, to the byte, and what is
 * current: its number and its manifest. What happens to run is not: that may change at any time. */

#include "deploy/generation.h"

#include "base/hash.h"

/* A digest of pieces: begun with what is current (0: nothing), then each file. */
void deploy_digest_begin(const char *store, unsigned current, struct hash_sha256 *ret);
void deploy_digest_add(struct hash_sha256 *h, const char *name, const void *bytes, size_t len);
void deploy_digest_end(struct hash_sha256 *h, char ret_digest[HASH_SHA256_HEX]);

void deploy_digest(const char *store, unsigned current, const struct generation_file *files,
                   size_t count, char ret_digest[HASH_SHA256_HEX]); /* of a whole */

/* ERR_DEPLOY_STALE: what was expected is another one; NULL expects nothing. */
int deploy_digest_check(const char *expected, const char *found, struct err *reterr) must_check;
