#include "backup/snapshot_int.h"
#include "base/crc32c.h"

#include <errno.h>

static int
damaged(struct err *reterr, const char *what, size_t at)
{
    return err_set(reterr, ERR_SNAPSHOT_DAMAGED, "%s, at byte %zu", what, at);
}

/* ---- paths ---- */

static unsigned
rank(char c)
{
    return c == '\0' ? 0 : c == '/' ? 1 : (unsigned)(uint8_t)c + 1;
}

int
snapshot_order(const char *a, const char *b)
{
    while (*a && *a == *b)
        a++, b++;
    return (int)rank(*a) - (int)rank(*b);
}

bool
snapshot_takes_path(const char *path)
{
    if (strlen(path) > SNAPSHOT_PATH_MAX)
        return false;
    for (const char *name = path;; name++) {
        size_t len = strcspn(name, "/");
        if (len == 0 || len > SNAPSHOT_NAME_MAX || (len == 1 && name[0] == '.') ||
            (len == 2 && name[0] == '.' && name[1] == '.'))
            return false;
        name += len;
        if (!*name)
            return true;
    }
}

/* Directories above the last entry came before it, each in one that did. */
static bool
is_in_directory(const struct snapshot_reader *r, const char *path)
{
    const char *slash = strrchr(path, '/');
    size_t len = slash ? (size_t)(slash - path) : 0, last = strlen(r->last);
    if (len == 0)
        return true;
    if (len > last || memcmp(path, r->last, len) != 0)
        return false;
    return len == last ? r->last_is_directory : r->last[len] == '/';
}

/* ---- a record, and what is in it ---- */

struct record {
    const uint8_t *tag, *at, *end;
};

static bool
has_tag(const struct record *record, const char *tag)
{
    return memcmp(record->tag, tag, 4) == 0;
}

static int
read_record(const struct snapshot_reader *r, size_t at, struct record *ret, size_t *ret_next,
            struct err *reterr)
{
    const uint8_t *p = r->bytes + at;
    size_t left = r->len - at, whole = SNAPSHOT_RECORD_HEAD + SNAPSHOT_RECORD_CRC;
    if (left < whole)
        return damaged(reterr, "a snapshot breaks off", at);
    size_t len = get_u32(p + 4);
    if (len > SNAPSHOT_RECORD_MAX || len > left - whole)
        return damaged(reterr, "a record of a snapshot is longer than what is left", at);
    if (get_u32(p + SNAPSHOT_RECORD_HEAD + len) != crc32c(0, p, SNAPSHOT_RECORD_HEAD + len))
        return damaged(reterr, "a record of a snapshot is not what was written", at);
    *ret = (struct record){p, p + SNAPSHOT_RECORD_HEAD, p + SNAPSHOT_RECORD_HEAD + len};
    *ret_next = at + whole + len;
    return 0;
}

static uint64_t
take_number(struct record *record, size_t bytes)
{
    uint8_t number[8] = {0};
    assert((size_t)(record->end - record->at) >= bytes);
    memcpy(number, record->at, bytes);
    record->at += bytes;
    return get_u64(number);
}

/* NULL: there is none. */
static const char *
take_string(struct record *record, size_t most)
{
    size_t left = (size_t)(record->end - record->at);
    size_t len = left < 3 ? 0 : get_u16(record->at);
    const char *text = (const char *)record->at + 2;
    if (left < 3 || len > most || len + 3 > left || text[len] != '\0' || strlen(text) != len)
        return NULL;
    record->at += len + 3;
    return text;
}

/* ---- the head ---- */

static bool
take_head(struct record *record, struct snapshot_head *ret)
{
    if (!has_tag(record, SNAPSHOT_TAG_HEAD) || record->end - record->at < 8)
        return false;
    ret->begun_ns = (int64_t)take_number(record, 8);
    return (ret->host = take_string(record, SNAPSHOT_NAME_MAX)) &&
           (ret->subject = take_string(record, SNAPSHOT_NAME_MAX)) &&
           (ret->name = take_string(record, SNAPSHOT_NAME_MAX)) &&
           (ret->type = take_string(record, SNAPSHOT_NAME_MAX)) &&
           (ret->source = take_string(record, SNAPSHOT_PATH_MAX)) && record->at == record->end;
}

int
snapshot_open(const void *bytes, size_t len, struct snapshot_reader *ret,
              struct snapshot_head *ret_head, struct err *reterr)
{
    struct record record;
    *ret = (struct snapshot_reader){.bytes = bytes, .len = len, .at = SNAPSHOT_MAGIC_BYTES};
    if (len < SNAPSHOT_MAGIC_BYTES || memcmp(bytes, SNAPSHOT_MAGIC, SNAPSHOT_MAGIC_BYTES) != 0)
        return damaged(reterr, "this is no snapshot of version 1", 0);
    int r = read_record(ret, ret->at, &record, &ret->at, reterr);
    if (r < 0)
        return r;
    return take_head(&record, ret_head) ? 0 : damaged(reterr, "a snapshot has no head", ret->at);
}

