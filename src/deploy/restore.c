#include "deploy/restore.h"

#include "base/text.h"
#include "deploy/audit.h"
#include "fmt/json.h"
#include "sys/files.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MARK_MAX (4 * KIB)
#define MARK_ARENA (64 * KIB)
#define WHOLE "citadel-ai.target" /* the one unit that is of no generation */

struct restoring {
    const struct restore_wish *wish;
    const struct deploy_host *host;
    struct arena *arena;
    struct restore_outlook outlook;
    struct wish {
        const char *unit;
        bool runs;
    } * wishes; /* that were changed */
    size_t wish_count;
};

/* ---- the mark ---- */

static char *
mark_path(const char *state_dir)
{
    return mem_printf("%s/deploy/restore.json", state_dir);
}

static int
mark(const struct restoring *x, struct err *reterr)
{
    _cleanup_free_ char *path = mark_path(x->wish->deploy.state_dir);
    _cleanup_buf_ struct buf text = BUF_INIT(MARK_MAX);
    struct json_writer w;
    json_init(&w, &text, false);
    json_open_map(&w, NULL);
    json_u64(&w, "backup", x->wish->id);
    json_str(&w, "by", x->wish->deploy.by);
    json_close_map(&w);
    buf_add_char(&text, '\n');
    assert(buf_error(&text) == 0);
    return file_write(path, text.data, text.len, 0644, reterr);
}

static int
unmark(const char *state_dir, struct err *reterr)
{
    _cleanup_free_ char *path = mark_path(state_dir);
    return file_remove_tree(path, reterr);
}

void
restore_mark_read(const char *state_dir, struct restore_mark *ret)
{
    _cleanup_free_ char *path = mark_path(state_dir);
    _cleanup_buf_ struct buf text = BUF_INIT(MARK_MAX);
    _cleanup_arena_ struct arena arena;
    struct value *root;
    *ret = (struct restore_mark){0};
    arena_init(&arena, MARK_ARENA);
    if (file_read(path, &text, NULL) < 0 ||
        json_parse(&arena, text.data, text.len, JSON_STRICT, &root, NULL, NULL) < 0)
        return;
    ret->id = value_u32(value_get(root, "backup"));
    value_copy_str(value_get(root, "by"), ret->by, sizeof(ret->by));
}

/* ---- the files beside ---- */

/* Below the store: on the same disk as the first of what it changes, and no service writes there. */
static char *
journal_path(const char *store)
{
    return mem_printf("%s/.restore", store);
}

static int
compare(const struct backup_file *file, struct arena *arena, struct restore_change *ret,
        bool *ret_differs, struct err *reterr)
{
    _cleanup_buf_ struct buf text = BUF_INIT(GENERATION_FILE_MAX);
    struct stat st;
    *ret = (struct restore_change){.file = file};
    *ret_differs = true;
    if (lstat(file->path, &st) < 0)
        return errno == ENOENT || errno == ENOTDIR
                   ? 0
                   : err_set_errno(reterr, errno, "looking at '%s'", file->path);
    int r = file_read(file->path, &text, reterr);
    if (r < 0)
        return r;
    ret->was_there = true;
    ret->old = arena_strndup(arena, text.data, text.len);
    ret->old_len = text.len;
    ret->old_mode = st.st_mode & 0777;
    *ret_differs = text.len != file->len || memcmp(text.data, file->bytes, text.len) != 0;
    return 0;
}

static int
find_changes(const struct backup *backup, struct arena *arena, struct restore_outlook *ret,
             struct err *reterr)
{
    int r = 0;
    ret->count = 0;
    ret->changes = arena_alloc(arena, (backup->beside_count + 1) * sizeof(*ret->changes));
    for (size_t i = 0; r == 0 && ret->changes && i < backup->beside_count; i++) {
        bool differs;
        if (!backup_kind_is_put_back(backup->beside[i].kind))
            continue;
        r = compare(&backup->beside[i], arena, &ret->changes[ret->count], &differs, reterr);
        ret->count += r == 0 && differs;
    }
    return r == 0 && arena->full
               ? err_set(reterr, ERR_TOO_LARGE, "what is in the backup is too large")
               : r;
}

