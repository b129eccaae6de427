/* What belongs into a backup, and how it is written and read. How it comes back: restore.c. */

#include "deploy/backup.h"

#include "base/text.h"
#include "base/vec.h"
#include "config/config.h"
#include "deploy/manifest_int.h"
#include "fmt/json.h"
#include "secrets/store.h"
#include "secrets/use.h"
#include "sys/files.h"
#include "sys/root.h"
#include "unit/rest.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CONTENTS "contents.json"
#define CONTENTS_MAX (1 * MIB)
#define BESIDE "beside/"
#define SCRATCH_MAX (32 * MIB)
#define STOPPED_MAX GENERATION_FILES_MAX
#define LEFT_OUT_MAX 1000

static const struct {
    const char *word;
    bool put_back;
} kinds[] = {
#define KIND(name, word, back, help) [BACKUP_##name] = {word, back},
    BACKUP_KINDS(KIND)
#undef KIND
};

const char *
backup_kind_word(enum backup_kind kind)
{
    return kinds[kind].word;
}

bool
backup_kind_is_put_back(enum backup_kind kind)
{
    return kinds[kind].put_back;
}

char *
backup_dir(struct arena *arena, const struct config *config)
{
    return arena_printf(arena, "%s/system/rollback", config->paths.backup);
}

/* ---- what is collected ---- */

struct collecting {
    const struct backup_wish *wish;
    struct arena *arena;
    size_t bytes;
    VEC(struct backup_file) beside;
    VEC(struct backup_left_out) left_out;
    VEC(const char *) stopped;
};

static void
leave_out(struct collecting *c, const char *path, const char *why)
{
    if (c->left_out.count < LEFT_OUT_MAX)
        vec_push(&c->left_out, ((struct backup_left_out){arena_strdup(c->arena, root_strip(path)),
                                                         arena_strdup(c->arena, why)}));
}

static bool
is_taken(const struct collecting *c, const char *path)
{
    for (size_t i = 0; i < c->beside.count; i++)
        if (text_eq(c->beside.items[i].path, path))
            return true;
    return false;
}

/* Whether a path may come back: it lies below --root, where there is one. */
static bool
is_ours(const char *path)
{
    return !root_is_set() || text_starts(path, root_dir());
}

static void
take(struct collecting *c, enum backup_kind kind, const char *path, mode_t mode, const char *bytes,
     size_t len)
{
    char *kept = arena_strndup(c->arena, bytes, len);
    if (c->beside.count == BACKUP_BESIDE_MAX || c->bytes + len > BACKUP_BESIDE_BYTES) {
        leave_out(c, path, "there is no room for more in a backup");
        return;
    }
    c->bytes += len;
    vec_push(&c->beside, ((struct backup_file){.path = arena_strdup(c->arena, path),
                                               .kind = kind,
                                               .mode = mode & 0777,
                                               .bytes = kept,
                                               .len = len}));
}

/* A file as it is now; one that is not there is nothing to keep. */
static void
take_path(struct collecting *c, enum backup_kind kind, const char *path)
{
    _cleanup_buf_ struct buf text = BUF_INIT(GENERATION_FILE_MAX);
    struct stat st;
    struct err why;
    if (is_taken(c, path) || stat(path, &st) < 0)
        return;
    if (!is_ours(path))
        leave_out(c, path, "it is not below --root");
    else if (file_read(path, &text, &why) < 0)
        leave_out(c, path, why.what);
    else
        take(c, kind, path, st.st_mode, text.data, text.len);
}

static int
compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The files in a directory, not in those below. */
static void
take_dir(struct collecting *c, enum backup_kind kind, const char *path, const char *suffix)
{
    VEC(const char *) names = {0};
    DIR *dir = file_open_dir(AT_FDCWD, path, 0);
    for (struct dirent *e; dir && (e = readdir(dir)) && names.count <= BACKUP_BESIDE_MAX;)
        if (e->d_name[0] != '.' && e->d_type != DT_DIR && text_ends(e->d_name, suffix))
            vec_push(&names, arena_printf(c->arena, "%s/%s", path, e->d_name));
    if (dir)
        (void)closedir(dir);
    if (names.count)
        qsort(names.items, names.count, sizeof(*names.items), compare_names);
    for (size_t i = 0; i < names.count && names.items[i]; i++)
        take_path(c, kind, names.items[i]);
    vec_finish(&names);
}

/* Programs of the distribution come with it. */
static void
take_hook(struct collecting *c, const struct config_list *hook)
{
    const char *program = hook->count ? hook->items[0] : "";
    if (*program == '/' && !text_starts(program, "/usr/") && !text_starts(program, "/bin/"))
        take_path(c, BACKUP_SCRIPT, program);
}

