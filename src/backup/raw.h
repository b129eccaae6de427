#pragma once

/* Objects as they lie in a repository, sealed or not: for who mends them, and for who brings them
 * into another repository as they are. */

#include "backup/repository.h"

struct raw {
    int fd;
    struct flow_source source; /* points into this */
};
#define RAW_INIT ((struct raw){.fd = -1})

int raw_open(const struct repository *r, enum repository_area area,
             const uint8_t name[HASH_SHA256_BYTES], struct raw *ret, struct err *reterr) must_check;
void raw_close(struct raw *raw);
#define _cleanup_raw_ _cleanup_(raw_close)

/* Into another repository, under its name. -EBADMSG: it cannot be read, or its bytes do not fit its
 * name any more, and nothing of it is there; parity has no such name. */
int raw_send(const struct raw *raw, const struct repository *to, enum repository_area area,
             const uint8_t name[HASH_SHA256_BYTES], struct err *reterr) must_check;

/* Whether it has arrived: it is read back, from the disk, and compared with its name. On another
 * host that would cost the way once more: there, unless `whole`, only its length is asked for.
 * What was sent fitted its name; SSH proves each packet, and a bucket the SHA-256 that each request
 * is signed with. COPY_DIFFERS. */
int raw_check(const struct repository *r, enum repository_area area,
              const uint8_t name[HASH_SHA256_BYTES], uint64_t bytes, bool whole, struct err *reterr)
    must_check;
