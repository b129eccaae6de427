#include "backup/bases.h"

#include "backup/block.h"
#include "backup/snapshot.h"
#include "backup/snapshots.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/vec.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define FILE_MIN ((uint64_t)(64 * KIB)) /* smaller ones are not looked at */
#define FILES_MAX 1024                  /* of a snapshot that are */
#define HEADER_BLOCKS_MAX 64            /* before the tensors of a file */

#define TRIED 4         /* blocks of a file that are tried with each base */
#define PAYS_PERCENT 90 /* of what they take without it: more, and it is none */

/* A block by where it is in which tensor. Two of one key cost nothing but a trial that fails. */
struct entry {
    uint64_t key;
    struct block_id id;
};

struct base {
    VEC(struct entry) entries; /* by key */
};

struct bases {
    struct repository *repository;
    const struct index *index;
    const char *subject;
    pthread_mutex_t mutex; /* of all below */
    bool is_read;
    struct base items[BASES_MAX];
    size_t count;
    struct block_reader *reader;
    struct codec *codec;
    uint8_t *block, *base_block, *stored;
};

struct bases *
bases_new(struct repository *repository, const struct index *index, const char *subject)
{
    struct bases *b = mem_new(struct bases);
    b->repository = repository;
    b->index = index;
    b->subject = subject;
    int r = pthread_mutex_init(&b->mutex, NULL);
    assert(r == 0);
    return b;
}

/* What was only needed for reading and trying. */
static void
put_tools_away(struct bases *b)
{
    block_reader_free(b->reader);
    codec_free(b->codec);
    free(b->block);
    free(b->base_block);
    free(b->stored);
    b->reader = NULL;
    b->codec = NULL;
    b->block = b->base_block = b->stored = NULL;
}

static void
take_tools(struct bases *b)
{
    b->reader = block_reader_new(b->repository, b->index);
    b->codec = codec_new(CODEC_SMALLEST);
    b->block = mem_alloc(CODEC_BLOCK_MAX);
    b->base_block = mem_alloc(CODEC_BLOCK_MAX);
    b->stored = mem_alloc(CODEC_STORED_MAX);
}

void
bases_free(struct bases *b)
{
    if (!b)
        return;
    for (size_t i = 0; i < b->count; i++)
        vec_finish(&b->items[i].entries);
    (void)pthread_mutex_destroy(&b->mutex);
    free(b);
}

/* ---- keys ---- */

/* Of the same name, numbers and length; and at the same place in it. */
static uint64_t
key_of(const struct cut_region *region, uint64_t at)
{
    const struct {
        uint64_t name, bytes, at, form;
    } key = {.name = hash_key(region->tensor, strlen(region->tensor)),
             .bytes = region->end - region->begin,
             .at = at - region->begin,
             .form = region->form};
    return hash_key(&key, sizeof(key));
}

static int
by_key(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    return (x->key > y->key) - (x->key < y->key);
}

static const struct entry *
find(const struct base *base, const struct cut_region *region, uint64_t at)
{
    const struct entry wanted = {.key = key_of(region, at)};
    return base->entries.count > 0
               ? bsearch(&wanted, base->entries.items, base->entries.count, sizeof(wanted), by_key)
               : NULL;
}

bool
base_find(const struct base *base, const struct cut_region *region, uint64_t at, uint32_t bytes,
          struct block_id *ret)
{
    const struct entry *e = region->tensor ? find(base, region, at) : NULL;
    if (!e || bytes != MIN((uint64_t)CUT_BLOCK, region->end - at))
        return false;
    *ret = e->id;
    return true;
}

/* ---- a snapshot's tensors ---- */

static size_t
count_blocks(const struct bases *b)
{
    size_t count = 0;
    for (size_t i = 0; i < b->count; i++)
        count += b->items[i].entries.count;
    return count;
}

