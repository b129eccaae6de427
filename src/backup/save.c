#include "backup/image.h"
#include "backup/lock.h"
#include "backup/object.h"
#include "backup/save_int.h"
#include "backup/sums.h"
#include "base/map.h"
#include "sys/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ITEMS_MAX 128          /* between the walk and the snapshot: each may have a file open */
#define LINKED_MAX 1000000     /* files with more than one name */
#define INDEX_BLOCKS (1 << 16) /* of a fragment that is written on the way: 64 GiB of weights */
#define FLUSH_BYTES \
    ((uint64_t)(64 * MIB)) /* of files, after which the snapshot is put into its draft */

/* Times younger than this may stay as they are when a file changes once more: the kernel stamps by its
 * tick, 10 ms at most; a file system that knows whole seconds only, by the second, or two. */
#define FRESH_NS INT64_C(100000000)
#define FRESH_COARSE_NS INT64_C(2000000000)

/* A file with several names. */
struct linked {
    char key[48]; /* device and inode */
    char *path;   /* the first name */
    uint8_t digest[HASH_SHA256_BYTES];
};

struct save {
    struct save_wish wish;
    struct save_told told;
    struct loop *loop;
    void (*ended)(int r, const struct err *err, void *arg);
    void *arg;
    struct loop_defer more, defer;

    int top, image; /* one of them is open; the image until it is read */
    uint64_t image_bytes;
    char *source; /* of the wish, without links */
    struct scan *scan;
    bool scan_is_over;
    struct owner_names names;
    struct map linked_by_key;
    VEC(struct linked *) linked;

    struct lock *lock;
    struct earlier *earlier;
    struct known *known;
    struct bases *bases;
    struct snapshot_writer *snapshot;
    struct object_writer sums;
    bool has_sums;
    struct index_draft *index;
    uint64_t unflushed_bytes;

    VEC(struct item *) items; /* in the order of the walk; those before `first` are written */
    size_t first;
    struct slot *slots;
    size_t slots_count;
    uint64_t turns;
    struct packer packers[SAVE_THREADS_MAX];
    size_t packers_count;
    struct work commit;
    unsigned at_work; /* works that have not come back */
    bool is_committing, has_ended;

    int r; /* the first error */
    struct err err;
};

static void step(struct save *s);

static void
fail(struct save *s, int r, const struct err *err)
{
    if (r >= 0 || s->r < 0)
        return;
    s->r = r;
    s->err = *err;
}

static int64_t
now_ns(void)
{
    return (int64_t)clock_wall_us() * 1000;
}

/* ---- the snapshot ---- */

static int
write_sum(struct save *s, const struct snapshot_entry *e, struct err *reterr)
{
    _cleanup_buf_ struct buf line = BUF_INIT(SUMS_LINE_MAX);
    if (e->kind != SNAPSHOT_FILE && e->kind != SNAPSHOT_HARDLINK)
        return 0;
    sums_print(e->digest, e->path, &line);
    return object_write(&s->sums, line.data, line.len, reterr);
}

static int
copy_records(struct save *s, const struct snapshot_entry *e, struct err *reterr)
{
    struct snapshot_records xattrs = e->xattrs, blocks = e->blocks;
    struct snapshot_xattr x;
    struct snapshot_block some[256];
    size_t count = 0;
    int r = 0;
    while (r == 0 && snapshot_next_xattr(&xattrs, &x))
        r = snapshot_add_xattr(s->snapshot, x.name, x.value, x.len, reterr);
    while (r == 0 && snapshot_next_block(&blocks, &some[count]))
        if (++count == ARRAY_SIZE(some)) {
            r = snapshot_add_blocks(s->snapshot, some, count, reterr);
            count = 0;
        }
    return r < 0 ? r : snapshot_add_blocks(s->snapshot, some, count, reterr);
}

static const char *
link_key(const struct stat *st, char text[48])
{
    (void)snprintf(text, 48, "%llx:%llx", (unsigned long long)st->st_dev,
                   (unsigned long long)st->st_ino);
    return text;
}

/* All names of a file have its digest. */
static void
share_digest(struct save *s, struct item *item)
{
    char key[48];
    struct linked *l =
        item->st.st_nlink > 1 ? map_get(&s->linked_by_key, link_key(&item->st, key)) : NULL;
    if (l && item->entry.kind == SNAPSHOT_FILE)
        memcpy(l->digest, item->entry.digest, sizeof(l->digest));
    else if (l && item->entry.kind == SNAPSHOT_HARDLINK)
        memcpy(item->entry.digest, l->digest, sizeof(l->digest));
}

