#include "backup/earlier.h"

#include "base/mem.h"
#include "base/text.h"
#include "base/vec.h"
#include "sys/fault.h"
#include "sys/files.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A snapshot, or the beginning of one, that is read in step with those who ask. */
struct source {
    struct repository_object object;
    int fd; /* of a draft: its lock; -1 of a snapshot */
    char draft[OBJECT_DRAFT_MAX];
    struct snapshot_reader reader;
    struct snapshot_entry entry; /* the one it has come to */
    bool is_over;
};

struct earlier {
    int dir;                 /* the repository's */
    struct source *snapshot; /* NULL: there is none */
    uint8_t name[HASH_SHA256_BYTES];
    VEC(struct source *) drafts;
};

/* ---- which ---- */

static bool
is_same(const struct snapshot_head *a, const struct snapshot_head *b)
{
    return text_eq(a->host, b->host) && text_eq(a->subject, b->subject) &&
           text_eq(a->name, b->name) && text_eq(a->source, b->source);
}

static void
source_free(struct source *s)
{
    if (!s)
        return;
    repository_unmap(&s->object);
    cleanup_close(&s->fd);
    free(s);
}

/* Takes the object. One that has no head is over at once. */
static struct source *
source_new(struct repository_object *object, struct snapshot_head *ret_head)
{
    struct source *s = mem_new(struct source);
    s->fd = -1;
    s->object = *object;
    *object = (struct repository_object){0};
    s->entry.path = "";
    s->is_over = snapshot_open(s->object.bytes, s->object.len, &s->reader, ret_head, NULL) < 0;
    return s;
}

/* Of the head only: most snapshots are of something else, or older. */
static bool
is_newer(const struct repository *r, const uint8_t name[HASH_SHA256_BYTES],
         const struct snapshot_head *head, int64_t *newest_ns)
{
    struct repository_file *file = NULL;
    struct snapshot_head found;
    uint8_t first[SNAPSHOT_HEAD_MAX];
    if (repository_open_file(r, REPOSITORY_SNAPSHOTS, name, &file, NULL) < 0)
        return false;
    const size_t len = (size_t)MIN(repository_file_bytes(file), (uint64_t)sizeof(first));
    struct snapshot_reader *reader = mem_new(struct snapshot_reader);
    bool newer = repository_read_file(file, 0, first, len, NULL) == 0 &&
                 snapshot_open(first, len, reader, &found, NULL) == 0 && is_same(head, &found) &&
                 found.begun_ns > *newest_ns;
    if (newer)
        *newest_ns = found.begun_ns;
    free(reader);
    repository_close_file(file);
    return newer;
}

/* One that is damaged counts as none: then files are read again. */
static int
find_snapshot(struct earlier *e, struct repository *r, const struct snapshot_head *head,
              struct err *reterr)
{
    struct repository_names names = {0};
    struct repository_object object = {0};
    struct snapshot_head found;
    int64_t newest_ns = INT64_MIN;
    int k = repository_list(r, REPOSITORY_SNAPSHOTS, &names, reterr);
    for (size_t i = 0; i < names.count && k == 0; i++)
        if (is_newer(r, names.items[i], head, &newest_ns))
            memcpy(e->name, names.items[i], sizeof(e->name));
    free(names.items);
    if (newest_ns > INT64_MIN &&
        repository_map(r, REPOSITORY_SNAPSHOTS, e->name, true, &object, NULL) == 0)
        e->snapshot = source_new(&object, &found);
    return k;
}

/* Those of the same, and those of which nothing can be told any more: with them it is over. */
static void
find_drafts(struct earlier *e, const struct repository *r, const struct snapshot_head *head)
{
    _cleanup_dir_ DIR *dir = file_open_dir(e->dir, ".", 0);
    char name[OBJECT_DRAFT_MAX];
    for (int fd; dir && (fd = object_next_abandoned(dir, name)) >= 0;) {
        struct repository_object object = {0};
        struct snapshot_head found;
        if (repository_map_draft(r, fd, &object) < 0)
            object = (struct repository_object){0};
        struct source *s = source_new(&object, &found);
        s->fd = fd;
        if (!s->is_over && !is_same(head, &found)) {
            source_free(s);
            continue;
        }
        memcpy(s->draft, name, sizeof(name));
        vec_push(&e->drafts, s);
    }
}

int
earlier_open(struct repository *repository, const struct snapshot_head *head, struct earlier **ret,
             struct err *reterr)
{
    struct earlier *e = mem_new(struct earlier);
    e->dir = repository->areas[REPOSITORY_SNAPSHOTS];
    bool reads = repository_need_reading(repository, NULL) == 0;
    int r = reads ? find_snapshot(e, repository, head, reterr) : 0;
    if (r < 0) {
        earlier_free(e);
        return r;
    }
    if (reads)
        find_drafts(e, repository, head);
    *ret = e;
    return 0;
}

void
earlier_free(struct earlier *e)
{
    if (!e)
        return;
    source_free(e->snapshot);
    vec_foreach (&e->drafts, s)
        source_free(*s);
    vec_finish(&e->drafts);
    free(e);
}

const uint8_t *
earlier_name(const struct earlier *e)
{
    return e->snapshot ? e->name : NULL;
}

void
earlier_clear(struct earlier *e)
{
    vec_foreach (&e->drafts, s)
        (void)!fault_unlink(e->dir, (*s)->draft, false);
}

/* ---- files ---- */

static int64_t
in_ns(struct timespec t)
{
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* The entry of the path, or NULL. Where a draft breaks off, it is over. */
static const struct snapshot_entry *
seek(struct source *s, const char *path)
{
    while (!s->is_over && snapshot_order(s->entry.path, path) < 0)
        s->is_over = snapshot_next(&s->reader, &s->entry, NULL) <= 0;
    return !s->is_over && text_eq(s->entry.path, path) ? &s->entry : NULL;
}

static bool
is_unchanged(const struct snapshot_entry *e, const struct stat *st)
{
    return e->kind == SNAPSHOT_FILE && !(e->flags & (SNAPSHOT_CHANGED | SNAPSHOT_FRESH)) &&
           e->size == (uint64_t)st->st_size && e->inode == (uint64_t)st->st_ino &&
           e->mtime_ns == in_ns(st->st_mtim) && e->ctime_ns == in_ns(st->st_ctim);
}

static bool
is_known(const struct snapshot_entry *e, const struct known *known)
{
    struct snapshot_records blocks = e->blocks;
    struct snapshot_block block;
    while (snapshot_next_block(&blocks, &block))
        if (!known_has(known, &block.id))
            return false;
    return true;
}

static bool
find_in(struct source *s, const char *path, const struct stat *st, const struct known *known,
        struct snapshot_entry *ret)
{
    const struct snapshot_entry *e = seek(s, path);
    if (!e || !is_unchanged(e, st) || !is_known(e, known))
        return false;
    *ret = *e;
    return true;
}

bool
earlier_find(struct earlier *e, const char *path, const struct stat *st, const struct known *known,
             struct snapshot_entry *ret)
{
    bool found = e->snapshot && find_in(e->snapshot, path, st, known, ret);
    vec_foreach (&e->drafts, s)
        found = found || find_in(*s, path, st, known, ret);
    return found;
}
