#include "backup/mark.h"

#include "base/text.h"
#include "fmt/json.h"
#include "sys/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX ((size_t)(96 * MIB))
#define PARSED_MAX ((size_t)(512 * MIB))

static const char *const words[MARK_KINDS] = {
    [MARK_PINNED] = "pinned",   [MARK_DELETED] = "deleted", [MARK_GOOD] = "good",
    [MARK_DAMAGED] = "damaged", [MARK_GOING] = "going",
};

void
mark_finish(struct mark *m)
{
    vec_finish(&m->names);
    vec_finish(&m->waits_for);
}

void
marks_finish(struct marks *m)
{
    vec_foreach (&m->items, mark)
        mark_finish(mark);
    vec_finish(&m->items);
}

/* ---- reading ---- */

static bool
take_kind(const struct value *v, enum mark_kind *ret)
{
    const char *word = value_str(v);
    for (enum mark_kind i = 0; word && i < MARK_KINDS; i++)
        if (text_eq(word, words[i])) {
            *ret = i;
            return true;
        }
    return false;
}

static struct block_id *
add_waits(struct mark *m)
{
    return vec_add(&m->waits_for);
}

static struct block_id *
add_name(struct mark *m)
{
    return vec_add(&m->names);
}

static bool
take_names(const struct value *list, struct mark *m, struct block_id *(*add)(struct mark *m))
{
    if (!list || list->type != VALUE_LIST || list->count > MARK_NAMES_MAX)
        return false;
    for (const struct value *v = list->first; v; v = v->next) {
        const char *name = value_str(v);
        if (!name || !object_is_name(name))
            return false;
        object_digest(name, add(m)->bytes);
    }
    return true;
}

bool
mark_parse(const char *text, size_t len, struct mark *ret)
{
    _cleanup_arena_ struct arena arena;
    struct value *top = NULL;
    *ret = (struct mark){0};
    arena_init(&arena, PARSED_MAX);
    bool is_one = json_parse(&arena, text, len, JSON_STRICT, &top, NULL, NULL) == 0 &&
                  take_kind(value_get(top, "mark"), &ret->kind) &&
                  value_i64(value_get(top, "at_ns"), &ret->at_ns) &&
                  take_names(value_get(top, "names"), ret, add_name);
    const struct value *waits = is_one ? value_get(top, "waits_for") : NULL;
    ret->has_waited = waits != NULL;
    is_one = is_one && (!waits || take_names(waits, ret, add_waits));
    if (!is_one)
        mark_finish(ret);
    return is_one;
}

/* -ENOENT: it has gone since. */
static int
read_one(struct repository *repository, const uint8_t name[HASH_SHA256_BYTES], struct marks *m,
         struct err *reterr)
{
    _cleanup_repository_object_ struct repository_object object = {0};
    char text[HASH_SHA256_HEX];
    struct err err;
    struct mark mark;
    int r = repository_map(repository, REPOSITORY_MARKS, name, true, &object, &err);
    if (r < 0 && r != -EBADMSG) {
        if (reterr)
            *reterr = err;
        return r;
    }
    if (r == 0 && object.len <= TEXT_MAX &&
        mark_parse((const char *)object.bytes, object.len, &mark)) {
        memcpy(mark.name, name, sizeof(mark.name));
        vec_push(&m->items, mark);
        return 0;
    }
    hash_sha256_hex(name, text);
    r = err_set(reterr, ERR_MARK_DAMAGED, "marks/%s of the repository %s is not what was written",
                text, repository->where);
    err_fix(reterr,
            "remove the file: pins, deletions and checks that it told of are forgotten, and "
            "nothing else");
    return r;
}

int
marks_read(struct repository *repository, struct marks *ret, struct err *reterr)
{
    struct repository_names names = {0};
    *ret = (struct marks){0};
    int r = repository_list(repository, REPOSITORY_MARKS, &names, reterr);
    if (r == 0 && names.count > MARKS_MAX)
        r = err_set(reterr, ERR_TOO_LARGE, "the repository has %zu marks, of at most %d",
                    names.count, MARKS_MAX);
    for (size_t i = 0; i < names.count && r == 0; i++) {
        r = read_one(repository, names.items[i], ret, reterr);
        r = r == -ENOENT ? 0 : r;
    }
    free(names.items);
    if (r < 0)
        marks_finish(ret);
    return r;
}