static void
take_scripts(struct collecting *c)
{
    const struct config *config = c->wish->config;
    const struct config_list *const hooks[] = {
        &config->hooks.model_appeared, &config->hooks.health_changed,
        &config->hooks.deployment_ended, &config->hooks.backup_ended};
    take_dir(c, BACKUP_CONFIGURATION, arena_printf(c->arena, "%s/configs", config->paths.root), "");
    take_dir(c, BACKUP_SCRIPT, arena_printf(c->arena, "%s/bin", config->paths.root), "");
    for (size_t i = 0; i < ARRAY_SIZE(hooks); i++)
        take_hook(c, hooks[i]);
}

static int
take_secrets(struct collecting *c, struct err *reterr)
{
    struct secret_store store;
    struct secret_kept *kept;
    size_t count;
    int r = secret_store_open(c->arena, &store, reterr);
    if (r == 0)
        r = secret_store_list(&store, c->arena, &kept, &count, reterr);
    for (size_t i = 0; r == 0 && i < count; i++) {
        char name[SECRET_FILE_MAX];
        const char *path = arena_printf(c->arena, "%s/%s", store.dirs[kept[i].form],
                                        secret_file_name(kept[i].form, kept[i].name, name));
        if (path && kept[i].form == SECRET_ENCRYPTED)
            take_path(c, BACKUP_SECRET, path);
        else if (path)
            leave_out(c, path, "a secret in clear: citadel secrets set");
    }
    return r;
}

static int
leave_out_secret_files(struct collecting *c, struct err *reterr)
{
    struct secret_use *uses;
    size_t count;
    if (secret_uses(c->wish->config, c->arena, &uses, &count) < 0)
        return err_set(reterr, ERR_TOO_LARGE, "there are too many secrets");
    for (size_t i = 0; i < count; i++)
        if (uses[i].secret->kind == CONFIG_SECRET_FILE)
            leave_out(c, uses[i].secret->where, "a secret in a file of its own");
    if (c->wish->config->gateway.tls.key)
        leave_out(c, c->wish->config->gateway.tls.key, "a private key");
    return 0;
}

static void
take_state(struct collecting *c)
{
    const char *state = c->wish->config->paths.state;
    take_dir(c, BACKUP_STATE, arena_printf(c->arena, "%s/models", state), ".json");
    take_path(c, BACKUP_STATE, arena_printf(c->arena, "%s/deploy/phases.json", state));
    take_path(c, BACKUP_STATE, arena_printf(c->arena, "%s/gpu/settings.json", state));
}

/* ---- what is deployed, and what of it is stopped ---- */

static int
take_generation(const struct collecting *c, struct backup *b, struct err *reterr)
{
    const struct backup_wish *w = c->wish;
    const char *store = w->config->paths.generations;
    struct generation_file *files;
    int r = generation_of(store, GENERATION_CURRENT, &b->generation, reterr);
    if (r < 0)
        return r;
    b->files = w->files;
    b->file_count = w->count;
    if (b->generation == 0)
        return 0;
    r = generation_load(store, b->generation, GENERATION_WHOLE, c->arena, &files, &b->file_count,
                        reterr);
    b->files = r == 0 ? files : NULL;
    return r;
}

static int
find_stopped(struct collecting *c, const struct backup *b, struct err *reterr)
{
    const struct deploy_host *host = c->wish->host;
    int r = 0;
    for (size_t i = 0; host && b->generation && r == 0 && i < b->file_count; i++) {
        const char *unit = deploy_unit_of(b->files[i].name);
        enum deploy_life life = DEPLOY_RUNS;
        if (unit)
            r = host->look(host->arg, unit, NULL, &life, reterr);
        if (r == 0 && life == DEPLOY_SHUNNED)
            vec_push(&c->stopped, unit);
    }
    return r;
}

static void *
keep(struct collecting *c, const void *items, size_t count, size_t size)
{
    void *kept = arena_alloc(c->arena, (count + 1) * size);
    if (kept && count)
        memcpy(kept, items, count * size);
    return kept;
}

