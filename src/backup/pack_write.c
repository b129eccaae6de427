#include "backup/pack_int.h"
#include "base/buf.h"
#include "base/crc32c.h"
#include "base/vec.h"
#include "sys/fault.h"

#include <errno.h>
#include <stdio.h>
#include <sys/random.h>
#include <unistd.h>

#define PENDING_BYTES (256 * KIB) /* small records go to the disk together */

struct pack_writer {
    int dir, fd;
    char draft[sizeof(PACK_DRAFT) + 16];
    bool is_finished, has_failed;
    struct hash_sha256 hash; /* of all that was added */
    uint32_t bytes;
    struct buf pending;
    VEC(struct pack_entry) entries;
};

int
pack_by_id(const void *a, const void *b)
{
    const struct pack_entry *x = a, *y = b;
    int order = memcmp(&x->id, &y->id, sizeof(x->id));
    return order ? order : (x->at > y->at) - (x->at < y->at);
}

static int
failed(struct pack_writer *w, int r, struct err *reterr)
{
    w->has_failed = true;
    return err_set_errno(reterr, -r, "cannot write a pack");
}

static int
flush(struct pack_writer *w, struct err *reterr)
{
    int r = fault_write(w->fd, w->pending.data, w->pending.len);
    buf_clear(&w->pending);
    return r < 0 ? failed(w, r, reterr) : 0;
}

static int
append(struct pack_writer *w, const void *bytes, size_t len, struct err *reterr)
{
    hash_sha256_update(&w->hash, bytes, len);
    w->bytes += (uint32_t)len;
    if (w->pending.len + len > PENDING_BYTES) {
        int r = flush(w, reterr);
        if (r < 0)
            return r;
    }
    if (len <= PENDING_BYTES) {
        buf_add(&w->pending, bytes, len);
        return 0;
    }
    int r = fault_write(w->fd, bytes, len);
    return r < 0 ? failed(w, r, reterr) : 0;
}

int
pack_begin(int dir, struct pack_writer **ret_writer, struct err *reterr)
{
    struct pack_writer *w = mem_new(struct pack_writer);
    uint64_t chance = 0;
    (void)!getrandom(&chance, sizeof(chance), 0);
    (void)snprintf(w->draft, sizeof(w->draft), PACK_DRAFT "%016llx", (unsigned long long)chance);
    w->dir = dir;
    w->fd = fault_create(dir, w->draft, 0600);
    hash_sha256_init(&w->hash);
    buf_init(&w->pending, PENDING_BYTES);
    int r = w->fd < 0 ? failed(w, w->fd, reterr) : append(w, PACK_MAGIC, PACK_MAGIC_BYTES, reterr);
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
    if (w->fd >= 0) {
        (void)close(w->fd);
        if (!w->is_finished)
            (void)!fault_unlink(w->dir, w->draft, false);
    }
    vec_finish(&w->entries);
    buf_finish(&w->pending);
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
    pack_put_u32(to + 8, r->block_bytes);
    pack_put_u32(to + 12, r->stored_bytes);
    pack_put_u32(to + 16, crc32c(0, r->stored, r->stored_bytes));
    memcpy(to + 20, &r->id, sizeof(r->id));
    if (r->base) {
        memcpy(to + len, r->base, sizeof(*r->base));
        len += sizeof(*r->base);
    }
    pack_put_u32(to + len, crc32c(0, to, len));
    return len + PACK_CRC_BYTES;
}

bool
pack_is_full(const struct pack_writer *w)
{
    return w->bytes >= PACK_FULL;
}

int
pack_add(struct pack_writer *w, const struct pack_record *record, struct err *reterr)
{
    uint8_t head[PACK_HEAD_MAX];
    size_t len = write_head(record, head);
    assert(!w->has_failed && !w->is_finished && !pack_is_full(w));
    assert(record->stored_bytes <= CODEC_STORED_MAX);
    vec_push(&w->entries, ((struct pack_entry){.id = record->id,
                                               .at = w->bytes,
                                               .record_bytes = (uint32_t)len + record->stored_bytes,
                                               .block_bytes = record->block_bytes,
                                               .form = (uint8_t)record->form,
                                               .has_base = record->base != NULL}));
    int r = append(w, head, len, reterr);
    return r < 0 ? r : append(w, record->stored, record->stored_bytes, reterr);
}

/* ---- the end ---- */

static int
append_trailer(struct pack_writer *w, struct err *reterr)
{
    uint32_t begins = w->bytes, crc = 0;
    int r = 0;
    qsort(w->entries.items, w->entries.count, sizeof(*w->entries.items), pack_by_id);
    for (size_t i = 0; i < w->entries.count && r == 0; i++) {
        const struct pack_entry *e = &w->entries.items[i];
        uint8_t to[PACK_ENTRY_BYTES];
        memcpy(to, &e->id, sizeof(e->id));
        pack_put_u32(to + 32, e->at);
        pack_put_u32(to + 36, e->record_bytes);
        pack_put_u32(to + 40, e->block_bytes);
        pack_put_u32(to + 44, e->form | (e->has_base ? PACK_HAS_BASE : 0));
        crc = crc32c(crc, to, sizeof(to));
        r = append(w, to, sizeof(to), reterr);
    }
    uint8_t end[PACK_END_BYTES] = PACK_END_MAGIC;
    pack_put_u32(end + 4, (uint32_t)w->entries.count);
    pack_put_u32(end + 8, begins);
    pack_put_u32(end + 12, crc);
    pack_put_u32(end + 28, crc32c(0, end, 28));
    return r < 0 ? r : append(w, end, sizeof(end), reterr);
}

/* What it holds is on the disk before its name is, and its name before anybody relies on it. */
static int
commit(struct pack_writer *w, const char *name, struct err *reterr)
{
    int r = fault_sync(w->fd);
    if (r == 0)
        r = fault_rename(w->dir, w->draft, name);
    w->is_finished = r == 0;
    if (r == 0)
        r = fault_sync(w->dir);
    return r < 0 ? failed(w, r, reterr) : 0;
}

int
pack_finish(struct pack_writer *w, char ret_name[HASH_SHA256_HEX], struct pack_entries *ret_entries,
            struct err *reterr)
{
    uint8_t digest[HASH_SHA256_BYTES];
    assert(!w->has_failed && !w->is_finished);
    int r = append_trailer(w, reterr);
    if (r == 0)
        r = flush(w, reterr);
    if (r < 0)
        return r;
    hash_sha256_final(&w->hash, digest);
    hash_sha256_hex(digest, ret_name);
    r = commit(w, ret_name, reterr);
    if (r == 0)
        *ret_entries = (struct pack_entries){w->entries.items, w->entries.count};
    return r;
}