static int
write_item(struct save *s, struct item *item, struct err *reterr)
{
    share_digest(s, item);
    int r = snapshot_add(s->snapshot, &item->entry, reterr);
    if (r == 0 && item->is_copied)
        r = copy_records(s, &item->entry, reterr);
    vec_foreach (&item->xattrs, x)
        if (r == 0)
            r = snapshot_add_xattr(s->snapshot, x->name, x->value, x->len, reterr);
    if (r == 0)
        r = snapshot_add_blocks(s->snapshot, item->blocks.items, item->blocks.count, reterr);
    return r < 0 ? r : write_sum(s, &item->entry, reterr);
}

static void
count_item(struct save *s, const struct item *item)
{
    const struct snapshot_entry *e = &item->entry;
    if (e->kind != SNAPSHOT_FILE)
        return;
    s->told.files++;
    if (e->flags & SNAPSHOT_CHANGED && s->told.changed++ == 0)
        (void)snprintf(s->told.first_changed, sizeof(s->told.first_changed), "%s", e->path);
    s->unflushed_bytes += e->size;
}

/* All that is next in its order, and done. */
static void
write_items(struct save *s)
{
    while (s->r == 0 && s->first < s->items.count && s->items.items[s->first]->is_done) {
        struct item *item = s->items.items[s->first++];
        struct err err;
        int r = s->wish.dry ? 0 : write_item(s, item, &err);
        count_item(s, item);
        item_free(item);
        if (r == 0 && !s->wish.dry && s->unflushed_bytes >= FLUSH_BYTES) {
            s->unflushed_bytes = 0;
            r = snapshot_flush(s->snapshot, &err);
        }
        fail(s, r, &err);
    }
    if (s->first < ITEMS_MAX && s->first < s->items.count)
        return;
    s->items.count -= s->first;
    if (s->items.count > 0)
        memmove(s->items.items, s->items.items + s->first,
                s->items.count * sizeof(*s->items.items));
    s->first = 0;
}

/* ---- from the walk ---- */

/* Where a relative target leads, by its words alone, seen from a path: out of the source, or not. */
static bool
is_astray(const char *path, const char *target)
{
    int depth = 0;
    for (const char *p = path; *p; p++)
        depth += *p == '/';
    if (target[0] == '/')
        return true;
    for (const char *name = target; *name; name += strspn(name, "/")) {
        size_t len = strcspn(name, "/");
        if (len == 2 && name[0] == '.' && name[1] == '.')
            depth--;
        else if (!(len == 1 && name[0] == '.'))
            depth++;
        if (depth < 0)
            return true;
        name += len;
    }
    return false;
}

static void
look_at_link(struct save *s, const struct item *item)
{
    if (item->entry.kind == SNAPSHOT_SYMLINK && is_astray(item->path, item->target) &&
        s->told.astray++ == 0)
        (void)snprintf(s->told.first_astray, sizeof(s->told.first_astray), "%s", item->path);
}

static void
make_link(struct item *item, const char *to)
{
    free(item->target);
    item->target = mem_strdup(to);
    item->entry.target = item->target;
    item->entry.kind = SNAPSHOT_HARDLINK;
    item->entry.flags = 0;
    item->entry.size = 0;
    cleanup_close(&item->fd);
}

/* Another name of a file that came before is a link to that. */
static int
take_linked(struct save *s, struct item *item, struct err *reterr)
{
    char key[48];
    if (item->entry.kind != SNAPSHOT_FILE || item->st.st_nlink < 2)
        return 0;
    struct linked *l = map_get(&s->linked_by_key, link_key(&item->st, key));
    if (l) {
        make_link(item, l->path);
        return 0;
    }
    if (s->linked.count == LINKED_MAX)
        return err_set(reterr, ERR_TOO_LARGE, "more than %d files have several names", LINKED_MAX);
    l = mem_new(struct linked);
    memcpy(l->key, key, sizeof(key));
    l->path = mem_strdup(item->path);
    vec_push(&s->linked, l);
    (void)map_add(&s->linked_by_key, l->key, l);
    return 0;
}

static bool
is_fresh(const struct snapshot_entry *e)
{
    bool coarse = e->ctime_ns % 1000000000 == 0 && e->mtime_ns % 1000000000 == 0;
    return e->ctime_ns > now_ns() - (coarse ? FRESH_COARSE_NS : FRESH_NS);
}

