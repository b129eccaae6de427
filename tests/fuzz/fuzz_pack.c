/* Any bytes as a pack: what is read of it lies within it, and blocks are as long as they are said to be.
 * CRCs are made right first, where records are found, so that fuzzing gets behind them. */

#include "backup/pack_int.h"
#include "base/crc32c.h"
#include "base/mem.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void
mend_record(uint8_t *p, size_t left)
{
    size_t head = PACK_HEAD_BYTES + (p[5] & 1 ? sizeof(struct block_id) : 0);
    if (left < head + PACK_CRC_BYTES)
        return;
    size_t stored = get_u32(p + 12);
    if (stored <= left - head - PACK_CRC_BYTES)
        put_u32(p + 16, crc32c(0, p + head + PACK_CRC_BYTES, stored));
    put_u32(p + head, crc32c(0, p, head));
}

static void
mend(uint8_t *bytes, size_t len)
{
    for (size_t at = 0; at + PACK_HEAD_BYTES + PACK_CRC_BYTES <= len; at++)
        if (memcmp(bytes + at, PACK_RECORD_MAGIC, 4) == 0)
            mend_record(bytes + at, len - at);
    if (len < PACK_END_BYTES)
        return;
    uint8_t *end = bytes + len - PACK_END_BYTES;
    size_t begins = get_u32(end + 8);
    if (begins <= len - PACK_END_BYTES)
        put_u32(end + 12, crc32c(0, bytes + begins, len - PACK_END_BYTES - begins));
    put_u32(end + 28, crc32c(0, end, 28));
}

static void
look(struct codec *codec, const struct pack *pack, const struct pack_entries *entries)
{
    static uint8_t block[CODEC_BLOCK_MAX];
    for (size_t i = 0; i < entries->count; i++) {
        struct pack_found found;
        if (pack_read(pack, entries->items[i].at, &found, NULL) < 0)
            continue;
        const struct pack_record *r = &found.record;
        const struct codec_stored stored = {
            .form = r->form, .bytes = r->stored, .len = r->stored_bytes};
        assert(r->stored >= pack->bytes && r->stored + r->stored_bytes <= pack->bytes + pack->len);
        (void)!codec_decode(codec, &stored, block, r->block_bytes, NULL);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct codec *codec;
    struct pack_entries entries;
    uint8_t *bytes = malloc(len + !len);
    assert(bytes);
    memcpy(bytes, data, len);
    mend(bytes, len);
    const struct pack pack = {bytes, len};
    struct flow_piece piece = {bytes, len};
    const struct flow_source source = flow_source_memory(&piece);
    if (!codec)
        codec = codec_new(CODEC_SMALLEST);
    if (pack_read_entries(&source, &entries, NULL) == 0) {
        look(codec, &pack, &entries);
        free(entries.items);
    }
    size_t none = pack_salvage(&pack, &entries);
    assert(none <= len);
    look(codec, &pack, &entries);
    free(entries.items);
    free(bytes);
    return 0;
}
