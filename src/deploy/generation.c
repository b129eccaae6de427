#include "deploy/manifest_int.h"

#include "base/text.h"
#include "base/vec.h"
#include "sys/clock.h"
#include "sys/fault.h"
#include "sys/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What is not yet, or no longer, a generation has one of these names, which a crash may leave and the
 * next writer removes. */
#define DRAFT ".new"
#define OUTGOING ".old"

#define NUMBER_DIGITS_MAX 9
#define MANIFEST_ARENA (8 * MIB) /* GENERATION_FILES_MAX names, twice: as read and as kept */

static const char *const links[GENERATION_LINKS] = {
    [GENERATION_CURRENT] = "current",
    [GENERATION_STABLE] = "stable",
};

struct numbers {
    VEC(unsigned) list; /* ascending */
};

static void
numbers_finish(struct numbers *n)
{
    vec_finish(&n->list);
}
#define _cleanup_numbers_ _cleanup_(numbers_finish)

static char *
path_of(const char *store, unsigned number, const char *name)
{
    return mem_printf("%s/generations/%u%s%s", store, number, name ? "/" : "", name ? name : "");
}

/* "7"; 0: it is no generation. */
static unsigned
number_of(const char *name)
{
    size_t len = strspn(name, "0123456789");
    if (len == 0 || len > NUMBER_DIGITS_MAX || name[len] || *name == '0')
        return 0;
    return (unsigned)strtoul(name, NULL, 10);
}

static int
compare_numbers(const void *a, const void *b)
{
    unsigned x = *(const unsigned *)a, y = *(const unsigned *)b;
    return x < y ? -1 : x > y;
}

static int
read_numbers(const char *store, struct numbers *n, struct err *reterr)
{
    _cleanup_free_ char *path = mem_printf("%s/generations", store);
    DIR *dir = file_open_dir(AT_FDCWD, path, 0);
    if (!dir)
        return errno == ENOENT ? 0 : err_set_errno(reterr, errno, "cannot list '%s'", path);
    for (struct dirent *e; (e = readdir(dir)) && n->list.count < GENERATIONS_MAX;) {
        unsigned number = number_of(e->d_name);
        if (number)
            vec_push(&n->list, number);
    }
    (void)closedir(dir);
    if (n->list.count)
        qsort(n->list.items, n->list.count, sizeof(*n->list.items), compare_numbers);
    return 0;
}

static int
refuse_number(const char *store, unsigned number, struct err *reterr)
{
    struct err ignored;
    _cleanup_numbers_ struct numbers n = {0};
    int r = err_set(reterr, ERR_GENERATION_NONE, "there is no generation %u in %s", number, store);
    if (read_numbers(store, &n, &ignored) == 0 && n.list.count)
        err_fix(reterr, "there are %u to %u", n.list.items[0], n.list.items[n.list.count - 1]);
    return r;
}

static int
load_manifest(const char *store, unsigned number, struct arena *arena,
              struct manifest *ret_manifest, struct err *reterr)
{
    _cleanup_buf_ struct buf text = BUF_INIT(MANIFEST_MAX);
    _cleanup_free_ char *dir = path_of(store, number, NULL);
    _cleanup_free_ char *path = path_of(store, number, MANIFEST_NAME);
    struct err why;
    if (access(dir, F_OK) < 0 && errno == ENOENT)
        return refuse_number(store, number, reterr);
    int r = file_read(path, &text, &why);
    if (r == 0)
        r = manifest_parse(text.data, text.len, arena, ret_manifest, &why);
    if (r == 0)
        return 0;
    r = err_set(reterr, ERR_GENERATION_DAMAGED, "generation %u cannot be read: %s", number,
                why.what);
    err_fix(reterr, "citadel apply; it makes a new one");
    return r;
}

/* ---- the links ---- */

