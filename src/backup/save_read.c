/* Reading and hashing: the digests of a file and of its blocks are found in one pass, side by side. */

#include "backup/save_int.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- without disturbing others ---- */

#define LARGE_BYTES ((uint64_t)(4 * MIB))
#define SAMPLES 64

/* Whether somebody uses it: then most of it is in memory, and is to stay there. Else it is to leave no
 * trace: a backup would take all memory that models could be kept in. */
static bool
is_in_memory(int fd, uint64_t bytes)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    unsigned resident = 0, seen = 0;
    void *map = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        return true;
    for (uint64_t at = 0; at < bytes; at += MAX(bytes / SAMPLES, page)) {
        unsigned char there = 0;
        if (mincore((char *)map + at / page * page, 1, &there) == 0) {
            resident += there & 1;
            seen++;
        }
    }
    (void)munmap(map, bytes);
    return 2 * resident >= seen;
}

static void
begin(struct item *item)
{
    if (item->entry.size < LARGE_BYTES)
        return;
    item->drops = !is_in_memory(item->fd, item->entry.size);
    (void)posix_fadvise(item->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
}

/* ---- a run of blocks ---- */

static ssize_t
fill(struct slot *slot, size_t want)
{
    const struct item *item = slot->item;
    size_t done = 0;
    while (done < want) {
        ssize_t n = pread(item->fd, slot->bytes + done, want - done, (off_t)(item->at + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        done += (size_t)n;
    }
    return (ssize_t)done;
}

/* In which the item now is; all of a file lies in some region. */
static const struct cut_region *
region_of(struct item *item)
{
    while (item->at >= item->layout.regions[item->region].end)
        item->region++;
    assert(item->region < item->layout.count);
    return &item->layout.regions[item->region];
}

static void
find_digests(struct slot *slot, struct chunk *chunk, const uint8_t *bytes)
{
    uint8_t digest[HASH_SHA256_BYTES];
    struct hash_sha256 hash;
    hash_sha256_init(&hash);
    struct hash_sha256_piece pieces[] = {{&slot->item->hash, bytes, chunk->bytes},
                                         {&hash, bytes, chunk->bytes}};
    hash_sha256_update_many(pieces, ARRAY_SIZE(pieces));
    hash_sha256_final(&hash, digest);
    block_name(slot->keys, digest, &chunk->id);
}

/* Cuts what was read, of which a rest may be left for the next slot: where a block ends is only known
 * when so much of it is there as it may have. is_end: no more will come. */
static void
cut(struct slot *slot, size_t len, bool is_end)
{
    struct item *item = slot->item;
    for (size_t at = 0; at < len && slot->count < SLOT_CHUNKS;) {
        const struct cut_region *region = region_of(item);
        size_t reach = (size_t)(cut_reach(region, item->at) - item->at);
        size_t there = MIN(len - at, reach), bytes = cut_length(region, slot->bytes + at, there);
        if (bytes == there && there < reach && !is_end)
            return;
        struct chunk *chunk = &slot->chunks[slot->count++];
        bool fits = bytes % codec_form_width(region->form) == 0;
        *chunk = (struct chunk){.at = (uint32_t)at,
                                .bytes = (uint32_t)bytes,
                                .form = fits ? region->form : CODEC_PLAIN};
        chunk->has_base =
            item->base && base_find(item->base, region, item->at, chunk->bytes, &chunk->base);
        find_digests(slot, chunk, slot->bytes + at);
        item->at += bytes;
        at += bytes;
    }
}

static bool
is_changed(const struct item *item, const struct stat *st)
{
    const struct stat *was = &item->st;
    return st->st_size != was->st_size || st->st_mtim.tv_sec != was->st_mtim.tv_sec ||
           st->st_mtim.tv_nsec != was->st_mtim.tv_nsec ||
           st->st_ctim.tv_sec != was->st_ctim.tv_sec || st->st_ctim.tv_nsec != was->st_ctim.tv_nsec;
}

/* It is as long as it was found to be, whatever has come since. */
static int
end(struct item *item)
{
    struct stat st;
    if (fstat(item->fd, &st) < 0)
        return -errno;
    if (item->at != (uint64_t)item->st.st_size || (!item->is_device && is_changed(item, &st)))
        item->entry.flags |= SNAPSHOT_CHANGED;
    item->entry.size = item->at;
    item->is_read = true;
    hash_sha256_final(&item->hash, item->entry.digest);
    cleanup_close(&item->fd);
    arena_finish(&item->arena);
    item->layout = (struct cut_layout){0};
    return 0;
}

static int
read_some(struct slot *slot)
{
    struct item *item = slot->item;
    const uint64_t size = (uint64_t)item->st.st_size;
    if (!item->has_layout) {
        int r = cut_layout(&item->arena, item->fd, size, &item->layout);
        if (r < 0)
            return r;
        item->base = slot->bases ? bases_choose(slot->bases, item->fd, &item->layout) : NULL;
        item->has_layout = true;
        hash_sha256_init(&item->hash);
        begin(item);
    }
    const uint64_t began = item->at;
    size_t want = (size_t)MIN(size - began, (uint64_t)SLOT_BYTES);
    ssize_t n = fill(slot, want);
    if (n < 0)
        return (int)n;
    bool is_end = (size_t)n < want || began + (size_t)n == size;
    cut(slot, (size_t)n, is_end);
    if (item->drops)
        (void)posix_fadvise(item->fd, (off_t)began, (off_t)(item->at - began), POSIX_FADV_DONTNEED);
    return is_end && item->at == began + (size_t)n ? end(item) : 0;
}

void
slot_read(struct slot *slot)
{
    slot->count = 0;
    slot->r = read_some(slot);
    if (slot->r < 0)
        (void)err_set_errno(&slot->err, -slot->r, "cannot read '%s'", slot->item->path);
}
