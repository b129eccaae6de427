/* SHA-256 of: the number of the current generation, its digest (generation.h), and for each file
 * its name, a zero, the length of its bytes, and these; numbers with the lowest byte first. */

#include "deploy/digest.h"

#include "base/text.h"

#include <endian.h>
#include <string.h>

#define SHOWN 12 /* digits of a digest are enough to tell two apart */

static void
add_number(struct hash_sha256 *h, uint64_t n)
{
    uint64_t bytes = htole64(n);
    hash_sha256_update(h, &bytes, sizeof(bytes));
}

void
deploy_digest_begin(const char *store, unsigned current, struct hash_sha256 *ret)
{
    char manifest[HASH_SHA256_HEX];
    generation_digest(store, current, manifest);
    hash_sha256_init(ret);
    add_number(ret, current);
    hash_sha256_update(ret, manifest, sizeof(manifest));
}

void
deploy_digest_add(struct hash_sha256 *h, const char *name, const void *bytes, size_t len)
{
    hash_sha256_update(h, name, strlen(name) + 1);
    add_number(h, len);
    if (len)
        hash_sha256_update(h, bytes, len);
}

void
deploy_digest_end(struct hash_sha256 *h, char ret_digest[HASH_SHA256_HEX])
{
    uint8_t digest[HASH_SHA256_BYTES];
    hash_sha256_final(h, digest);
    hash_sha256_hex(digest, ret_digest);
}

void
deploy_digest(const char *store, unsigned current, const struct generation_file *files,
              size_t count, char ret_digest[HASH_SHA256_HEX])
{
    struct hash_sha256 h;
    deploy_digest_begin(store, current, &h);
    for (size_t i = 0; i < count; i++)
        deploy_digest_add(&h, files[i].name, files[i].bytes, files[i].len);
    deploy_digest_end(&h, ret_digest);
}

int
deploy_digest_check(const char *expected, const char *found, struct err *reterr)
{
    if (!expected || text_eq(expected, found))
        return 0;
    int r = err_set(reterr, ERR_DEPLOY_STALE,
                    "what is deployed, or would be now, is not what was shown: its digest was "
                    "%.*s, and is %.*s",
                    SHOWN, expected, SHOWN, found);
    err_fix(reterr, "citadel plan, which shows what it is now; then the same again");
    return r;
}