static void
add_change(struct hash_sha256 *h, const struct restore_change *c)
{
    uint32_t modes[] = {htole32(c->old_mode), htole32(c->file->mode)};
    deploy_digest_add(h, c->file->path, modes, sizeof(modes));
    deploy_digest_add(h, c->was_there ? "was" : "was not", c->old, c->old_len);
    deploy_digest_add(h, "will be", c->file->bytes, c->file->len);
}

int
restore_look(const struct restore_wish *wish, struct arena *arena, struct restore_outlook *ret,
             struct err *reterr)
{
    const struct deploy_wish *w = &wish->deploy;
    struct hash_sha256 h;
    unsigned current = 0;
    bool astray;
    int r = find_changes(wish->backup, arena, ret, reterr);
    if (r == 0)
        r = generation_or_none(w->store, GENERATION_CURRENT, &current, &astray, reterr);
    if (r < 0)
        return r;
    deploy_digest_begin(w->store, current, &h);
    for (size_t i = 0; i < w->count; i++)
        deploy_digest_add(&h, w->files[i].name, w->files[i].bytes, w->files[i].len);
    for (size_t i = 0; i < ret->count; i++)
        add_change(&h, &ret->changes[i]);
    deploy_digest_end(&h, ret->digest);
    return 0;
}

static int
make_dir_of(const struct backup_file *file, struct err *reterr)
{
    _cleanup_free_ char *dir =
        mem_strndup(file->path, (size_t)(strrchr(file->path, '/') - file->path));
    return *dir ? file_make_dirs(dir, file->kind == BACKUP_SECRET ? 0700 : 0755, reterr) : 0;
}

/* back: as they were before. */
static int
put(const struct restoring *x, bool back, struct err *reterr)
{
    _cleanup_free_ char *journal = journal_path(x->wish->deploy.store);
    _cleanup_change_ struct change change;
    int r = file_make_dirs(x->wish->deploy.store, 0755, reterr);
    change_init(&change, journal);
    for (size_t i = 0; r == 0 && i < x->outlook.count; i++) {
        const struct restore_change *c = &x->outlook.changes[i];
        r = back ? 0 : make_dir_of(c->file, reterr);
        if (back && !c->was_there)
            change_remove(&change, c->file->path);
        else if (back)
            change_write(&change, c->file->path, c->old, c->old_len, c->old_mode);
        else
            change_write(&change, c->file->path, c->file->bytes, c->file->len, c->file->mode);
    }
    return r < 0 || x->outlook.count == 0 ? r : change_commit(&change, reterr);
}

static int
note(const struct restoring *x, struct err *reterr)
{
    char text[300];
    const struct deploy_wish *w = &x->wish->deploy;
    size_t count = x->outlook.count;
    if (count == 0)
        return 0;
    (void)snprintf(text, sizeof(text), "%s: %zu file%s beside the generation, as in backup %u",
                   w->why, count, count == 1 ? "" : "s", x->wish->id);
    return deploy_audit(w->state_dir, EVENT_RESTORED, w->by, text, reterr);
}

int
restore_recover(const char *store, enum change_recovered *ret_what, struct err *reterr)
{
    _cleanup_free_ char *journal = journal_path(store);
    *ret_what = CHANGE_NOTHING;
    return access(journal, F_OK) < 0 ? 0 : change_recover(journal, ret_what, reterr);
}

/* ---- what a person had stopped, then ---- */

static bool
was_stopped(const struct backup *b, const char *unit)
{
    for (size_t i = 0; i < b->stopped_count; i++)
        if (text_eq(b->stopped[i], unit))
            return true;
    return false;
}