/* Those blocks that lie as this version cuts. */
static void
take_blocks(struct bases *b, struct base *base, const struct cut_layout *layout,
            struct snapshot_records blocks)
{
    struct snapshot_block block;
    const size_t before = count_blocks(b);
    uint64_t at = 0;
    for (size_t i = 0; snapshot_next_block(&blocks, &block); at += block.bytes) {
        while (i < layout->count && at >= layout->regions[i].end)
            i++;
        if (i == layout->count || before + base->entries.count == BASES_BLOCKS_MAX)
            return;
        const struct cut_region *region = &layout->regions[i];
        if (region->tensor && at >= region->begin && (at - region->begin) % CUT_BLOCK == 0 &&
            block.bytes == MIN((uint64_t)CUT_BLOCK, region->end - at))
            vec_push(&base->entries, ((struct entry){key_of(region, at), block.id}));
    }
}

/* As far as its tensors, or as the blocks go that may come before these. */
static bool
find_layout(struct bases *b, const struct snapshot_entry *e, struct arena *arena,
            struct cut_layout *ret)
{
    struct snapshot_records blocks = e->blocks;
    struct snapshot_block block;
    uint64_t at = 0;
    _cleanup_close_ int fd = memfd_create("header", MFD_CLOEXEC);
    for (unsigned n = 1; fd >= 0 && n <= HEADER_BLOCKS_MAX; n++) {
        if (!snapshot_next_block(&blocks, &block) || block.bytes > CODEC_BLOCK_MAX ||
            block_read(b->reader, &block, 1, b->block, NULL) < 0 ||
            pwrite(fd, b->block, block.bytes, (off_t)at) != (ssize_t)block.bytes)
            return false;
        at += block.bytes;
        if (n == 1 && !cut_may_have_tensors(b->block, block.bytes, e->size))
            return false;
        if (n & (n - 1)) /* not each time from the start */
            continue;
        arena_clear(arena);
        if (cut_layout(arena, fd, e->size, ret) == 0 && ret->count > 1)
            return true;
    }
    return false;
}

static void
take_file(struct bases *b, struct base *base, const struct snapshot_entry *e)
{
    _cleanup_arena_ struct arena arena;
    struct cut_layout layout;
    arena_init(&arena, CUT_ARENA_MAX);
    if (find_layout(b, e, &arena, &layout))
        take_blocks(b, base, &layout, e->blocks);
}

static void
read_base(struct bases *b, const char *snapshot)
{
    _cleanup_repository_object_ struct repository_object object = {0};
    struct snapshot_reader *reader = mem_new(struct snapshot_reader);
    struct base *base = &b->items[b->count];
    struct snapshot_head head;
    struct snapshot_entry e;
    uint8_t name[HASH_SHA256_BYTES];
    size_t files = 0;
    object_digest(snapshot, name);
    if (repository_map(b->repository, REPOSITORY_SNAPSHOTS, name, true, &object, NULL) == 0 &&
        snapshot_open(object.bytes, object.len, reader, &head, NULL) == 0)
        while (files < FILES_MAX && snapshot_next(reader, &e, NULL) > 0)
            if (e.kind == SNAPSHOT_FILE && e.size >= FILE_MIN) {
                take_file(b, base, &e);
                files++;
            }
    free(reader);
    if (base->entries.count == 0)
        return;
    qsort(base->entries.items, base->entries.count, sizeof(*base->entries.items), by_key);
    b->count++;
}

/* Of its model. */
static bool
is_newest(const struct snapshots *all, size_t i)
{
    for (size_t k = i + 1; k < all->count; k++)
        if (!all->rows[k].is_damaged && text_eq(all->rows[k].head.name, all->rows[i].head.name) &&
            text_eq(all->rows[k].head.subject, all->rows[i].head.subject))
            return false;
    return true;
}