/* ---- entries ---- */

static bool
is_target(const struct snapshot_entry *e)
{
    if (e->kind == SNAPSHOT_HARDLINK)
        return snapshot_takes_path(e->target) && snapshot_order(e->target, e->path) < 0;
    return e->kind == SNAPSHOT_SYMLINK ? e->target[0] != '\0' : e->target[0] == '\0';
}

static bool
take_entry(struct record *record, struct snapshot_entry *ret)
{
    *ret = (struct snapshot_entry){0};
    if ((size_t)(record->end - record->at) < SNAPSHOT_ENTRY_BYTES)
        return false;
    ret->kind = (enum snapshot_kind)take_number(record, 1);
    ret->flags = (unsigned)take_number(record, 1);
    ret->mode = (uint32_t)take_number(record, 2);
    ret->uid = (uint32_t)take_number(record, 4);
    ret->gid = (uint32_t)take_number(record, 4);
    ret->mtime_ns = (int64_t)take_number(record, 8);
    ret->ctime_ns = (int64_t)take_number(record, 8);
    ret->size = take_number(record, 8);
    ret->inode = take_number(record, 8);
    memcpy(ret->digest, record->at, sizeof(ret->digest));
    record->at += sizeof(ret->digest);
    return (ret->path = take_string(record, SNAPSHOT_PATH_MAX)) &&
           (ret->target = take_string(record, SNAPSHOT_PATH_MAX)) &&
           (ret->owner = take_string(record, SNAPSHOT_NAME_MAX)) &&
           (ret->group = take_string(record, SNAPSHOT_NAME_MAX)) && record->at == record->end;
}

static bool
is_entry(const struct snapshot_reader *r, const struct snapshot_entry *e)
{
    if (e->kind < SNAPSHOT_DIRECTORY || e->kind >= SNAPSHOT_KINDS || e->mode > 07777 ||
        !is_target(e))
        return false;
    if (r->seen.entries == 0)
        return e->kind == SNAPSHOT_DIRECTORY && e->path[0] == '\0';
    return snapshot_takes_path(e->path) && snapshot_order(r->last, e->path) < 0 &&
           is_in_directory(r, e->path);
}

static bool
is_xattr(struct record record)
{
    const char *name = take_string(&record, SNAPSHOT_NAME_MAX);
    return name && name[0] && (size_t)(record.end - record.at) <= SNAPSHOT_XATTR_MAX;
}

/* The blocks of a record; how long they are together, 0: it is none. */
static uint64_t
blocks_bytes(const struct record *record)
{
    size_t len = (size_t)(record->end - record->at);
    uint64_t bytes = 0;
    if (len % SNAPSHOT_BLOCK_BYTES != 0)
        return 0;
    for (const uint8_t *p = record->at; p < record->end; p += SNAPSHOT_BLOCK_BYTES) {
        uint32_t block = get_u32(p + sizeof(struct block_id));
        if (block == 0 || block > CODEC_BLOCK_MAX)
            return 0;
        bytes += block;
    }
    return bytes;
}

/* What follows an entry. */
static int
take_more(struct snapshot_reader *r, struct snapshot_entry *e, struct err *reterr)
{
    const uint8_t *xattrs = r->bytes + r->at, *blocks = NULL;
    uint64_t bytes = 0;
    size_t next, count = 0;
    struct record record;
    for (;; r->at = next) {
        int k = read_record(r, r->at, &record, &next, reterr);
        if (k < 0 && blocks && bytes == e->size)
            break; /* it is whole, and what is behind it is for the next call to find */
        if (k < 0)
            return k;
        uint64_t more = 0;
        if (!blocks && has_tag(&record, SNAPSHOT_TAG_XATTR)) {
            if (++count > SNAPSHOT_XATTRS_MAX || !is_xattr(record))
                return damaged(reterr, "an attribute is none", r->at);
            continue;
        }
        if (!has_tag(&record, SNAPSHOT_TAG_BLOCKS))
            break;
        if (e->kind != SNAPSHOT_FILE || (more = blocks_bytes(&record)) == 0)
            return damaged(reterr, "blocks are none", r->at);
        if (!blocks)
            blocks = r->bytes + r->at;
        r->seen.blocks += (uint64_t)(record.end - record.at) / SNAPSHOT_BLOCK_BYTES;
        bytes += more;
        if (bytes > e->size)
            break;
    }
    if (e->kind == SNAPSHOT_FILE && bytes != e->size)
        return damaged(reterr, "the blocks of a file are not as long as it is", r->at);
    const uint8_t *end = r->bytes + r->at;
    e->xattrs = (struct snapshot_records){.at = xattrs, .end = blocks ? blocks : end};
    e->blocks = (struct snapshot_records){.at = blocks ? blocks : end, .end = end};
    return 0;
}