/* ---- writing ---- */

static void
print_names(struct json_writer *w, const char *member, const struct block_id *names, size_t count)
{
    char text[HASH_SHA256_HEX];
    json_open_list(w, member);
    for (size_t i = 0; i < count; i++) {
        hash_sha256_hex(names[i].bytes, text);
        json_str(w, NULL, text);
    }
    json_close_list(w);
}

static int
write_text(struct repository *repository, const struct buf *text, struct err *reterr)
{
    const struct object_place place = repository_place(repository, REPOSITORY_MARKS);
    struct object_writer w;
    char name[HASH_SHA256_HEX];
    int r = object_begin(&w, &place, reterr);
    if (r < 0)
        return r;
    r = object_write(&w, text->data, text->len, reterr);
    if (r == 0)
        r = object_finish(&w, name, reterr);
    object_end(&w);
    return r;
}

static int
write_at(struct repository *repository, const struct mark_wish *wish, int64_t at_ns,
         struct err *reterr)
{
    _cleanup_buf_ struct buf text = BUF_INIT(TEXT_MAX);
    struct json_writer w;
    assert(wish->count <= MARK_NAMES_MAX && wish->waits_count <= MARK_NAMES_MAX);
    json_init(&w, &text, false);
    json_open_map(&w, NULL);
    json_str(&w, "mark", words[wish->kind]);
    json_i64(&w, "at_ns", at_ns);
    print_names(&w, "names", wish->names, wish->count);
    if (wish->waits_for)
        print_names(&w, "waits_for", wish->waits_for, wish->waits_count);
    json_close_map(&w);
    return write_text(repository, &text, reterr);
}

int
mark_write(struct repository *repository, const struct mark_wish *wish, struct err *reterr)
{
    return write_at(repository, wish, (int64_t)clock_wall_us() * 1000, reterr);
}

/* ---- asking, and taking back ---- */

static bool
is_about(const struct mark *mark, const struct block_id *name)
{
    vec_foreach (&mark->names, n)
        if (memcmp(n, name, sizeof(*n)) == 0)
            return true;
    return false;
}

const struct mark *
marks_find(const struct marks *m, enum mark_kind kind, const struct block_id *name)
{
    const struct mark *newest = NULL;
    vec_foreach (&m->items, mark)
        if (mark->kind == kind && (!newest || mark->at_ns > newest->at_ns) && is_about(mark, name))
            newest = mark;
    return newest;
}

/* What it says of others is said anew before it goes. */
static int
take_back(struct repository *repository, const struct mark *mark, const struct block_id *name,
          struct err *reterr)
{
    VEC(struct block_id) rest = {0};
    vec_foreach (&mark->names, n)
        if (memcmp(n, name, sizeof(*n)) != 0)
            vec_push(&rest, *n);
    static const struct block_id nobody;
    const struct mark_wish wish = {.kind = mark->kind,
                                   .names = rest.items,
                                   .count = rest.count,
                                   .waits_for = !mark->has_waited           ? NULL
                                                : mark->waits_for.count > 0 ? mark->waits_for.items
                                                                            : &nobody,
                                   .waits_count = mark->waits_for.count};
    int r = rest.count > 0 ? write_at(repository, &wish, mark->at_ns, reterr) : 0;
    vec_finish(&rest);
    return r < 0 ? r : repository_remove(repository, REPOSITORY_MARKS, mark->name, reterr);
}

int
marks_take_back(struct repository *repository, const struct marks *m, enum mark_kind kind,
                const struct block_id *name, size_t *ret_count, struct err *reterr)
{
    size_t count = 0;
    int r = 0;
    vec_foreach (&m->items, mark)
        if (r == 0 && mark->kind == kind && is_about(mark, name)) {
            r = take_back(repository, mark, name, reterr);
            count++;
        }
    if (ret_count)
        *ret_count = count;
    return r;
}