/* They come by time, those that are damaged first. */
static void
read_all(struct bases *b)
{
    struct snapshots all;
    if (b->is_read || snapshots_read(b->repository, &all, NULL) < 0)
        return;
    b->is_read = true;
    for (size_t i = all.count; i > 0 && b->count < BASES_MAX; i--) {
        const struct snapshot_row *row = &all.rows[i - 1];
        if (!row->is_damaged && text_eq(row->head.subject, b->subject) && is_newest(&all, i - 1) &&
            count_blocks(b) < BASES_BLOCKS_MAX)
            read_base(b, row->name);
    }
    snapshots_finish(&all);
}

/* ---- which ---- */

/* Bytes of blocks with it, and without. */
struct trial {
    uint64_t with, without;
    unsigned tried;
};

static bool
take_block(struct bases *b, int fd, uint64_t at, size_t len, const struct entry *e)
{
    struct block_id id = e->id;
    return pread(fd, b->block, len, (off_t)at) == (ssize_t)len &&
           block_read_base(b->reader, &id, len, b->base_block, NULL) == 0;
}

static void
try_block(struct bases *b, int fd, const struct cut_region *region, const struct entry *e,
          uint64_t at, struct trial *t)
{
    const size_t len = (size_t)MIN((uint64_t)CUT_BLOCK, region->end - at);
    struct codec_block block = {.form = region->form, .bytes = b->block, .len = len};
    size_t with = 0, without = 0;
    if (len % codec_form_width(block.form) != 0)
        block.form = CODEC_PLAIN;
    if (!take_block(b, fd, at, len, e) ||
        codec_encode(b->codec, &block, b->stored, &without, NULL) < 0)
        return;
    block.base = b->base_block;
    if (codec_encode(b->codec, &block, b->stored, &with, NULL) < 0)
        return;
    t->with += with;
    t->without += without;
    t->tried++;
}

/* How many bytes of tensors begin as such of the base. */
static uint64_t
common_bytes(const struct base *base, const struct cut_layout *layout)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < layout->count; i++) {
        const struct cut_region *r = &layout->regions[i];
        if (r->tensor && find(base, r, r->begin))
            bytes += r->end - r->begin;
    }
    return bytes;
}

/* Blocks from all over what is common. */
static struct trial
try_base(struct bases *b, const struct base *base, int fd, const struct cut_layout *layout)
{
    struct trial t = {0};
    const uint64_t step = common_bytes(base, layout) / TRIED;
    uint64_t passed = 0, next = step / 2;
    for (size_t i = 0; i < layout->count && step > 0 && t.tried < TRIED; i++) {
        const struct cut_region *r = &layout->regions[i];
        if (!r->tensor || !find(base, r, r->begin))
            continue;
        for (; next < passed + (r->end - r->begin) && t.tried < TRIED; next += step) {
            const uint64_t at = r->begin + (next - passed) / CUT_BLOCK * CUT_BLOCK;
            const struct entry *e = find(base, r, at);
            if (e)
                try_block(b, fd, r, e, at, &t);
        }
        passed += r->end - r->begin;
    }
    return t;
}

const struct base *
bases_choose(struct bases *b, int fd, const struct cut_layout *layout)
{
    const struct base *best = NULL;
    uint64_t most = 0;
    if (layout->count < 2)
        return NULL;
    int r = pthread_mutex_lock(&b->mutex);
    assert(r == 0);
    if (!b->is_read || b->count > 0)
        take_tools(b);
    read_all(b);
    for (size_t i = 0; i < b->count; i++) {
        const uint64_t common = common_bytes(&b->items[i], layout);
        const struct trial t = try_base(b, &b->items[i], fd, layout);
        if (t.tried == 0 || t.with * 100 > t.without * PAYS_PERCENT)
            continue;
        const uint64_t saved =
            (uint64_t)((double)(t.without - t.with) / (double)t.without * (double)common);
        if (saved > most) {
            most = saved;
            best = &b->items[i];
        }
    }
    put_tools_away(b);
    r = pthread_mutex_unlock(&b->mutex);
    assert(r == 0);
    return best;
}