/* ---- the end ---- */

static bool
take_end(struct record *record, struct snapshot_end *ret)
{
    if (!has_tag(record, SNAPSHOT_TAG_END) || record->end - record->at != SNAPSHOT_END_BYTES)
        return false;
    ret->entries = take_number(record, 8);
    ret->files = take_number(record, 8);
    ret->bytes = take_number(record, 8);
    ret->blocks = take_number(record, 8);
    ret->new_blocks = take_number(record, 8);
    ret->new_bytes = take_number(record, 8);
    ret->stored_bytes = take_number(record, 8);
    ret->ended_ns = (int64_t)take_number(record, 8);
    memcpy(ret->sums, record->at, sizeof(ret->sums));
    return true;
}

int
snapshot_read_end(const void *bytes, size_t len, struct snapshot_end *ret, struct err *reterr)
{
    const size_t last = SNAPSHOT_RECORD_HEAD + SNAPSHOT_END_BYTES + SNAPSHOT_RECORD_CRC;
    const struct snapshot_reader r = {.bytes = bytes, .len = len};
    struct record record;
    size_t next, at = len - MIN(len, last);
    int k = len < last ? damaged(reterr, "a snapshot breaks off", len)
                       : read_record(&r, at, &record, &next, reterr);
    if (k < 0)
        return k;
    return take_end(&record, ret) ? 0 : damaged(reterr, "a snapshot does not end", at);
}

static int
finish(struct snapshot_reader *r, struct record *record, size_t next, struct err *reterr)
{
    if (!take_end(record, &r->end) || next != r->len)
        return damaged(reterr, "a snapshot does not end where it should", r->at);
    if (r->end.entries != r->seen.entries || r->end.files != r->seen.files ||
        r->end.bytes != r->seen.bytes || r->end.blocks != r->seen.blocks || r->end.entries == 0)
        return damaged(reterr, "a snapshot has not what its end tells", r->at);
    return 0;
}

int
snapshot_next(struct snapshot_reader *r, struct snapshot_entry *ret_entry, struct err *reterr)
{
    struct record record;
    size_t next, began = r->at;
    int k = read_record(r, r->at, &record, &next, reterr);
    if (k < 0)
        return k;
    if (!has_tag(&record, SNAPSHOT_TAG_ENTRY))
        return finish(r, &record, next, reterr);
    if (!take_entry(&record, ret_entry) || !is_entry(r, ret_entry))
        return damaged(reterr, "an entry of a snapshot is none", began);
    r->at = next;
    k = take_more(r, ret_entry, reterr);
    if (k < 0)
        return k;
    r->seen.entries++;
    r->seen.files += ret_entry->kind == SNAPSHOT_FILE;
    r->seen.bytes += ret_entry->kind == SNAPSHOT_FILE ? ret_entry->size : 0;
    r->last_is_directory = ret_entry->kind == SNAPSHOT_DIRECTORY;
    memcpy(r->last, ret_entry->path, strlen(ret_entry->path) + 1);
    return 1;
}

/* ---- what belongs to an entry: records that snapshot_next() has looked at ---- */

bool
snapshot_next_xattr(struct snapshot_records *records, struct snapshot_xattr *ret)
{
    if (records->at == records->end)
        return false;
    size_t len = get_u32(records->at + 4);
    struct record record = {records->at, records->at + SNAPSHOT_RECORD_HEAD,
                            records->at + SNAPSHOT_RECORD_HEAD + len};
    ret->name = take_string(&record, SNAPSHOT_NAME_MAX);
    ret->value = record.at;
    ret->len = (size_t)(record.end - record.at);
    records->at = record.end + SNAPSHOT_RECORD_CRC;
    return true;
}

bool
snapshot_next_block(struct snapshot_records *records, struct snapshot_block *ret)
{
    if (records->at == records->end)
        return false;
    if (records->left == 0) {
        records->left = get_u32(records->at + 4);
        records->at += SNAPSHOT_RECORD_HEAD;
    }
    memcpy(&ret->id, records->at, sizeof(ret->id));
    ret->bytes = get_u32(records->at + sizeof(ret->id));
    records->at += SNAPSHOT_BLOCK_BYTES;
    records->left -= SNAPSHOT_BLOCK_BYTES;
    if (records->left == 0)
        records->at += SNAPSHOT_RECORD_CRC;
    return true;
}
