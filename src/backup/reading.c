#include "backup/reading.h"

#include <string.h>

static bool
is_below(const char *path, const char *above)
{
    size_t len = strlen(above);
    return len == 0 || (strncmp(path, above, len) == 0 && (path[len] == '/' || path[len] == '\0'));
}

bool
reading_has(const struct reading *r, const char *path)
{
    return !r->path || is_below(path, r->path);
}

/* And the directories above. */
static bool
is_wanted(const struct reading *r, const struct snapshot_entry *e)
{
    return reading_has(r, e->path) || (e->kind == SNAPSHOT_DIRECTORY && is_below(r->path, e->path));
}

static int
measure(struct reading *r, struct err *reterr)
{
    struct snapshot_entry e;
    uint64_t found = 0;
    int k = reading_rewind(r, reterr);
    while (k >= 0 && (k = reading_next(r, &e, reterr)) > 0) {
        found += reading_has(r, e.path);
        r->files += e.kind == SNAPSHOT_FILE;
        r->bytes += e.kind == SNAPSHOT_FILE ? e.size : 0;
    }
    if (k == 0 && found == 0) {
        k = err_set(reterr, ERR_SNAPSHOT_NONE, "there is no '%s' in the snapshot", r->path);
        err_fix(reterr, "citadel backup show SNAPSHOT --files");
    }
    return k < 0 ? k : reading_rewind(r, reterr);
}

int
reading_open(struct loop *loop, const struct reading_wish *wish, struct reading *ret,
             struct err *reterr)
{
    struct repository *repository = wish->repository;
    *ret = (struct reading){.path = wish->path};
    int r = repository_need_reading(repository, reterr);
    if (r == 0)
        r = lock_take(loop, repository, LOCK_READS, wish->what, &ret->lock, reterr);
    if (r == 0)
        r = repository_map(repository, REPOSITORY_SNAPSHOTS, wish->snapshot, true, &ret->object,
                           reterr);
    if (r == 0)
        r = index_open(repository, &ret->index, reterr);
    return r < 0 ? r : measure(ret, reterr);
}

void
reading_close(struct reading *r)
{
    index_free(r->index);
    lock_release(r->lock);
    repository_unmap(&r->object);
}

int
reading_next(struct reading *r, struct snapshot_entry *ret_entry, struct err *reterr)
{
    int k;
    do
        k = snapshot_next(&r->reader, ret_entry, reterr);
    while (k > 0 && !is_wanted(r, ret_entry));
    r->is_over = k == 0;
    return k;
}

int
reading_rewind(struct reading *r, struct err *reterr)
{
    r->is_over = false;
    return snapshot_open(r->object.bytes, r->object.len, &r->reader, &r->head, reterr);
}

void
reading_take_run(struct snapshot_records *rest, struct reading_run *ret)
{
    struct snapshot_records ahead = *rest;
    struct snapshot_block block;
    ret->bytes = ret->count = 0;
    while (ret->count < READING_RUN_BLOCKS && snapshot_next_block(&ahead, &block) &&
           ret->bytes + block.bytes <= READING_RUN_BYTES) {
        ret->blocks[ret->count++] = block;
        ret->bytes += block.bytes;
        *rest = ahead;
    }
}