int
generation_of(const char *store, enum generation_link link, unsigned *ret_number,
              struct err *reterr)
{
    _cleanup_free_ char *path = mem_printf("%s/%s", store, links[link]);
    char target[sizeof("generations/") + NUMBER_DIGITS_MAX + 1];
    ssize_t n = readlink(path, target, sizeof(target) - 1);
    if (n < 0 && errno == ENOENT) {
        *ret_number = 0;
        return 0;
    }
    if (n < 0 && errno != EINVAL)
        return err_set_errno(reterr, errno, "cannot read the link '%s'", path);
    target[MAX(n, 0)] = '\0';
    unsigned number =
        text_starts(target, "generations/") ? number_of(target + strlen("generations/")) : 0;
    _cleanup_free_ char *dir = path_of(store, number, NULL);
    if (number && access(dir, F_OK) == 0) {
        *ret_number = number;
        return 0;
    }
    int r = n < 0 ? err_set(reterr, ERR_SYSTEM, "'%s' is no link", path)
                  : err_set(reterr, ERR_GENERATION_DAMAGED,
                            "'%s' leads to %s, which is no generation of ours", path, target);
    err_fix(reterr,
            n < 0 ? "move it away; then citadel apply" : "citadel apply; it leads elsewhere then");
    return r;
}

int
generation_or_none(const char *store, enum generation_link link, unsigned *ret_number,
                   bool *ret_astray, struct err *reterr)
{
    struct err err;
    int r = generation_of(store, link, ret_number, &err);
    *ret_astray = r < 0 && err.id == ERR_GENERATION_DAMAGED;
    if (*ret_astray)
        *ret_number = 0;
    if (r == 0 || *ret_astray)
        return 0;
    if (reterr)
        *reterr = err;
    return r;
}

int
generation_set(const char *store, enum generation_link link, unsigned number, struct err *reterr)
{
    _cleanup_free_ char *path = mem_printf("%s/%s", store, links[link]);
    _cleanup_free_ char *dir = path_of(store, number, NULL);
    char target[sizeof("generations/") + NUMBER_DIGITS_MAX + 1];
    if (number == 0)
        return file_remove_tree(path, reterr);
    if (access(dir, F_OK) < 0)
        return refuse_number(store, number, reterr);
    (void)snprintf(target, sizeof(target), "generations/%u", number);
    return file_link(path, target, reterr);
}

/* ---- making one ---- */

static int
write_one(const char *draft, const struct generation_file *file, struct err *reterr)
{
    _cleanup_free_ char *path = mem_printf("%s/%s", draft, file->name);
    const char *slash = strchr(file->name, '/');
    assert(manifest_takes_name(file->name));
    if (slash) {
        _cleanup_free_ char *dir = mem_strndup(path, strlen(path) - strlen(slash));
        int r = file_make_dirs(dir, 0755, reterr);
        if (r < 0)
            return r;
    }
    return file_write(path, file->bytes, file->len, 0644, reterr);
}

static int
write_manifest(const char *draft, const struct generation_wish *wish, unsigned after,
               struct err *reterr)
{
    _cleanup_buf_ struct buf text = BUF_INIT(MANIFEST_MAX);
    _cleanup_free_ char *path = mem_printf("%s/" MANIFEST_NAME, draft);
    _cleanup_free_ struct manifest_file *files = mem_alloc((wish->count + 1) * sizeof(*files));
    struct manifest m = {.made_us = clock_wall_us(),
                         .by = wish->by,
                         .why = wish->why,
                         .after = after,
                         .files = files,
                         .count = wish->count};
    for (size_t i = 0; i < wish->count; i++) {
        files[i].name = wish->files[i].name;
        manifest_digest(wish->files[i].bytes, wish->files[i].len, files[i].digest);
    }
    manifest_print(&m, &text);
    assert(buf_error(&text) == 0); /* as many names as there may be, each as long as it may be */
    return file_write(path, text.data, text.len, 0644, reterr);
}

static int
write_draft(const char *draft, const struct generation_wish *wish, unsigned after,
            struct err *reterr)
{
    int r = file_remove_tree(draft, reterr);
    if (r == 0)
        r = file_make_dirs(draft, 0755, reterr);
    for (size_t i = 0; r == 0 && i < wish->count; i++)
        r = write_one(draft, &wish->files[i], reterr);
    return r == 0 ? write_manifest(draft, wish, after, reterr) : r;
}