/* Wanted or not any more; what runs then and is not to is stopped. */
static int
put_wish(const struct restoring *x, const char *unit, bool runs, struct err *reterr)
{
    const struct deploy_host *host = x->host;
    struct deploy_order order = {.act = DEPLOY_STOP, .unit = unit};
    enum deploy_life life = DEPLOY_RESTS;
    int r = host->wish(host->arg, unit, runs, reterr);
    if (r == 0 && !runs)
        r = host->look(host->arg, unit, NULL, &life, reterr);
    return r == 0 && deploy_runs(life) ? host->carry_out(host->arg, &order, 1, reterr) : r;
}

static int
change_wish(struct restoring *x, const char *unit, bool runs, struct err *reterr)
{
    x->wishes[x->wish_count++] = (struct wish){unit, runs};
    return put_wish(x, unit, runs, reterr);
}

/* Before the deployment, so that it starts what was not stopped then, and nothing else. */
static int
change_wishes(struct restoring *x, struct err *reterr)
{
    const struct backup *b = x->wish->backup;
    int r = 0;
    x->wishes = arena_alloc(x->arena, (b->file_count + 1) * sizeof(*x->wishes));
    if (!x->wishes)
        return err_set(reterr, ERR_TOO_LARGE, "what is in the backup is too large");
    for (size_t i = 0; r == 0 && i < b->file_count; i++) {
        const char *unit = deploy_unit_of(b->files[i].name);
        bool runs = unit && !was_stopped(b, unit);
        enum deploy_life life = DEPLOY_RUNS;
        if (unit)
            r = x->host->look(x->host->arg, unit, NULL, &life, reterr);
        if (r == 0 && life == (runs ? DEPLOY_SHUNNED : DEPLOY_RESTS))
            r = change_wish(x, unit, runs, reterr);
    }
    return r < 0 || b->file_count == 0 ? r : put_wish(x, WHOLE, true, reterr);
}

/* What runs, and was stopped then. */
static int
stop_as_then(const struct restoring *x, struct err *reterr)
{
    const struct backup *b = x->wish->backup;
    int r = 0;
    for (size_t i = 0; r == 0 && i < b->stopped_count; i++)
        r = put_wish(x, b->stopped[i], false, reterr);
    return r;
}

/* ---- doing it ---- */

/* As before; what was wrong is what is told. */
static void
take_back(const struct restoring *x, struct err *reterr)
{
    struct err err = {0};
    int r = put(x, true, &err);
    for (size_t i = 0; r == 0 && i < x->wish_count; i++)
        r = put_wish(x, x->wishes[i].unit, !x->wishes[i].runs, &err);
    if (r < 0)
        err_prefix(reterr, "not all of it is as before: %s", err.what);
}

static int
put_all(struct restoring *x, struct deploy_end *ret_end, struct err *reterr)
{
    struct deploy_wish deploy = x->wish->deploy;
    deploy.expect = NULL; /* which was of all of this */
    int r = put(x, false, reterr);
    if (r < 0)
        return r; /* then none of it is changed */
    r = note(x, reterr);
    if (r == 0)
        r = change_wishes(x, reterr);
    if (r == 0)
        r = deploy_apply(&deploy, x->host, x->arena, ret_end, reterr);
    if (r < 0)
        take_back(x, reterr);
    return r < 0 ? r : stop_as_then(x, reterr);
}

int
restore(const struct restore_wish *wish, const struct deploy_host *host, struct arena *arena,
        struct deploy_end *ret_end, struct err *reterr)
{
    struct restoring x = {.wish = wish, .host = host, .arena = arena};
    const char *state_dir = wish->deploy.state_dir;
    struct err err = {0}, ignored;
    *ret_end = (struct deploy_end){0};
    int r = restore_look(wish, arena, &x.outlook, reterr);
    if (r == 0)
        r = deploy_digest_check(wish->deploy.expect, x.outlook.digest, reterr);
    if (r < 0)
        return r;
    r = mark(&x, &err);
    if (r == 0)
        r = put_all(&x, ret_end, &err);
    if (unmark(state_dir, r < 0 ? &ignored : &err) < 0 && r == 0)
        r = -err_row(err.id)->err;
    if (r < 0 && reterr)
        *reterr = err;
    return r;
}
