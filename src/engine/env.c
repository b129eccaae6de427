#include "engine/env.h"

#include "base/mem.h"
#include "base/text.h"
#include "base/vec.h"
#include "sys/files.h"
#include "sys/root.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BESIDE_MAX 10000 /* entries of a directory that holds environments, and much else */

static int
path_of(int dir, char ret_path[PATH_MAX])
{
    char link[32];
    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", dir);
    ssize_t len = readlink(link, ret_path, PATH_MAX - 1);
    if (len < 0)
        return -errno;
    ret_path[len] = '\0';
    return 0;
}

int
engine_env_resolve(const char *path, char ret_path[PATH_MAX], struct err *reterr)
{
    _cleanup_close_ int dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return err_set(reterr, ERR_ENGINE_NOT_INSTALLED, "there is no Python environment at %s: %s",
                       path, strerror(errno));
    int r = root_holds(dir);
    if (r == 0)
        r = path_of(dir, ret_path);
    return r < 0 ? root_err(reterr, r, "%s", path) : 0;
}

/* A package is there before its programs are, or without them, while it is being installed; and the
 * Python of an environment is a link to one of the system's, which an upgrade of that removes. */
static int
check_program(const char *env, const char *name, struct err *reterr)
{
    _cleanup_free_ char *file = mem_printf("%s/bin/%s", env, name);
    if (access(file, X_OK) == 0)
        return 0;
    return err_set(reterr, ERR_ENGINE_NOT_INSTALLED, "%s is not whole: bin/%s: %s", env, name,
                   strerror(errno));
}

int
engine_env_find(const char *path, const char *package, struct engine_env *ret_env,
                struct err *reterr)
{
    ret_env->path[0] = '\0';
    int r = engine_env_resolve(path, ret_env->path, reterr);
    if (r == 0)
        r = engine_version_find(ret_env->path, package, &ret_env->version, reterr);
    if (r == 0)
        r = check_program(ret_env->path, package, reterr);
    return r == 0 ? check_program(ret_env->path, "python3", reterr) : r;
}

/* ---- all of them ---- */

struct listing {
    const char *package;
    struct arena *arena;
    VEC(struct engine_env_item) items;
};

static bool
is_env(const char *path, const char *package)
{
    _cleanup_free_ char *sign = mem_printf("%s/pyvenv.cfg", path);
    struct engine_version version;
    return access(sign, F_OK) == 0 || engine_version_find(path, package, &version, NULL) == 0;
}

static void
add(struct listing *l, const char *path)
{
    struct err err = {0};
    struct engine_env env;
    engine_version_text text;
    bool whole = engine_env_find(path, l->package, &env, &err) == 0;
    const struct engine_env_item item = {
        .path = arena_strdup(l->arena, path),
        .version = whole ? arena_strdup(l->arena, engine_version_print(&env.version, text)) : "",
        .trouble = arena_strdup(l->arena, err.what),
    };
    vec_push(&l->items, item);
}

static int
look_in(struct listing *l, const char *dir, struct err *reterr)
{
    _cleanup_dir_ DIR *d = opendir(dir);
    if (!d)
        return err_set_errno(reterr, errno, "%s", dir);
    struct dirent *entry;
    for (size_t seen = 0; (entry = readdir(d)); seen++) {
        if (seen == BESIDE_MAX)
            return err_set(reterr, ERR_TOO_LARGE,
                           "%s has more than %d entries: too many to look for environments in", dir,
                           BESIDE_MAX);
        bool may_be =
            (entry->d_type == DT_DIR || entry->d_type == DT_UNKNOWN) && entry->d_name[0] != '.';
        _cleanup_free_ char *path = mem_printf("%s/%s", dir, entry->d_name);
        if (may_be && is_env(path, l->package))
            add(l, path);
    }
    return 0;
}

static int
by_path(const void *a, const void *b)
{
    const struct engine_env_item *x = a, *y = b;
    return strcmp(x->path, y->path);
}

/* The directory that holds it; `path` is absolute. */
static char *
above(const char *path)
{
    size_t len = (size_t)(strrchr(path, '/') - path);
    return mem_strndup(path, MAX(len, 1));
}

/* In a directory once, by whatever name. */
static int
look_beside(struct listing *l, const char *path, struct err *reterr)
{
    char place[PATH_MAX] = "", env[PATH_MAX];
    _cleanup_free_ char *dir = above(path);
    int r = engine_env_resolve(dir, place, NULL) == 0 ? look_in(l, place, reterr) : 0;
    if (r < 0 || engine_env_resolve(path, env, NULL) < 0)
        return r;
    _cleanup_free_ char *other = above(env);
    return text_eq(other, place) ? 0 : look_in(l, other, reterr);
}

int
engine_env_list(const char *path, const char *package, struct arena *arena,
                struct engine_env_item **ret_items, size_t *ret_count, struct err *reterr)
{
    struct listing l = {.package = package, .arena = arena};
    int r = look_beside(&l, path, reterr);
    size_t bytes = l.items.count * sizeof(*l.items.items);
    struct engine_env_item *items = r == 0 ? arena_alloc(arena, bytes + 1) : NULL;
    if (items && bytes)
        memcpy(items, l.items.items, bytes);
    size_t count = l.items.count;
    vec_finish(&l.items);
    if (r < 0)
        return r;
    if (arena->full || !items)
        return err_set(reterr, ERR_TOO_LARGE, "there are too many environments beside %s", path);
    qsort(items, count, sizeof(*items), by_path);
    *ret_items = items;
    *ret_count = count;
    return 0;
}
