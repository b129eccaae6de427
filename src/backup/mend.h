#pragma once

/* Parity of the packs of a repository (parity.h): made beside them, and what mends them. It is
 * of packs as they lie there, sealed or not, so that who has no key can mend, too. */

#include "backup/parity.h"
#include "backup/repository.h"

/* Makes the parity of a pack that is whole; one that is there is replaced. */
int mend_prepare(struct repository *r, const uint8_t pack[HASH_SHA256_BYTES], unsigned percent,
                 struct err *reterr) must_check;

/* Whether a pack has some. */
bool mend_is_prepared(const struct repository *r, const uint8_t pack[HASH_SHA256_BYTES]);

/* Replaces a pack by what it was; else nothing has changed: PARITY_SHORT, PARITY_DAMAGED, or
 * -ENOENT: it has no parity. */
int mend_pack(struct repository *r, const uint8_t pack[HASH_SHA256_BYTES],
              struct parity_told *ret_told, struct err *reterr) must_check;
