#include "backup/mend.h"

#include "backup/raw.h"
#include "backup/repository_int.h"

#include <errno.h>
#include <string.h>

static int
write_object(void *arg, const void *bytes, size_t len, struct err *reterr)
{
    return object_write(arg, bytes, len, reterr);
}

/* Of packs: as they lie there, they are not sealed once more. */
static int
begin(const struct repository *r, enum repository_area area, struct object_writer *w,
      struct err *reterr)
{
    const struct object_place place = repository_place_raw(r, area);
    return object_begin(w, &place, reterr);
}

int
mend_prepare(struct repository *r, const uint8_t pack[HASH_SHA256_BYTES], unsigned percent,
             struct err *reterr)
{
    _cleanup_raw_ struct raw raw = RAW_INIT;
    struct object_writer w;
    char name[HASH_SHA256_HEX];
    hash_sha256_hex(pack, name);
    int k = raw_open(r, REPOSITORY_PACKS, pack, &raw, reterr);
    if (k == 0)
        k = begin(r, REPOSITORY_PARITY, &w, reterr);
    if (k < 0)
        return k;
    const struct flow_sink sink = {write_object, &w};
    k = parity_make(&raw.source, pack, percent, &sink, reterr);
    if (k == 0)
        k = object_finish_as(&w, name, reterr);
    object_end(&w);
    return k;
}

bool
mend_is_prepared(const struct repository *r, const uint8_t pack[HASH_SHA256_BYTES])
{
    _cleanup_raw_ struct raw raw = RAW_INIT;
    char name[HASH_SHA256_HEX];
    uint64_t bytes;
    hash_sha256_hex(pack, name);
    return r->kind->find ? r->kind->find(r, REPOSITORY_PARITY, name, &bytes, NULL) >= 0
                         : raw_open(r, REPOSITORY_PARITY, pack, &raw, NULL) == 0;
}

int
mend_pack(struct repository *r, const uint8_t pack[HASH_SHA256_BYTES], struct parity_told *ret_told,
          struct err *reterr)
{
    _cleanup_raw_ struct raw damaged = RAW_INIT, parity = RAW_INIT;
    struct object_writer w;
    char name[HASH_SHA256_HEX], made[HASH_SHA256_HEX];
    hash_sha256_hex(pack, name);
    int k = raw_open(r, REPOSITORY_PARITY, pack, &parity, reterr);
    if (k == 0)
        k = raw_open(r, REPOSITORY_PACKS, pack, &damaged, reterr);
    if (k == 0)
        k = begin(r, REPOSITORY_PACKS, &w, reterr);
    if (k < 0)
        return k;
    const struct flow_sink sink = {write_object, &w};
    k = parity_repair(&damaged.source, &parity.source, pack, &sink, ret_told, reterr);
    if (k == 0)
        k = object_finish(&w, made, reterr);
    assert(k < 0 || strcmp(made, name) == 0); /* as parity_repair() has seen */
    object_end(&w);
    return k;
}