static int
check_wish(const struct generation_wish *wish, struct err *reterr)
{
    if (wish->count > GENERATION_FILES_MAX)
        return err_set(reterr, ERR_TOO_LARGE, "a generation has %d files at most, not %zu",
                       GENERATION_FILES_MAX, wish->count);
    for (size_t i = 0; i < wish->count; i++)
        if (wish->files[i].len > GENERATION_FILE_MAX)
            return err_set(reterr, ERR_TOO_LARGE, "%s has %zu bytes, and %llu are allowed",
                           wish->files[i].name, wish->files[i].len,
                           (unsigned long long)GENERATION_FILE_MAX);
    return 0;
}

/* From one name in STORE/generations to another. */
static int
rename_in(const char *store, const char *from, const char *to, struct err *reterr)
{
    _cleanup_free_ char *path = mem_printf("%s/generations/%s", store, to);
    struct file_place place = {.dir = -1};
    int r = file_place_open(path, &place);
    if (r == 0) {
        _cleanup_close_ int dir = place.dir;
        r = fault_rename(dir, from, to);
        if (r == 0)
            r = fault_sync(dir);
    }
    return r < 0 ? err_set_errno(reterr, -r, "cannot make '%s'", path) : 0;
}

int
generation_add(const char *store, const struct generation_wish *wish, unsigned *ret_number,
               struct err *reterr)
{
    _cleanup_free_ char *draft = mem_printf("%s/generations/" DRAFT, store);
    _cleanup_numbers_ struct numbers n = {0};
    unsigned current = 0;
    bool astray;
    char name[NUMBER_DIGITS_MAX + 2];
    int r = check_wish(wish, reterr);
    if (r == 0)
        r = read_numbers(store, &n, reterr);
    if (r == 0)
        r = generation_or_none(store, GENERATION_CURRENT, &current, &astray, reterr);
    if (r < 0)
        return r;
    unsigned number = n.list.count ? n.list.items[n.list.count - 1] + 1 : 1;
    (void)snprintf(name, sizeof(name), "%u", number);
    r = write_draft(draft, wish, current, reterr);
    if (r == 0)
        r = rename_in(store, DRAFT, name, reterr);
    if (r < 0) {
        (void)!file_remove_tree(draft, NULL);
        return r;
    }
    *ret_number = number;
    return 0;
}

/* ---- reading ---- */

static int
read_links(const char *store, unsigned numbers[GENERATION_LINKS], struct err *reterr)
{
    bool astray;
    int r = 0;
    for (enum generation_link link = 0; r == 0 && link < GENERATION_LINKS; link++)
        r = generation_or_none(store, link, &numbers[link], &astray, reterr);
    return r;
}

static int
tell_one(const char *store, unsigned number, struct arena *arena, struct generation *ret)
{
    _cleanup_arena_ struct arena scratch;
    struct manifest m;
    struct err why;
    *ret = (struct generation){.number = number};
    arena_init(&scratch, MANIFEST_ARENA);
    if (load_manifest(store, number, &scratch, &m, &why) < 0) {
        ret->damage = arena_strdup(arena, why.what);
        return ret->damage ? 0 : -ENOMEM;
    }
    ret->made_us = m.made_us;
    ret->after = m.after;
    ret->by = arena_strdup(arena, m.by);
    ret->why = arena_strdup(arena, m.why);
    return ret->by && ret->why ? 0 : -ENOMEM;
}

int
generation_list(const char *store, struct arena *arena, struct generation **ret_items,
                size_t *ret_count, struct err *reterr)
{
    _cleanup_numbers_ struct numbers n = {0};
    unsigned linked[GENERATION_LINKS] = {0};
    int r = read_numbers(store, &n, reterr);
    if (r == 0)
        r = read_links(store, linked, reterr);
    if (r < 0)
        return r;
    struct generation *items = arena_alloc(arena, (n.list.count + 1) * sizeof(*items));
    for (size_t i = 0; items && i < n.list.count; i++) {
        if (tell_one(store, n.list.items[i], arena, &items[i]) < 0)
            break;
        items[i].current = items[i].number == linked[GENERATION_CURRENT];
        items[i].stable = items[i].number == linked[GENERATION_STABLE];
    }
    if (arena->full)
        return err_set(reterr, ERR_TOO_LARGE, "%zu generations are too many to list", n.list.count);
    *ret_items = items;
    *ret_count = n.list.count;
    return 0;
}