int
backup_collect(const struct backup_wish *wish, struct arena *arena, struct backup *ret,
               struct err *reterr)
{
    struct collecting c = {.wish = wish, .arena = arena};
    *ret = (struct backup){0};
    int r = take_generation(&c, ret, reterr);
    if (is_ours(wish->config_file))
        take(&c, BACKUP_CONFIGURATION, wish->config_file, 0644, wish->config_text,
             wish->config_len);
    else
        leave_out(&c, wish->config_file, "it is not below --root");
    take_scripts(&c);
    if (r == 0)
        r = take_secrets(&c, reterr);
    if (r == 0)
        r = leave_out_secret_files(&c, reterr);
    take_state(&c);
    if (r == 0)
        r = find_stopped(&c, ret, reterr);
    ret->beside_count = c.beside.count;
    ret->beside = keep(&c, c.beside.items, c.beside.count, sizeof(*ret->beside));
    ret->left_out_count = c.left_out.count;
    ret->left_out = keep(&c, c.left_out.items, c.left_out.count, sizeof(*ret->left_out));
    ret->stopped_count = c.stopped.count;
    ret->stopped = keep(&c, c.stopped.items, c.stopped.count, sizeof(*ret->stopped));
    vec_finish(&c.beside);
    vec_finish(&c.left_out);
    vec_finish(&c.stopped);
    if (r == 0 && arena->full)
        r = err_set(reterr, ERR_TOO_LARGE, "what is deployed, and what is beside it, is too large");
    return r;
}

/* ---- writing ---- */

/* "beside/001-citadel.yaml": the number tells files of one name apart. */
static char *
name_of(struct arena *arena, size_t i, const char *path)
{
    char *name = arena_printf(arena, BESIDE "%03zu-%.200s", i + 1, strrchr(path, '/') + 1);
    if (name)
        text_disarm(name);
    return name;
}

static void
print_beside(const struct backup *b, struct arena *arena, struct json_writer *w)
{
    json_open_list(w, "beside");
    for (size_t i = 0; i < b->beside_count; i++) {
        json_open_map(w, NULL);
        json_str(w, "file", name_of(arena, i, b->beside[i].path));
        json_str(w, "path", root_strip(b->beside[i].path));
        json_str(w, "kind", backup_kind_word(b->beside[i].kind));
        json_u64(w, "mode", b->beside[i].mode);
        json_close_map(w);
    }
    json_close_list(w);
}

static void
print_contents(const struct backup *b, struct arena *arena, struct buf *out)
{
    struct json_writer w;
    json_init(&w, out, true);
    json_open_map(&w, NULL);
    json_u64(&w, "generation", b->generation);
    print_beside(b, arena, &w);
    json_open_list(&w, "stopped");
    for (size_t i = 0; i < b->stopped_count; i++)
        json_str(&w, NULL, b->stopped[i]);
    json_close_list(&w);
    json_open_list(&w, "left_out");
    for (size_t i = 0; i < b->left_out_count; i++) {
        json_open_map(&w, NULL);
        json_str(&w, "path", b->left_out[i].path);
        json_str(&w, "why", b->left_out[i].why);
        json_close_map(&w);
    }
    json_close_list(&w);
    json_close_map(&w);
    buf_add_char(out, '\n');
}

int
backup_write(const char *dir, const char *by, const char *why, const struct backup *b,
             unsigned *ret_id, struct err *reterr)
{
    _cleanup_arena_ struct arena arena;
    _cleanup_buf_ struct buf contents = BUF_INIT(CONTENTS_MAX);
    size_t count = 0;
    arena_init(&arena, SCRATCH_MAX);
    struct generation_file *files =
        arena_alloc(&arena, (b->file_count + b->beside_count + 1) * sizeof(*files));
    print_contents(b, &arena, &contents);
    for (size_t i = 0; files && i < b->file_count; i++)
        files[count++] = b->files[i];
    for (size_t i = 0; files && i < b->beside_count; i++)
        files[count++] = (struct generation_file){name_of(&arena, i, b->beside[i].path),
                                                  b->beside[i].bytes, b->beside[i].len};
    if (!files || arena.full || buf_error(&contents) < 0)
        return err_set(reterr, ERR_TOO_LARGE, "%zu files are too many for a backup",
                       b->file_count + b->beside_count);
    files[count++] = (struct generation_file){CONTENTS, contents.data, contents.len};
    const struct generation_wish wish = {.by = by, .why = why, .files = files, .count = count};
    return generation_add(dir, &wish, ret_id, reterr);
}

/* ---- reading ---- */

static int
refuse(unsigned id, const char *what, struct err *reterr)
{
    int r =
        err_set(reterr, ERR_BACKUP_DAMAGED, "backup %u is not what it was made as: %s", id, what);
    err_fix(reterr, "citadel rollback status; use another");
    return r;
}

