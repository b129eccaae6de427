#pragma once

/* Packs: files that hold stored blocks, written once and never changed. A pack's name is the
 * SHA-256 of its bytes, so that `sha256sum` alone can tell whether it is whole. All numbers are
 * little-endian:
 *
 *   16 bytes   "citadel pack 1\n", and a zero
 *   records    back to back, each
 *       4      "CBLK"
 *       1      form (form.def)
 *       1      1: there is a base
 *       2      zero
 *       4      bytes of the block
 *       4      bytes stored
 *       4      CRC-32C of the bytes stored
 *       32     SHA-256 of the block
 *       32     SHA-256 of the base, where there is one
 *       4      CRC-32C of the record so far
 *       ...    the bytes stored (codec.h)
 *   trailer    an entry of 48 bytes for each record, by SHA-256, and of the same by place
 *       32     SHA-256 of the block
 *       4      where its record begins
 *       4      bytes of the record
 *       4      bytes of the block
 *       4      form; the highest bit: there is a base
 *   32 bytes   the end: "CEND", entries (4), where the trailer begins (4), CRC-32C of the trailer (4),
 *              12 of chance, CRC-32C of the 28 bytes before (4)
 *
 * The trailer tells where everything is; without it records are found one after the other, and
 * where one is damaged, the next by its first four bytes and the CRC of its head. A pack is
 * smaller than 4 GiB. Chance is in it so that no two have one name: else who stores again what
 * was in a pack that is going (mark.h) would rely on it. */

#include "backup/codec.h"
#include "backup/flow.h"
#include "backup/object.h"
#include "base/hash.h"

#define PACK_FULL ((uint32_t)(128 * MIB)) /* where the next block goes into another */
#define PACK_MAGIC "citadel pack 1\n"     /* and a zero: 16 bytes */

struct block_id {
    uint8_t bytes[HASH_SHA256_BYTES];
};

struct pack_entry {
    struct block_id id;
    uint32_t at, record_bytes;
    uint32_t block_bytes;
    bool has_base;
    uint8_t form; /* as it is stored: one that this version does not know may be among them */
};

struct pack_entries { /* by SHA-256 */
    struct pack_entry *items;
    size_t count;
};

/* ---- writing ---- */

struct pack_writer;

int pack_begin(const struct object_place *place, struct pack_writer **ret_writer,
               struct err *reterr) must_check;
void pack_writer_free(struct pack_writer *w); /* what was not finished is gone */

struct pack_record {
    struct block_id id;
    const struct block_id *base; /* NULL: none */
    unsigned form;
    uint32_t block_bytes;
    const uint8_t *stored;
    uint32_t stored_bytes;
};
/* After an error nothing more can be added, nor the pack finished. */
int pack_add(struct pack_writer *w, const struct pack_record *record, struct err *reterr)
    must_check;
bool pack_is_full(const struct pack_writer *w);
uint64_t pack_bytes(const struct pack_writer *w); /* so far */

/* Then the pack is on the disk under its name. The entries live as long as the writer. */
int pack_finish(struct pack_writer *w, char ret_name[HASH_SHA256_HEX],
                struct pack_entries *ret_entries, struct err *reterr) must_check;

/* ---- reading ---- */

/* As memory, mapped or read; its bytes are a stranger's. */
struct pack {
    const uint8_t *bytes;
    size_t len;
};

/* As its trailer has them, of which alone it reads. On the heap. PACK_DAMAGED. */
int pack_read_entries(const struct flow_source *pack, struct pack_entries *ret, struct err *reterr)
    must_check;
/* From its records alone, whole ones; returns how many bytes are none. */
size_t pack_salvage(const struct pack *p, struct pack_entries *ret);

/* One record, just as it was written; `stored` points into the pack, `base` into *ret. */
struct pack_found {
    struct pack_record record;
    struct block_id base;
    size_t bytes; /* of the record */
};
int pack_read(const struct pack *p, size_t at, struct pack_found *ret, struct err *reterr)
    must_check;
/* Likewise of as much as there is, PACK_HEAD_MAX or more: what is stored need not be. */
#define PACK_HEAD_MAX 88
int pack_read_head(const struct pack *p, size_t at, struct pack_found *ret, struct err *reterr)
    must_check;