static const struct manifest_file *
find_file(const struct manifest *m, const char *name)
{
    for (size_t i = 0; i < m->count; i++)
        if (text_eq(m->files[i].name, name))
            return &m->files[i];
    return NULL;
}

/* -EBADMSG: it is not what it was. */
static int
read_checked(const char *store, unsigned number, const struct manifest_file *file, struct buf *out)
{
    _cleanup_free_ char *path = path_of(store, number, file->name);
    char digest[HASH_SHA256_HEX];
    size_t before = out->len;
    int r = file_read(path, out, NULL);
    if (r < 0)
        return r;
    manifest_digest(out->data + before, out->len - before, digest);
    return text_eq(digest, file->digest) ? 0 : -EBADMSG;
}

static int
tell_damage(unsigned number, const char *name, int r, struct err *reterr)
{
    r = err_set(reterr, ERR_GENERATION_DAMAGED, "%s of generation %u %s", name, number,
                r == -ENOENT ? "is missing" : "is not what it was deployed as");
    err_fix(reterr, "citadel apply; it makes a new one");
    return r;
}

int
generation_read(const char *store, unsigned number, const char *name, struct buf *out,
                struct err *reterr)
{
    _cleanup_arena_ struct arena arena;
    struct manifest m;
    arena_init(&arena, MANIFEST_ARENA);
    int r = load_manifest(store, number, &arena, &m, reterr);
    if (r < 0)
        return r;
    const struct manifest_file *file = find_file(&m, name);
    if (!file)
        return err_set(reterr, ERR_NOT_FOUND, "generation %u has no %s", number, name);
    r = read_checked(store, number, file, out);
    return r == 0 ? 0 : tell_damage(number, name, r, reterr);
}

static int
load_one(const char *store, unsigned number, const struct manifest_file *file, struct arena *arena,
         struct generation_file *ret)
{
    _cleanup_buf_ struct buf text = BUF_INIT(GENERATION_FILE_MAX);
    int r = read_checked(store, number, file, &text);
    if (r < 0)
        return r;
    *ret = (struct generation_file){.name = arena_strdup(arena, file->name),
                                    .bytes = arena_strndup(arena, text.data, text.len),
                                    .len = text.len};
    return ret->name && ret->bytes ? 0 : -ENOMEM;
}

static int
compare_files(const void *a, const void *b)
{
    return strcmp(((const struct generation_file *)a)->name,
                  ((const struct generation_file *)b)->name);
}

int
generation_load(const char *store, unsigned number, enum generation_part part, struct arena *arena,
                struct generation_file **ret_files, size_t *ret_count, struct err *reterr)
{
    _cleanup_arena_ struct arena scratch;
    struct manifest m;
    size_t count = 0;
    arena_init(&scratch, MANIFEST_ARENA);
    int r = load_manifest(store, number, &scratch, &m, reterr);
    if (r < 0)
        return r;
    struct generation_file *files = arena_alloc(arena, (m.count + 1) * sizeof(*files));
    for (size_t i = 0; files && i < m.count && !arena->full; i++) {
        r = load_one(store, number, &m.files[i], arena, &files[count]);
        if (r < 0 && r != -ENOMEM && part == GENERATION_WHOLE)
            return tell_damage(number, m.files[i].name, r, reterr);
        count += r == 0;
    }
    if (arena->full)
        return err_set(reterr, ERR_TOO_LARGE, "generation %u is too large to load", number);
    if (count)
        qsort(files, count, sizeof(*files), compare_files);
    *ret_files = files;
    *ret_count = count;
    return 0;
}

void
generation_digest(const char *store, unsigned number, char ret_digest[HASH_SHA256_HEX])
{
    _cleanup_buf_ struct buf text = BUF_INIT(MANIFEST_MAX);
    _cleanup_free_ char *path = path_of(store, number, MANIFEST_NAME);
    if (file_read(path, &text, NULL) < 0)
        buf_clear(&text);
    manifest_digest(text.data, text.len, ret_digest);
}

/* ---- what differs ---- */

struct differences {
    struct arena *arena;
    VEC(struct generation_damage) found;
};

