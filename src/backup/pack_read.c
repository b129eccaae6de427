#include "backup/pack_int.h"
#include "base/crc32c.h"
#include "base/vec.h"

#include <errno.h>

static int
damaged(struct err *reterr, const char *what, size_t at)
{
    return err_set(reterr, ERR_PACK_DAMAGED, "%s, at byte %zu", what, at);
}

/* ---- one record ---- */

/* Its head, without looking at what is stored. */
int
pack_read_head(const struct pack *p, size_t at, struct pack_found *ret, struct err *reterr)
{
    const uint8_t *head = p->bytes + MIN(at, p->len);
    size_t left = p->len - MIN(at, p->len), len = PACK_HEAD_BYTES;
    if (left < PACK_HEAD_BYTES + PACK_CRC_BYTES || memcmp(head, PACK_RECORD_MAGIC, 4) != 0)
        return damaged(reterr, "there is no record", at);
    bool has_base = head[5] & 1;
    len += has_base ? sizeof(struct block_id) : 0;
    if (left < len + PACK_CRC_BYTES || get_u32(head + len) != crc32c(0, head, len))
        return damaged(reterr, "the head of a record is not what was written", at);
    *ret = (struct pack_found){.record = {.form = head[4],
                                          .block_bytes = get_u32(head + 8),
                                          .stored_bytes = get_u32(head + 12),
                                          .stored = head + len + PACK_CRC_BYTES}};
    memcpy(&ret->record.id, head + 20, sizeof(ret->record.id));
    if (has_base) {
        memcpy(&ret->base, head + PACK_HEAD_BYTES, sizeof(ret->base));
        ret->record.base = &ret->base;
    }
    ret->bytes = len + PACK_CRC_BYTES + ret->record.stored_bytes;
    return ret->record.stored_bytes <= CODEC_STORED_MAX
               ? 0
               : damaged(reterr, "a record is longer than any", at);
}

int
pack_read(const struct pack *p, size_t at, struct pack_found *ret, struct err *reterr)
{
    int r = pack_read_head(p, at, ret, reterr);
    if (r < 0)
        return r;
    if (ret->bytes > p->len - at)
        return damaged(reterr, "a record goes on behind its pack's end", at);
    if (get_u32(p->bytes + at + 16) != crc32c(0, ret->record.stored, ret->record.stored_bytes))
        return damaged(reterr, "a record's bytes are not what was stored", at);
    return 0;
}

/* ---- all of them ---- */

static struct pack_entry
entry_of(const struct pack_found *found, size_t at)
{
    return (struct pack_entry){.id = found->record.id,
                               .at = (uint32_t)at,
                               .record_bytes = (uint32_t)found->bytes,
                               .block_bytes = found->record.block_bytes,
                               .form = (uint8_t)found->record.form,
                               .has_base = found->record.base != NULL};
}

/* Where the next record may begin. */
static size_t
seek(const struct pack *p, size_t at)
{
    const uint8_t *found =
        at < p->len ? memmem(p->bytes + at, p->len - at, PACK_RECORD_MAGIC, 4) : NULL;
    return found ? (size_t)(found - p->bytes) : p->len;
}

size_t
pack_salvage(const struct pack *p, struct pack_entries *ret)
{
    VEC(struct pack_entry) entries = {0};
    size_t whole = 0;
    for (size_t at = seek(p, 0); at < p->len && at < UINT32_MAX;) {
        struct pack_found found;
        if (pack_read(p, at, &found, NULL) < 0) {
            at = seek(p, at + 1);
            continue;
        }
        vec_push(&entries, entry_of(&found, at));
        whole += found.bytes;
        at = seek(p, at + found.bytes);
    }
    if (entries.count > 0)
        qsort(entries.items, entries.count, sizeof(*entries.items), pack_by_id);
    *ret = (struct pack_entries){entries.items, entries.count};
    return p->len - whole;
}

/* ---- the trailer ---- */

struct trailer {
    uint64_t begins;
    size_t count;
    uint32_t crc;
};

static int
read_at(const struct flow_source *pack, uint64_t at, void *to, size_t len, struct err *reterr)
{
    int r = pack->read(pack->arg, at, to, len);
    return r < 0 ? err_set_errno(reterr, -r, "cannot read a pack at byte %llu",
                                 (unsigned long long)at)
                 : 0;
}

static int
find_trailer(const struct flow_source *pack, struct trailer *ret, struct err *reterr)
{
    uint8_t magic[PACK_MAGIC_BYTES], end[PACK_END_BYTES];
    if (pack->bytes < PACK_MAGIC_BYTES + PACK_END_BYTES)
        return damaged(reterr, "this is no pack of version 1", 0);
    uint64_t at = pack->bytes - PACK_END_BYTES;
    int r = read_at(pack, 0, magic, sizeof(magic), reterr);
    if (r == 0)
        r = read_at(pack, at, end, sizeof(end), reterr);
    if (r < 0)
        return r;
    if (memcmp(magic, PACK_MAGIC, PACK_MAGIC_BYTES) != 0)
        return damaged(reterr, "this is no pack of version 1", 0);
    if (memcmp(end, PACK_END_MAGIC, 4) != 0 || get_u32(end + 28) != crc32c(0, end, 28))
        return damaged(reterr, "the end of a pack is not what was written", at);
    *ret = (struct trailer){get_u32(end + 8), get_u32(end + 4), get_u32(end + 12)};
    if (ret->begins < PACK_MAGIC_BYTES ||
        ret->begins + (uint64_t)ret->count * PACK_ENTRY_BYTES != at)
        return damaged(reterr, "a pack is not as long as its end says", at);
    return 0;
}

static struct pack_entry
parse_entry(const uint8_t *from)
{
    uint32_t form = get_u32(from + 44);
    struct pack_entry e = {.at = get_u32(from + 32),
                           .record_bytes = get_u32(from + 36),
                           .block_bytes = get_u32(from + 40),
                           .form = (uint8_t)form,
                           .has_base = form & PACK_HAS_BASE};
    memcpy(&e.id, from, sizeof(e.id));
    return e;
}

int
pack_read_entries(const struct flow_source *pack, struct pack_entries *ret, struct err *reterr)
{
    struct trailer t = {0};
    int r = find_trailer(pack, &t, reterr);
    if (r < 0)
        return r;
    const size_t bytes = t.count * PACK_ENTRY_BYTES;
    _cleanup_free_ uint8_t *from = mem_alloc(bytes + 1);
    r = read_at(pack, t.begins, from, bytes, reterr);
    if (r < 0)
        return r;
    if (t.crc != crc32c(0, from, bytes))
        return damaged(reterr, "the trailer of a pack is not what was written", t.begins);
    struct pack_entry *items = mem_alloc(MAX(t.count, (size_t)1) * sizeof(*items));
    for (size_t i = 0; i < t.count; i++)
        items[i] = parse_entry(from + i * PACK_ENTRY_BYTES);
    *ret = (struct pack_entries){items, t.count};
    return 0;
}
