#include "backup/snapshots.h"

#include "base/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ARENA_BYTES ((size_t)(256 * MIB))

/* What is shown to people: a stranger may have written it. */
static const char *
keep(struct arena *arena, const char *text)
{
    char *copy = arena_strdup(arena, text);
    if (copy)
        text_disarm(copy);
    return copy;
}

static bool
take_head(struct arena *arena, const struct snapshot_head *from, struct snapshot_head *ret)
{
    *ret = (struct snapshot_head){.begun_ns = from->begun_ns,
                                  .host = keep(arena, from->host),
                                  .subject = keep(arena, from->subject),
                                  .name = keep(arena, from->name),
                                  .type = keep(arena, from->type),
                                  .source = arena_strdup(arena, from->source)};
    return !arena->full;
}

/* Its beginning and its end are all that is read of it. */
static int
read_ends(const struct repository *r, const uint8_t name[HASH_SHA256_BYTES], uint8_t *head,
          uint8_t *end, size_t *ret_head, size_t *ret_end)
{
    struct repository_file *file = NULL;
    int k = repository_open_file(r, REPOSITORY_SNAPSHOTS, name, &file, NULL);
    if (k < 0)
        return k;
    const uint64_t bytes = repository_file_bytes(file);
    *ret_head = (size_t)MIN(bytes, (uint64_t)SNAPSHOT_HEAD_MAX);
    *ret_end = (size_t)MIN(bytes, (uint64_t)SNAPSHOT_END_MAX);
    k = repository_read_file(file, 0, head, *ret_head, NULL);
    if (k == 0)
        k = repository_read_file(file, bytes - *ret_end, end, *ret_end, NULL);
    repository_close_file(file);
    return k;
}

static int
read_row(const struct repository *r, const uint8_t name[HASH_SHA256_BYTES], struct arena *arena,
         struct snapshot_row *ret)
{
    uint8_t first[SNAPSHOT_HEAD_MAX], last[SNAPSHOT_END_MAX];
    size_t first_len, last_len;
    struct snapshot_reader *reader = mem_new(struct snapshot_reader);
    struct snapshot_head head;
    hash_sha256_hex(name, ret->name);
    ret->is_damaged = read_ends(r, name, first, last, &first_len, &last_len) < 0 ||
                      snapshot_open(first, first_len, reader, &head, NULL) < 0 ||
                      snapshot_read_end(last, last_len, &ret->end, NULL) < 0;
    bool fits = ret->is_damaged || take_head(arena, &head, &ret->head);
    free(reader);
    return fits ? 0 : -ENOMEM;
}

static int
by_time(const void *a, const void *b)
{
    const struct snapshot_row *x = a, *y = b;
    int order = (x->head.begun_ns > y->head.begun_ns) - (x->head.begun_ns < y->head.begun_ns);
    if (x->is_damaged || y->is_damaged)
        order = y->is_damaged - x->is_damaged;
    return order ? order : strcmp(x->name, y->name);
}

int
snapshots_read(struct repository *repository, struct snapshots *ret, struct err *reterr)
{
    struct repository_names names = {0};
    int r = repository_need_reading(repository, reterr);
    if (r == 0)
        r = repository_list(repository, REPOSITORY_SNAPSHOTS, &names, reterr);
    if (r < 0)
        return r;
    arena_init(&ret->arena, ARENA_BYTES);
    ret->count = names.count;
    ret->rows = NULL;
    if (names.count <= SNAPSHOTS_MAX)
        ret->rows = arena_alloc(&ret->arena, (names.count + 1) * sizeof(*ret->rows));
    r = ret->rows ? 0 : -ENOMEM;
    for (size_t i = 0; i < names.count && r == 0; i++)
        r = read_row(repository, names.items[i], &ret->arena, &ret->rows[i]);
    free(names.items);
    if (r < 0) {
        arena_finish(&ret->arena);
        return err_set(reterr, ERR_TOO_LARGE,
                       "the repository %s has more snapshots than can be listed: %zu",
                       repository->where, ret->count);
    }
    if (ret->count > 1)
        qsort(ret->rows, ret->count, sizeof(*ret->rows), by_time);
    return 0;
}

void
snapshots_finish(struct snapshots *s)
{
    arena_finish(&s->arena);
}

/* ---- which one ---- */

static const char *
name_at(size_t i, const void *arg)
{
    const struct snapshots *s = arg;
    return i < s->count ? s->rows[i].is_damaged ? s->rows[i].name : s->rows[i].head.name : NULL;
}

static bool
is_prefix(const char *word)
{
    size_t len = strlen(word);
    return len >= SNAPSHOTS_PREFIX_MIN && strspn(word, "0123456789abcdef") == len;
}

const struct snapshot_row *
snapshots_find(const struct snapshots *s, const char *word, struct err *reterr)
{
    const struct snapshot_row *by_name = NULL, *by_digits = NULL;
    size_t count = 0;
    for (size_t i = 0; i < s->count; i++) {
        const struct snapshot_row *row = &s->rows[i];
        if (!row->is_damaged && text_eq(row->head.name, word))
            by_name = row;
        if (is_prefix(word) && text_starts(row->name, word)) {
            by_digits = row;
            count++;
        }
    }
    if (by_name || count == 1)
        return by_name ? by_name : by_digits;
    if (count > 1) {
        (void)err_set(reterr, ERR_SNAPSHOT_NONE, "%zu snapshots begin with '%s'", count, word);
        err_fix(reterr, "give more of its digits: citadel backup list");
    } else {
        (void)err_set(reterr, ERR_SNAPSHOT_NONE, "there is no snapshot '%s'", word);
        err_fix_nearest(reterr, word, name_at, s, "citadel backup list");
    }
    return NULL;
}
