/* The journal of a change: whatever stands in it, it is refused, or printed as it was read. A digest
 * is put behind every input, since no fuzzer finds one. */

#include "base/hash.h"
#include "sys/change_int.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void
add_digest(struct buf *text)
{
    struct hash_sha256 h;
    uint8_t digest[HASH_SHA256_BYTES];
    char hex[HASH_SHA256_HEX];
    hash_sha256_init(&h);
    hash_sha256_update(&h, text->data, text->len);
    hash_sha256_final(&h, digest);
    hash_sha256_hex(digest, hex);
    buf_printf(text, "%s\n", hex);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    bool decided;
    _cleanup_change_ struct change c;
    _cleanup_buf_ struct buf text = BUF_INIT(16 * MIB), printed = BUF_INIT(16 * MIB);
    buf_add(&text, data, len);
    add_digest(&text);
    change_init(&c, "/journal");
    if (!change_parse(text.data, text.len, &c, &decided))
        return 0;
    change_print(&c, decided, &printed);
    if (printed.len != text.len || memcmp(printed.data, text.data, text.len) != 0)
        abort();
    return 0;
}
