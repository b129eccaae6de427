/* The journal of a change: whatever stands in it, it is refused or read within its ceilings. A
 * digest is put behind every input, since no fuzzer finds one. */

#include "base/hash.h"
#include "sys/change_int.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct hash_sha256 h;
    uint8_t digest[HASH_SHA256_BYTES];
    char hex[HASH_SHA256_HEX];
    bool decided;
    _cleanup_change_ struct change c;
    _cleanup_buf_ struct buf text = BUF_INIT(16 * MIB);
    buf_add(&text, data, len);
    hash_sha256_init(&h);
    hash_sha256_update(&h, text.data, text.len);
    hash_sha256_final(&h, digest);
    hash_sha256_hex(digest, hex);
    buf_printf(&text, "%s\n", hex);
    change_init(&c, "/journal");
    if (change_parse(text.data, text.len, &c, &decided) && c.count > CHANGE_FILES_MAX)
        abort();
    return 0;
}
