#pragma once

/* GET /v1/models: every name under which something can be asked, and how what answers is: as the
 * monitor says, and without one as far as requests have found out; and its limits. */

#include "base/buf.h"
#include "base/err.h"

struct key;
struct relay;

#define MODELS_BYTES_MAX (4 * MIB)

/* key: only what it may ask for; NULL: all. */
void models_write_all(struct buf *out, const struct relay *relay, const struct key *key,
                      uint64_t created_s);
/* NO_MODEL, with the nearest there is. */
int models_write_one(struct buf *out, const struct relay *relay, const struct key *key,
                     const char *name, uint64_t created_s, struct err *reterr) must_check;