/* What is wrong with it, in words of backups. */
static int
explain(const char *dir, unsigned id, struct err *why, struct err *reterr)
{
    _cleanup_arena_ struct arena arena;
    struct generation_damage *damage;
    char what[300];
    size_t count;
    arena_init(&arena, SCRATCH_MAX);
    if (why->id == ERR_GENERATION_NONE) {
        int r = err_set(reterr, ERR_BACKUP_NONE, "there is no backup %u in %s", id, dir);
        err_fix(reterr, "citadel rollback status; it lists them");
        return r;
    }
    if (why->id == ERR_NOT_PERMITTED) {
        int r = err_set(reterr, ERR_NOT_PERMITTED, "%s", why->what);
        err_fix(reterr, "the same with sudo");
        return r;
    }
    if (why->id != ERR_GENERATION_DAMAGED ||
        generation_check(dir, id, &arena, &damage, &count, why) < 0 || count == 0)
        return refuse(id, why->what, reterr);
    (void)snprintf(what, sizeof(what), "%.200s is %s", damage[0].name,
                   damage[0].change == GENERATION_MISSING ? "missing" : "another");
    return refuse(id, what, reterr);
}

static const struct generation_file *
find_file(const struct generation_file *files, size_t count, const char *name)
{
    for (size_t i = 0; name && i < count; i++)
        if (text_eq(files[i].name, name))
            return &files[i];
    return NULL;
}

static bool
read_file_beside(const struct value *v, const struct generation_file *files, size_t count,
                 struct arena *arena, struct backup_file *ret)
{
    const char *path = value_str(value_get(v, "path")), *kind = value_str(value_get(v, "kind"));
    const struct generation_file *file = find_file(files, count, value_str(value_get(v, "file")));
    uint64_t mode;
    if (!file || !path || !root_takes_absolute(path) || !value_u64(value_get(v, "mode"), &mode) ||
        mode > 0777)
        return false;
    *ret = (struct backup_file){.path = root_path(arena, path),
                                .mode = (mode_t)mode,
                                .bytes = file->bytes,
                                .len = file->len};
    while (ret->kind < BACKUP_KIND_COUNT && !text_eq(kind, kinds[ret->kind].word))
        ret->kind++;
    return ret->kind < BACKUP_KIND_COUNT && ret->path;
}

static bool
read_beside(const struct value *list, const struct generation_file *files, size_t count,
            struct arena *arena, struct backup *b)
{
    if (!list || list->type != VALUE_LIST || list->count > BACKUP_BESIDE_MAX)
        return false;
    b->beside = arena_alloc(arena, (list->count + 1) * sizeof(*b->beside));
    for (const struct value *v = list->first; v && b->beside; v = v->next)
        if (!read_file_beside(v, files, count, arena, &b->beside[b->beside_count++]))
            return false;
    return b->beside != NULL;
}

static bool
read_stopped(const struct value *list, struct arena *arena, struct backup *b)
{
    if (!list || list->type != VALUE_LIST || list->count > STOPPED_MAX)
        return false;
    b->stopped = arena_alloc(arena, (list->count + 1) * sizeof(*b->stopped));
    for (const struct value *v = list->first; v && b->stopped; v = v->next) {
        const char *unit = value_str(v);
        if (!unit || !text_starts(unit, "citadel-"))
            return false;
        b->stopped[b->stopped_count++] = unit;
    }
    return b->stopped != NULL;
}

static bool
read_contents(const struct generation_file *files, size_t count, struct arena *arena,
              struct backup *b)
{
    const struct generation_file *contents = find_file(files, count, CONTENTS);
    struct value *root;
    if (!contents ||
        json_parse(arena, contents->bytes, contents->len, JSON_STRICT, &root, NULL, NULL) < 0)
        return false;
    b->generation = value_u32(value_get(root, "generation"));
    return read_beside(value_get(root, "beside"), files, count, arena, b) &&
           read_stopped(value_get(root, "stopped"), arena, b);
}

/* What is of the generation, in place: the others are pointed to already. */
static size_t
pick_generation(struct generation_file *files, size_t count)
{
    size_t kept = 0;
    for (size_t i = 0; i < count; i++)
        if (!text_eq(files[i].name, CONTENTS) && !text_starts(files[i].name, BESIDE))
            files[kept++] = files[i];
    return kept;
}

int
backup_read(const char *dir, unsigned id, struct arena *arena, struct backup *ret,
            struct err *reterr)
{
    struct generation_file *files;
    struct err why = {0};
    size_t count;
    *ret = (struct backup){0};
    int r = generation_load(dir, id, GENERATION_WHOLE, arena, &files, &count, &why);
    if (r < 0)
        return explain(dir, id, &why, reterr);
    if (!read_contents(files, count, arena, ret))
        return refuse(id, "its " CONTENTS " cannot be read", reterr);
    ret->files = files;
    ret->file_count = pick_generation(files, count);
    return find_file(ret->files, ret->file_count, "config.yaml")
               ? 0
               : refuse(id, "it has no config.yaml", reterr);
}
