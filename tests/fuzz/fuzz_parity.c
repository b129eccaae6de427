/* Parity of a pack, read by who repairs. A first byte below 128: what follows is damage, 4 bytes
 * each: where (3 bytes, of the pack and its parity behind each other), and what is flipped
 * there. Else: what follows is what lies where the parity should be, its head made to fit.
 * Whatever is said to be the pack is the pack; and damage within the promise is always mended. */

#include "backup/bytes_int.h"
#include "backup/parity_int.h"
#include "base/crc32c.h"

#include <errno.h>
#include <stdlib.h>

#define PACK_BYTES (9 * PARITY_CELL + 123)
#define PERCENT 20
#define FILE_MAX (128 * KIB)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct file {
    uint8_t bytes[FILE_MAX];
    size_t len;
};

static struct file pack, parity, out;
static uint8_t name[HASH_SHA256_BYTES];

static int
read_file(void *arg, uint64_t at, void *ret_bytes, size_t len)
{
    const struct file *f = arg;
    if (at > f->len || len > f->len - at)
        return -ENODATA;
    memcpy(ret_bytes, f->bytes + at, len);
    return 0;
}

static int
write_file(void *arg, const void *bytes, size_t len, struct err *reterr)
{
    struct file *f = arg;
    if (len > FILE_MAX - f->len)
        return err_set_errno(reterr, EFBIG, "more than a pack");
    memcpy(f->bytes + f->len, bytes, len);
    f->len += len;
    return 0;
}

static void
digest_of(const struct file *f, uint8_t ret[HASH_SHA256_BYTES])
{
    struct hash_sha256 hash;
    hash_sha256_init(&hash);
    hash_sha256_update(&hash, f->bytes, f->len);
    hash_sha256_final(&hash, ret);
}

static void
make(struct parity_shape *ret_shape)
{
    const struct flow_source from = {.read = read_file, .arg = &pack, .bytes = PACK_BYTES};
    const struct flow_sink to = {.write = write_file, .arg = &parity};
    pack.len = PACK_BYTES;
    parity.len = 0;
    for (size_t i = 0; i < PACK_BYTES; i++)
        pack.bytes[i] = (uint8_t)(i * i >> 5 ^ i);
    digest_of(&pack, name);
    *ret_shape = parity_shape_wanted(PACK_BYTES, PERCENT);
    int r = parity_make(&from, name, PERCENT, &to, NULL);
    assert(r == 0 && parity.len == parity_bytes(PACK_BYTES, PERCENT));
}

/* Whether it is still within the promise. */
static bool
damage(const uint8_t *data, size_t len, const struct parity_shape *s)
{
    bool is_hit[2 * FILE_MAX / PARITY_CELL] = {false};
    size_t pack_cells = (pack.len + PARITY_CELL - 1) / PARITY_CELL, cells = 0, heads = 0,
           tables = 0;
    size_t all = pack_cells + parity.len / PARITY_CELL;
    for (; len >= 4; data += 4, len -= 4) {
        size_t at =
            (data[0] | (size_t)data[1] << 8 | (size_t)data[2] << 16) % (pack.len + parity.len);
        bool in_pack = at < pack.len;
        if (data[3] == 0)
            continue;
        if (in_pack)
            pack.bytes[at] ^= data[3];
        else
            parity.bytes[at - pack.len] ^= data[3];
        is_hit[in_pack ? at / PARITY_CELL : pack_cells + (at - pack.len) / PARITY_CELL] = true;
    }
    for (size_t i = 0; i < all; i++) {
        size_t in_parity = i - pack_cells;
        if (!is_hit[i])
            continue;
        if (i < pack_cells)
            cells++;
        else if (in_parity == 0 || i == all - 1)
            heads++;
        else if (in_parity == s->table_cells || i == all - 2)
            tables++;
        else
            cells++;
    }
    return cells <= s->parity && heads <= 1 && tables <= 1;
}

static void
replace(const uint8_t *data, size_t len)
{
    parity.len = MIN(len, FILE_MAX);
    memcpy(parity.bytes, data, parity.len);
    if (parity.len < PARITY_CELL)
        return;
    memcpy(parity.bytes, PARITY_MAGIC, sizeof(PARITY_MAGIC));
    memcpy(parity.bytes + 32, name, sizeof(name));
    put_u32(parity.bytes + PARITY_HEAD_BYTES - 4, crc32c(0, parity.bytes, PARITY_HEAD_BYTES - 4));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct parity_shape shape;
    struct parity_told told;
    struct err err = {0};
    uint8_t digest[HASH_SHA256_BYTES];
    bool must_mend = false;
    if (len == 0)
        return 0;
    make(&shape);
    if (data[0] < 128)
        must_mend = damage(data + 1, len - 1, &shape);
    else
        replace(data + 1, len - 1);
    const struct flow_source from = {.read = read_file, .arg = &pack, .bytes = pack.len};
    const struct flow_source beside = {.read = read_file, .arg = &parity, .bytes = parity.len};
    const struct flow_sink to = {.write = write_file, .arg = &out};
    out.len = 0;
    int r = parity_repair(&from, &beside, name, &to, &told, &err);
    digest_of(&out, digest);
    assert(r != 0 || memcmp(digest, name, sizeof(name)) == 0);
    assert(r == 0 || err.id == ERR_PARITY_DAMAGED || err.id == ERR_PARITY_SHORT);
    assert(r == 0 || !must_mend);
    assert(told.ranges_count <= PARITY_RANGES_MAX);
    return 0;
}