static bool
take_unchanged(struct save *s, struct item *item)
{
    struct snapshot_entry was;
    if (!earlier_find(s->earlier, item->path, &item->st, s->known, &was))
        return false;
    memcpy(item->entry.digest, was.digest, sizeof(was.digest));
    item->entry.xattrs = was.xattrs;
    item->entry.blocks = was.blocks;
    item->is_copied = item->is_done = true;
    cleanup_close(&item->fd);
    s->told.bytes += item->entry.size;
    s->told.unchanged_files++;
    s->told.unchanged_bytes += item->entry.size;
    return true;
}

static int
take_file(struct save *s, struct item *item, const struct scan_item *found, struct err *reterr)
{
    if (item->entry.kind == SNAPSHOT_FILE && take_unchanged(s, item))
        return 0;
    if (item->entry.kind == SNAPSHOT_FILE && is_fresh(&item->entry))
        item->entry.flags |= SNAPSHOT_FRESH;
    item->is_done = item->entry.kind != SNAPSHOT_FILE || s->wish.dry;
    if (s->wish.dry) {
        s->told.new_bytes += item->entry.kind == SNAPSHOT_FILE ? item->entry.size : 0;
        cleanup_close(&item->fd);
        return 0;
    }
    return item_read_xattrs(item, found, reterr);
}

static int
take(struct save *s, const struct scan_item *found, struct err *reterr)
{
    struct item *item = NULL;
    if (S_ISSOCK(found->st.st_mode)) {
        s->told.sockets++;
        return 0;
    }
    int r = item_new(found, &s->names, &item, reterr);
    if (r <= 0)
        return r;
    look_at_link(s, item);
    s->told.mounts += found->is_mount;
    vec_push(&s->items, item);
    r = take_linked(s, item, reterr);
    return r < 0 ? r : take_file(s, item, found, reterr);
}

/* Its last name is the one that it has in its snapshot. */
static void
take_image(struct save *s)
{
    struct item *top, *image;
    struct err err;
    int r = item_new_image(&s->image, s->image_bytes, strrchr(s->source, '/') + 1, &s->names, &top,
                           &image, &err);
    s->scan_is_over = true;
    fail(s, r, &err);
    if (r < 0)
        return;
    top->is_done = true;
    vec_push(&s->items, top);
    vec_push(&s->items, image);
    if (!s->wish.dry)
        return;
    image->is_done = true;
    s->told.new_bytes += s->image_bytes;
}

static void
walk(struct save *s)
{
    if (s->wish.is_image && s->r == 0 && !s->scan_is_over)
        take_image(s);
    while (s->r == 0 && !s->scan_is_over && s->items.count - s->first < ITEMS_MAX) {
        struct scan_item found;
        struct err err;
        int r = scan_next(s->scan, &found, &err);
        s->scan_is_over = r == 0;
        if (r > 0)
            r = take(s, &found, &err);
        fail(s, r, &err);
    }
}

/* ---- reading, and storing ---- */

static void
on_read(struct work *work, bool cancelled unused_arg)
{
    struct slot *slot = container_of(work, struct slot, work);
    struct save *s = slot->save;
    struct item *item = slot->item;
    s->at_work--;
    item->is_being_read = false;
    fail(s, slot->r, &slot->err);
    slot->waits = false;
    for (size_t i = 0; i < slot->count && s->r == 0; i++) {
        struct chunk *chunk = &slot->chunks[i];
        vec_push(&item->blocks, ((struct snapshot_block){chunk->id, chunk->bytes}));
        chunk->is_new = !known_add(s->known, &chunk->id);
        slot->waits |= chunk->is_new;
        s->told.bytes += chunk->bytes;
        s->told.new_blocks += chunk->is_new;
        s->told.new_bytes += chunk->is_new ? chunk->bytes : 0;
    }
    item->is_done = item->is_read;
    slot->is_busy = slot->waits;
    step(s);
}

/* Packs that have been ended are told to the index; a part of it is written where it grows large. */
static void
take_packed(struct save *s, struct packer *p)
{
    struct err err = {0};
    int r = 0;
    vec_foreach (&p->packed, packed) {
        if (r == 0)
            r = index_draft_add(s->index, &packed->name, &packed->entries, &err);
        free(packed->entries.items);
    }
    p->packed.count = 0;
    s->told.stored_bytes += p->stored_bytes;
    s->told.delta_blocks += p->delta_blocks;
    p->stored_bytes = p->delta_blocks = 0;
    fail(s, r, &err);
}