static void
add_difference(struct differences *d, enum generation_change change, const char *name)
{
    char *shown = arena_strdup(d->arena, name);
    if (shown)
        text_disarm(shown);
    vec_push(&d->found, ((struct generation_damage){change, shown}));
}

/* Files that are there and in no manifest; directories are one level deep, and others are told. */
static void
look_for_added(struct differences *d, const char *top, const char *below, const struct manifest *m)
{
    _cleanup_free_ char *path = mem_printf("%s/%s", top, below);
    DIR *dir = file_open_dir(AT_FDCWD, path, O_NOFOLLOW);
    for (struct dirent *e; dir && (e = readdir(dir)) && d->found.count < GENERATION_FILES_MAX;) {
        if (text_eq(e->d_name, ".") || text_eq(e->d_name, ".."))
            continue;
        _cleanup_free_ char *name = mem_printf("%s%s%s", below, *below ? "/" : "", e->d_name);
        if (text_eq(name, MANIFEST_NAME) || find_file(m, name))
            continue;
        if (e->d_type == DT_DIR && !*below)
            look_for_added(d, top, name, m);
        else
            add_difference(d, GENERATION_ADDED, name);
    }
    if (dir)
        (void)closedir(dir);
}

int
generation_check(const char *store, unsigned number, struct arena *arena,
                 struct generation_damage **ret_items, size_t *ret_count, struct err *reterr)
{
    _cleanup_arena_ struct arena scratch;
    _cleanup_free_ char *top = path_of(store, number, NULL);
    struct differences d = {.arena = arena};
    struct manifest m;
    arena_init(&scratch, MANIFEST_ARENA);
    int r = load_manifest(store, number, &scratch, &m, reterr);
    if (r < 0)
        return r;
    for (size_t i = 0; i < m.count; i++) {
        _cleanup_buf_ struct buf text = BUF_INIT(GENERATION_FILE_MAX);
        r = read_checked(store, number, &m.files[i], &text);
        if (r < 0)
            add_difference(&d, r == -ENOENT ? GENERATION_MISSING : GENERATION_CHANGED,
                           m.files[i].name);
    }
    look_for_added(&d, top, "", &m);
    *ret_items = arena_alloc(arena, (d.found.count + 1) * sizeof(**ret_items));
    *ret_count = d.found.count;
    if (*ret_items && d.found.count)
        memcpy(*ret_items, d.found.items, d.found.count * sizeof(**ret_items));
    vec_finish(&d.found);
    return arena->full ? err_set(reterr, ERR_TOO_LARGE, "generation %u differs too much", number)
                       : 0;
}

/* ---- removing ---- */

/* Under another name first: half a generation is none. */
static int
remove_one(const char *store, unsigned number, struct err *reterr)
{
    _cleanup_free_ char *outgoing = mem_printf("%s/generations/" OUTGOING, store);
    char name[NUMBER_DIGITS_MAX + 2];
    (void)snprintf(name, sizeof(name), "%u", number);
    int r = rename_in(store, name, OUTGOING, reterr);
    return r < 0 ? r : file_remove_tree(outgoing, reterr);
}

int
generation_prune(const char *store, unsigned keep, unsigned *ret_removed, struct err *reterr)
{
    _cleanup_free_ char *outgoing = mem_printf("%s/generations/" OUTGOING, store);
    _cleanup_free_ char *draft = mem_printf("%s/generations/" DRAFT, store);
    _cleanup_numbers_ struct numbers n = {0};
    unsigned linked[GENERATION_LINKS] = {0};
    *ret_removed = 0;
    int r = read_numbers(store, &n, reterr);
    if (r == 0)
        r = read_links(store, linked, reterr);
    if (r == 0)
        r = file_remove_tree(draft, reterr);
    if (r == 0)
        r = file_remove_tree(outgoing, reterr);
    size_t left = n.list.count;
    for (size_t i = 0; r == 0 && i < n.list.count && left > keep; i++) {
        unsigned number = n.list.items[i];
        if (number == linked[GENERATION_CURRENT] || number == linked[GENERATION_STABLE])
            continue;
        r = remove_one(store, number, reterr);
        *ret_removed += r == 0;
        left--;
    }
    return r;
}
