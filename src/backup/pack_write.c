#include "backup/object.h"
#include "backup/pack_int.h"
#include "base/crc32c.h"
#include "base/vec.h"

#include <errno.h>
#include <sys/random.h>

struct pack_writer {
    struct object_writer file;
    bool is_finished;
    VEC(struct pack_entry) entries;
};

int
pack_by_id(const void *a, const void *b)
{
    const struct pack_entry *x = a, *y = b;
    int order = memcmp(&x->id, &y->id, sizeof(x->id));
    return order ? order : (x->at > y->at) - (x->at < y->at);
}

int
pack_begin(const struct object_place *place, struct pack_writer **ret_writer, struct err *reterr)
{
    struct pack_writer *w = mem_new(struct pack_writer);
    int r = object_begin(&w->file, place, reterr);
    if (r == 0)
        r = object_write(&w->file, PACK_MAGIC, PACK_MAGIC_BYTES, reterr);
    if (r < 0)
        pack_writer_free(w);
    else
        *ret_writer = w;
    return r;
}

void
pack_writer_free(struct pack_writer *w)
{
    if (!w)
        return;
    object_end(&w->file);
    vec_finish(&w->entries);
    free(w);
}

static size_t
write_head(const struct pack_record *r, uint8_t to[PACK_HEAD_MAX])
{
    size_t len = PACK_HEAD_BYTES;
    memcpy(to, PACK_RECORD_MAGIC, 4);
    to[4] = (uint8_t)r->form;
    to[5] = r->base != NULL;
    to[6] = to[7] = 0;
    put_u32(to + 8, r->block_bytes);
    put_u32(to + 12, r->stored_bytes);
    put_u32(to + 16, crc32c(0, r->stored, r->stored_bytes));
    memcpy(to + 20, &r->id, sizeof(r->id));
    if (r->base) {
        memcpy(to + len, r->base, sizeof(*r->base));
        len += sizeof(*r->base);
    }
    put_u32(to + len, crc32c(0, to, len));
    return len + PACK_CRC_BYTES;
}

bool
pack_is_full(const struct pack_writer *w)
{
    return w->file.bytes >= PACK_FULL;
}

uint64_t
pack_bytes(const struct pack_writer *w)
{
    return w->file.bytes;
}

int
pack_add(struct pack_writer *w, const struct pack_record *record, struct err *reterr)
{
    uint8_t head[PACK_HEAD_MAX];
    size_t len = write_head(record, head);
    assert(!w->is_finished && !pack_is_full(w));
    assert(record->stored_bytes <= CODEC_STORED_MAX);
    vec_push(&w->entries, ((struct pack_entry){.id = record->id,
                                               .at = (uint32_t)w->file.bytes,
                                               .record_bytes = (uint32_t)len + record->stored_bytes,
                                               .block_bytes = record->block_bytes,
                                               .form = (uint8_t)record->form,
                                               .has_base = record->base != NULL}));
    int r = object_write(&w->file, head, len, reterr);
    return r < 0 ? r : object_write(&w->file, record->stored, record->stored_bytes, reterr);
}

/* ---- the end ---- */

static int
write_trailer(struct pack_writer *w, struct err *reterr)
{
    uint32_t begins = (uint32_t)w->file.bytes, crc = 0;
    int r = 0;
    if (w->entries.count > 0)
        qsort(w->entries.items, w->entries.count, sizeof(*w->entries.items), pack_by_id);
    for (size_t i = 0; i < w->entries.count && r == 0; i++) {
        const struct pack_entry *e = &w->entries.items[i];
        uint8_t to[PACK_ENTRY_BYTES];
        memcpy(to, &e->id, sizeof(e->id));
        put_u32(to + 32, e->at);
        put_u32(to + 36, e->record_bytes);
        put_u32(to + 40, e->block_bytes);
        put_u32(to + 44, e->form | (e->has_base ? PACK_HAS_BASE : 0));
        crc = crc32c(crc, to, sizeof(to));
        r = object_write(&w->file, to, sizeof(to), reterr);
    }
    uint8_t end[PACK_END_BYTES] = PACK_END_MAGIC;
    put_u32(end + 4, (uint32_t)w->entries.count);
    put_u32(end + 8, begins);
    put_u32(end + 12, crc);
    if (getrandom(end + 16, 12, 0) != 12)
        return err_set_errno(reterr, errno, "cannot draw what makes a pack's name its own");
    put_u32(end + 28, crc32c(0, end, 28));
    return r < 0 ? r : object_write(&w->file, end, sizeof(end), reterr);
}

int
pack_finish(struct pack_writer *w, char ret_name[HASH_SHA256_HEX], struct pack_entries *ret_entries,
            struct err *reterr)
{
    assert(!w->is_finished);
    int r = write_trailer(w, reterr);
    if (r == 0)
        r = object_finish(&w->file, ret_name, reterr);
    if (r < 0)
        return r;
    w->is_finished = true;
    *ret_entries = (struct pack_entries){w->entries.items, w->entries.count};
    return 0;
}