static void
on_stored(struct work *work, bool cancelled unused_arg)
{
    struct slot *slot = container_of(work, struct slot, work);
    struct save *s = slot->save;
    s->at_work--;
    slot->packer->is_busy = false;
    slot->is_busy = slot->waits = false;
    fail(s, slot->r, &slot->err);
    take_packed(s, slot->packer);
    step(s);
}

static void
run_read(struct work *work)
{
    slot_read(container_of(work, struct slot, work));
}

static void
run_store(struct work *work)
{
    struct slot *slot = container_of(work, struct slot, work);
    packer_store(slot->packer, slot);
}

static void
start(struct save *s, struct work *work)
{
    s->at_work++;
    work_start(s->loop, work);
}

static struct packer *
free_packer(struct save *s)
{
    for (size_t i = 0; i < s->packers_count; i++)
        if (!s->packers[i].is_busy)
            return &s->packers[i];
    return NULL;
}

/* What was read first is stored first. */
static struct slot *
next_to_store(struct save *s)
{
    struct slot *first = NULL;
    for (size_t i = 0; i < s->slots_count; i++)
        if (s->slots[i].waits && (!first || s->slots[i].turn < first->turn))
            first = &s->slots[i];
    return first;
}

static void
start_storing(struct save *s)
{
    struct slot *slot;
    struct packer *p;
    while ((slot = next_to_store(s)) && (p = free_packer(s))) {
        slot->waits = false;
        slot->packer = p;
        p->is_busy = true;
        slot->work = (struct work){.run = run_store, .done = on_stored};
        start(s, &slot->work);
    }
}

static struct item *
next_to_read(struct save *s)
{
    for (size_t i = s->first; i < s->items.count; i++) {
        struct item *item = s->items.items[i];
        /* while it is read, the rest of it is that thread's */
        if (!item->is_done && !item->is_being_read && !item->is_read)
            return item;
    }
    return NULL;
}

static void
start_reading(struct save *s)
{
    for (size_t i = 0; i < s->slots_count; i++) {
        struct slot *slot = &s->slots[i];
        struct item *item = slot->is_busy ? NULL : next_to_read(s);
        if (!item)
            continue;
        item->is_being_read = slot->is_busy = true;
        slot->item = item;
        slot->turn = s->turns++;
        slot->work = (struct work){.run = run_read, .done = on_read};
        start(s, &slot->work);
    }
}

/* ---- the end ---- */

static int
write_index(struct save *s, struct err *reterr)
{
    char name[HASH_SHA256_HEX];
    if (index_draft_blocks(s->index) == 0)
        return 0;
    const struct object_place place = repository_place(s->wish.repository, REPOSITORY_INDEX);
    int r = index_draft_write(s->index, &place, name, reterr);
    index_draft_free(s->index);
    s->index = index_draft_new();
    return r;
}

/* In the order of the format: packs, their index, the sums, and then the snapshot. */
static int
commit(struct save *s, struct err *reterr)
{
    struct snapshot_end end = {.new_blocks = s->told.new_blocks,
                               .new_bytes = s->told.new_bytes,
                               .stored_bytes = s->told.stored_bytes};
    char sums[HASH_SHA256_HEX];
    int r = write_index(s, reterr);
    if (r == 0)
        r = object_finish(&s->sums, sums, reterr);
    if (r < 0)
        return r;
    object_digest(sums, end.sums);
    end.ended_ns = now_ns();
    r = lock_check(s->lock, reterr);
    return r < 0 ? r : snapshot_commit(s->snapshot, &end, s->told.snapshot, reterr);
}

/* What was stored is kept, and so is what the snapshot would have told: the next time goes on there. */
static void
keep(struct save *s)
{
    struct err err;
    (void)!write_index(s, &err);
    if (s->snapshot)
        snapshot_abandon(s->snapshot);
}

static void
run_commit(struct work *work)
{
    struct save *s = container_of(work, struct save, commit);
    struct err err = {0};
    if (s->r < 0)
        keep(s);
    else
        fail(s, commit(s, &err), &err);
}

static void
end_save(struct loop_defer *defer)
{
    struct save *s = container_of(defer, struct save, defer);
    s->ended(s->r, &s->err, s->arg);
}

