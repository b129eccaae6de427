/* Any bytes as a snapshot of a repository: what is read lies within them, and is of the promised form. A
 * record may have any CRC: those of the input are made right first, so that fuzzing gets behind them. */

#include "backup/snapshot_int.h"
#include "base/crc32c.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void
mend(uint8_t *bytes, size_t len)
{
    for (size_t at = SNAPSHOT_MAGIC_BYTES;
         at + SNAPSHOT_RECORD_HEAD + SNAPSHOT_RECORD_CRC <= len;) {
        size_t whole = SNAPSHOT_RECORD_HEAD + (size_t)get_u32(bytes + at + 4);
        if (whole + SNAPSHOT_RECORD_CRC > len - at)
            return;
        put_u32(bytes + at + whole, crc32c(0, bytes + at, whole));
        at += whole + SNAPSHOT_RECORD_CRC;
    }
}

static void
check_entry(struct snapshot_entry *e)
{
    struct snapshot_xattr xattr;
    struct snapshot_block block;
    uint64_t bytes = 0;
    assert(!e->path[0] || snapshot_takes_path(e->path));
    while (snapshot_next_xattr(&e->xattrs, &xattr))
        assert(strlen(xattr.name) <= SNAPSHOT_NAME_MAX && xattr.len <= SNAPSHOT_XATTR_MAX);
    while (snapshot_next_block(&e->blocks, &block))
        bytes += block.bytes;
    assert(bytes == (e->kind == SNAPSHOT_FILE ? e->size : 0));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct snapshot_reader r;
    struct snapshot_head head;
    struct snapshot_entry e;
    struct snapshot_end end;
    uint8_t *bytes = malloc(len + !len);
    assert(bytes);
    memcpy(bytes, data, len);
    mend(bytes, len);
    int k = snapshot_open(bytes, len, &r, &head, NULL);
    for (; k == 0 && (k = snapshot_next(&r, &e, NULL)) > 0; k = 0)
        check_entry(&e);
    if (k == 0 && r.end.entries > 0)
        assert(snapshot_read_end(bytes, len, &end, NULL) == 0 && end.blocks == r.end.blocks);
    free(bytes);
    return 0;
}
