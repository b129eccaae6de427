/* What is encrypted, by its first byte. 0: a recovery key as text; what is one, printed, reads
 * as the same. 1: a file of keys, whose CRC and cost are made to fit: none of a stranger's
 * opens. 2: an object, and what is done to it, 4 bytes each: where (3 bytes), and what is
 * flipped there: it comes back as it was, or not at all. 3: a whole object of a stranger, whose
 * head is made to fit. */

#include "backup/bytes_int.h"
#include "backup/seal_int.h"
#include "base/buf.h"
#include "base/crc32c.h"
#include "base/mem.h"
#include "flow_rig.h"

#include <stdlib.h>

#define PLAIN_BYTES 70000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static struct seal_keys *keys;
static uint8_t plain[PLAIN_BYTES], back[PLAIN_BYTES];

static void
try_text(const uint8_t *data, size_t len)
{
    _cleanup_secret_ struct secret text = {0}, printed = {0};
    _cleanup_free_ char *typed = mem_strndup((const char *)data, len);
    struct seal_secret key, again;
    struct err err = {0};
    secret_set(&text, typed);
    int r = seal_recovery_parse(&text, &key, &err);
    assert(r >= 0 || err.id == ERR_SEAL_MISTYPED);
    if (r <= 0)
        return;
    seal_recovery_print(&key, &printed);
    r = seal_recovery_parse(&printed, &again, NULL);
    assert(r == 1 && memcmp(&key, &again, sizeof(key)) == 0);
}

static void
try_key(const uint8_t *data, size_t len)
{
    _cleanup_secret_ struct secret with = {0};
    _cleanup_free_ uint8_t *file = mem_alloc(len + 1);
    struct seal_keys *opened = NULL;
    struct err err = {0};
    secret_set(&with, "passphrase");
    memcpy(file, data, len);
    if (len == SEAL_KEY_BYTES) {
        put_u32(file + 20, get_u32(file + 20) % 18 ? 1 : 17);
        put_u64(file + 24, get_u64(file + 24) % 2 ? 8 * KIB : 2 * GIB);
        put_u32(file + len - 4, crc32c(0, file, len - 4));
    }
    int r = seal_keys_unlock(file, len, &with, &opened, &err);
    assert(r < 0 && !opened && (err.id == ERR_SEAL_DAMAGED || err.id == ERR_SEAL_WRONG_KEY));
}

static void
check_object(struct buf *sealed, bool is_ours)
{
    const struct flow_source source = flow_from(sealed);
    struct seal_reader *r = NULL;
    struct err err = {0};
    int k = seal_open(keys, &source, &r, &err);
    if (k == 0 && seal_bytes(r) <= PLAIN_BYTES) {
        size_t len = (size_t)seal_bytes(r);
        k = seal_read(r, 0, back, len, &err);
        assert(k < 0 || (is_ours && len == PLAIN_BYTES && memcmp(plain, back, len) == 0));
    }
    assert(k == 0 || err.id == ERR_SEAL_DAMAGED || err.id == ERR_SEAL_WRONG_KEY);
    seal_reader_free(r);
}

static void
try_damage(const uint8_t *data, size_t len)
{
    _cleanup_buf_ struct buf sealed = BUF_INIT(MIB);
    const struct flow_sink sink = flow_to(&sealed);
    struct seal_writer *w = NULL;
    int r = seal_begin(keys, SEAL_FOR_READERS, &sink, &w, NULL);
    if (r == 0)
        r = seal_write(w, plain, sizeof(plain), NULL);
    if (r == 0)
        r = seal_finish(w, NULL);
    assert(r == 0);
    seal_writer_free(w);
    for (; len >= 4; data += 4, len -= 4) {
        size_t at = (data[0] | (size_t)data[1] << 8 | (size_t)data[2] << 16) % sealed.len;
        sealed.data[at] = (char)(sealed.data[at] ^ data[3]);
    }
    check_object(&sealed, true);
}

static void
try_object(const uint8_t *data, size_t len)
{
    _cleanup_buf_ struct buf sealed = BUF_INIT(MIB);
    buf_add(&sealed, data, MIN(len, MIB));
    if (sealed.len >= 128)
        put_u32((uint8_t *)sealed.data + 124, crc32c(0, sealed.data, 124));
    check_object(&sealed, false);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static void (*const tries[])(const uint8_t *data, size_t len) = {try_text, try_key, try_damage,
                                                                     try_object};
    if (!keys && seal_keys_make(&keys, NULL) < 0)
        return 0;
    for (size_t i = 0; i < sizeof(plain); i++)
        plain[i] = (uint8_t)(i >> 8 ^ i);
    if (len)
        tries[data[0] % ARRAY_SIZE(tries)](data + 1, len - 1);
    return 0;
}