static void
on_committed(struct work *work, bool cancelled unused_arg)
{
    struct save *s = container_of(work, struct save, commit);
    s->at_work--;
    s->has_ended = true;
    if (s->r == 0)
        earlier_clear(s->earlier);
    loop_defer(s->loop, &s->defer);
}

static void
on_packed(struct work *work, bool cancelled unused_arg)
{
    struct packer *p = container_of(work, struct packer, work);
    struct save *s = p->save;
    s->at_work--;
    p->is_busy = false;
    fail(s, p->r, &p->err);
    take_packed(s, p);
    step(s);
}

static void
run_pack(struct work *work)
{
    packer_end(container_of(work, struct packer, work));
}

/* Whether all packs are. */
static bool
end_packs(struct save *s)
{
    bool all = true;
    for (size_t i = 0; i < s->packers_count; i++) {
        struct packer *p = &s->packers[i];
        if (!p->pack || p->r < 0)
            continue;
        all = false;
        if (p->is_busy)
            continue;
        p->is_busy = true;
        p->work = (struct work){.run = run_pack, .done = on_packed};
        start(s, &p->work);
    }
    return all;
}

static void
finish(struct save *s)
{
    s->is_committing = true;
    if (s->wish.dry) {
        s->has_ended = true;
        loop_defer(s->loop, &s->defer);
        return;
    }
    s->commit = (struct work){.run = run_commit, .done = on_committed};
    start(s, &s->commit);
}

/* Whatever has changed, all that can be begun is. */
static void
step(struct save *s)
{
    if (s->is_committing)
        return;
    if (s->r == 0) {
        walk(s);
        write_items(s);
        start_storing(s);
        start_reading(s);
        if (index_draft_blocks(s->index) >= INDEX_BLOCKS) {
            struct err err;
            fail(s, write_index(s, &err), &err);
        }
    }
    bool rests = s->r < 0 || (s->scan_is_over && s->items.count == 0);
    if (rests && s->at_work == 0 && end_packs(s))
        finish(s);
    else if (s->at_work == 0 && s->r == 0)
        loop_defer(s->loop, &s->more);
}

static void
on_more(struct loop_defer *defer)
{
    step(container_of(defer, struct save, more));
}

/* ---- beginning ---- */

/* How much there is, for the time that is left. */
static int
measure(struct save *s, struct err *reterr)
{
    struct scan_item found;
    struct scan *scan = NULL;
    int r = scan_open(s->top, &scan, reterr);
    while (r >= 0 && (r = scan_next(scan, &found, reterr)) > 0)
        if (S_ISREG(found.st.st_mode)) {
            s->told.total_files++;
            s->told.total_bytes += (uint64_t)found.st.st_size;
        }
    scan_free(scan);
    return r;
}

static int
open_image(struct save *s, struct err *reterr)
{
    int r = image_open(s->wish.source, s->wish.in_use, &s->image, &s->image_bytes, reterr);
    s->source = r < 0 ? NULL : realpath(s->wish.source, NULL);
    s->told.total_files = 1;
    s->told.total_bytes = s->image_bytes;
    return r < 0 || s->source ? r
                              : err_set_errno(reterr, errno, "cannot save '%s'", s->wish.source);
}

