#include "backup/object.h"
#include "backup/snapshot_int.h"
#include "base/crc32c.h"
#include "base/mem.h"

#include <stdlib.h>

struct snapshot_writer {
    struct object_writer file;
    struct buf record; /* the one that is being made */
    struct snapshot_end end;
};

/* ---- records ---- */

static void
open_record(struct snapshot_writer *w, const char *tag)
{
    buf_clear(&w->record);
    buf_add(&w->record, tag, 4);
    buf_add(&w->record, "\0\0\0\0", 4);
}

static void
add_number(struct snapshot_writer *w, uint64_t n, size_t bytes)
{
    uint8_t number[8];
    put_u64(number, n);
    buf_add(&w->record, number, bytes);
}

static void
add_string(struct snapshot_writer *w, const char *text)
{
    size_t len = strlen(text);
    assert(len <= UINT16_MAX);
    add_number(w, len, 2);
    buf_add(&w->record, text, len + 1);
}

static int
close_record(struct snapshot_writer *w, struct err *reterr)
{
    uint8_t crc[SNAPSHOT_RECORD_CRC];
    int r = buf_error(&w->record);
    assert(r == 0); /* what goes into one is bounded */
    put_u32((uint8_t *)w->record.data + 4, (uint32_t)(w->record.len - SNAPSHOT_RECORD_HEAD));
    put_u32(crc, crc32c(0, w->record.data, w->record.len));
    r = object_write(&w->file, w->record.data, w->record.len, reterr);
    return r < 0 ? r : object_write(&w->file, crc, sizeof(crc), reterr);
}

/* ---- from front to back ---- */

static int
write_head(struct snapshot_writer *w, const struct snapshot_head *head, struct err *reterr)
{
    int r = object_write(&w->file, SNAPSHOT_MAGIC, SNAPSHOT_MAGIC_BYTES, reterr);
    if (r < 0)
        return r;
    open_record(w, SNAPSHOT_TAG_HEAD);
    add_number(w, (uint64_t)head->begun_ns, 8);
    add_string(w, head->host);
    add_string(w, head->subject);
    add_string(w, head->name);
    add_string(w, head->type);
    add_string(w, head->source);
    return close_record(w, reterr);
}

int
snapshot_begin(const struct object_place *place, const struct snapshot_head *head,
               struct snapshot_writer **ret_writer, struct err *reterr)
{
    struct snapshot_writer *w = mem_new(struct snapshot_writer);
    int r = object_begin(&w->file, place, reterr);
    buf_init(&w->record, SNAPSHOT_RECORD_HEAD + SNAPSHOT_RECORD_MAX);
    if (r == 0)
        r = write_head(w, head, reterr);
    if (r < 0)
        snapshot_writer_free(w);
    else
        *ret_writer = w;
    return r;
}

void
snapshot_writer_free(struct snapshot_writer *w)
{
    if (!w)
        return;
    object_end(&w->file);
    buf_finish(&w->record);
    free(w);
}

int
snapshot_add(struct snapshot_writer *w, const struct snapshot_entry *e, struct err *reterr)
{
    open_record(w, SNAPSHOT_TAG_ENTRY);
    add_number(w, e->kind, 1);
    add_number(w, e->flags, 1);
    add_number(w, e->mode, 2);
    add_number(w, e->uid, 4);
    add_number(w, e->gid, 4);
    add_number(w, (uint64_t)e->mtime_ns, 8);
    add_number(w, (uint64_t)e->ctime_ns, 8);
    add_number(w, e->size, 8);
    add_number(w, e->inode, 8);
    buf_add(&w->record, e->digest, sizeof(e->digest));
    assert(w->record.len == SNAPSHOT_RECORD_HEAD + SNAPSHOT_ENTRY_BYTES);
    add_string(w, e->path);
    add_string(w, e->target);
    add_string(w, e->owner);
    add_string(w, e->group);
    w->end.entries++;
    w->end.files += e->kind == SNAPSHOT_FILE;
    w->end.bytes += e->kind == SNAPSHOT_FILE ? e->size : 0;
    return close_record(w, reterr);
}

int
snapshot_add_xattr(struct snapshot_writer *w, const char *name, const void *value, size_t len,
                   struct err *reterr)
{
    assert(strlen(name) <= SNAPSHOT_NAME_MAX && len <= SNAPSHOT_XATTR_MAX);
    open_record(w, SNAPSHOT_TAG_XATTR);
    add_string(w, name);
    buf_add(&w->record, value, len);
    return close_record(w, reterr);
}

int
snapshot_add_blocks(struct snapshot_writer *w, const struct snapshot_block *blocks, size_t count,
                    struct err *reterr)
{
    int r = 0;
    for (size_t at = 0; at < count && r == 0; at += SNAPSHOT_BLOCKS_MAX) {
        open_record(w, SNAPSHOT_TAG_BLOCKS);
        for (size_t i = at; i < MIN(count, at + SNAPSHOT_BLOCKS_MAX); i++) {
            buf_add(&w->record, &blocks[i].id, sizeof(blocks[i].id));
            add_number(w, blocks[i].bytes, 4);
        }
        r = close_record(w, reterr);
    }
    w->end.blocks += count;
    return r;
}

int
snapshot_flush(struct snapshot_writer *w, struct err *reterr)
{
    return object_flush(&w->file, reterr);
}

void
snapshot_abandon(struct snapshot_writer *w)
{
    object_abandon(&w->file);
}

uint64_t
snapshot_bytes(const struct snapshot_writer *w)
{
    return w->file.bytes;
}

int
snapshot_commit(struct snapshot_writer *w, struct snapshot_end *end, char ret_name[HASH_SHA256_HEX],
                struct err *reterr)
{
    end->entries = w->end.entries;
    end->files = w->end.files;
    end->bytes = w->end.bytes;
    end->blocks = w->end.blocks;
    open_record(w, SNAPSHOT_TAG_END);
    add_number(w, end->entries, 8);
    add_number(w, end->files, 8);
    add_number(w, end->bytes, 8);
    add_number(w, end->blocks, 8);
    add_number(w, end->new_blocks, 8);
    add_number(w, end->new_bytes, 8);
    add_number(w, end->stored_bytes, 8);
    add_number(w, (uint64_t)end->ended_ns, 8);
    buf_add(&w->record, end->sums, sizeof(end->sums));
    assert(w->record.len == SNAPSHOT_RECORD_HEAD + SNAPSHOT_END_BYTES);
    int r = close_record(w, reterr);
    return r < 0 ? r : object_finish(&w->file, ret_name, reterr);
}