static int
open_source(struct save *s, struct err *reterr)
{
    if (s->wish.is_image)
        return open_image(s, reterr);
    s->top = open(s->wish.source, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    s->source = s->top < 0 ? NULL : realpath(s->wish.source, NULL);
    if (!s->source)
        return err_set_errno(reterr, errno, "cannot back up '%s'", s->wish.source);
    int r = measure(s, reterr);
    if (r == 0)
        r = scan_open(s->top, &s->scan, reterr);
    if (r < 0)
        err_prefix(reterr, "%s", s->wish.source);
    return r;
}

static int
open_repository(struct save *s, struct err *reterr)
{
    struct repository *repository = s->wish.repository;
    const struct snapshot_head head = {.begun_ns = now_ns(),
                                       .host = s->wish.host,
                                       .subject = s->wish.subject,
                                       .name = s->wish.name,
                                       .type = s->wish.type,
                                       .source = s->source};
    char what[256];
    (void)snprintf(what, sizeof(what), "backup of %s", s->wish.name);
    int r = s->wish.dry ? 0 : lock_take(s->loop, repository, LOCK_WRITES, what, &s->lock, reterr);
    if (r == 0)
        r = known_open(repository, &s->known, reterr);
    if (r == 0)
        r = earlier_open(repository, &head, &s->earlier, reterr);
    if (r < 0 || s->wish.dry)
        return r;
    for (enum repository_area i = 0; i < REPOSITORY_AREAS; i++)
        if (i != REPOSITORY_SNAPSHOTS) /* whose drafts are read, and cleared at the end */
            object_clear_abandoned(repository->areas[i]);
    const struct object_place sums = repository_place(repository, REPOSITORY_SUMS),
                              snapshots = repository_place(repository, REPOSITORY_SNAPSHOTS);
    r = object_begin(&s->sums, &sums, reterr);
    s->has_sums = r == 0;
    return r < 0 ? r : snapshot_begin(&snapshots, &head, &s->snapshot, reterr);
}

/* Reading what is on another host costs more than storing less there. */
static void
look_for_bases(struct save *s)
{
    struct repository *repository = s->wish.repository;
    if (!s->wish.delta || s->wish.effort == CODEC_AS_IT_IS || s->wish.dry ||
        repository_is_elsewhere(repository) || repository_need_reading(repository, NULL) < 0)
        return;
    s->bases = bases_new(repository, known_index(s->known), s->wish.subject);
    for (size_t i = 0; i < s->slots_count; i++)
        s->slots[i].bases = s->bases;
    for (size_t i = 0; i < s->packers_count; i++)
        s->packers[i].index = known_index(s->known);
}

static void
make_workers(struct save *s)
{
    s->packers_count = s->wish.dry ? 0 : s->wish.threads;
    s->slots_count = s->wish.dry ? 0 : s->packers_count + 2;
    s->slots = mem_alloc((s->slots_count + 1) * sizeof(*s->slots));
    for (size_t i = 0; i < s->slots_count; i++) {
        s->slots[i].save = s;
        s->slots[i].keys = s->wish.repository->keys;
        s->slots[i].bytes = mem_alloc(SLOT_BYTES);
    }
    for (size_t i = 0; i < s->packers_count; i++) {
        packer_init(&s->packers[i], &s->wish);
        s->packers[i].save = s;
    }
}

int
save_new(struct loop *loop, const struct save_wish *wish,
         void (*ended)(int r, const struct err *err, void *arg), void *arg, struct save **ret,
         struct err *reterr)
{
    struct save *s = mem_new(struct save);
    assert(wish->threads > 0 && wish->threads <= SAVE_THREADS_MAX);
    s->wish = *wish;
    s->loop = loop;
    s->ended = ended;
    s->arg = arg;
    s->defer.run = end_save;
    s->more.run = on_more;
    s->top = s->image = -1;
    s->index = index_draft_new();
    make_workers(s);
    int r = open_source(s, reterr);
    if (r == 0)
        r = open_repository(s, reterr);
    if (r < 0) {
        save_free(s);
        return r;
    }
    look_for_bases(s);
    loop_defer(loop, &s->more);
    *ret = s;
    return 0;
}

void
save_stop(struct save *s)
{
    struct err err;
    if (s->is_committing)
        return;
    fail(s, err_set_errno(&err, ECANCELED, "the backup of %s was stopped", s->wish.source), &err);
    loop_defer(s->loop, &s->more);
}

void
save_free(struct save *s)
{
    if (!s)
        return;
    assert(s->at_work == 0);
    loop_defer_cancel(s->loop, &s->more);
    loop_defer_cancel(s->loop, &s->defer);
    for (size_t i = s->first; i < s->items.count; i++)
        item_free(s->items.items[i]);
    vec_finish(&s->items);
    map_finish(&s->linked_by_key);
    vec_foreach (&s->linked, l) {
        free((*l)->path);
        free(*l);
    }
    vec_finish(&s->linked);
    for (size_t i = 0; i < s->slots_count; i++)
        free(s->slots[i].bytes);
    free(s->slots);
    for (size_t i = 0; i < s->packers_count; i++)
        packer_finish(&s->packers[i]);
    snapshot_writer_free(s->snapshot);
    if (s->has_sums)
        object_end(&s->sums);
    index_draft_free(s->index);
    earlier_free(s->earlier);
    bases_free(s->bases);
    known_free(s->known);
    lock_release(s->lock);
    scan_free(s->scan);
    cleanup_close(&s->top);
    cleanup_close(&s->image);
    free(s->source);
    free(s);
}

const struct save_told *
save_told(const struct save *s)
{
    return &s->told;
}
