#include "unit/rest.h"

#include "base/mem.h"
#include "base/text.h"
#include "base/vec.h"
#include "sys/files.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define RESTING_MAX 2000

static char *
path_of(const char *store, const char *unit)
{
    return mem_printf("%s/" UNIT_REST_DIR "/%s", store, unit);
}

int
unit_rest_begin(const char *store, const char *unit, struct err *reterr)
{
    _cleanup_free_ char *dir = mem_printf("%s/" UNIT_REST_DIR, store);
    _cleanup_free_ char *path = path_of(store, unit);
    if (unit_rests(store, unit))
        return 0;
    int r = file_make_dirs(dir, 0755, reterr);
    return r < 0 ? r : file_write(path, "", 0, 0644, reterr);
}

int
unit_rest_end(const char *store, const char *unit, struct err *reterr)
{
    _cleanup_free_ char *path = path_of(store, unit);
    return unit_rests(store, unit) ? file_remove_tree(path, reterr) : 0;
}

bool
unit_rests(const char *store, const char *unit)
{
    _cleanup_free_ char *path = path_of(store, unit);
    return access(path, F_OK) == 0;
}

int
unit_rest_list(const char *store, struct arena *arena, const char ***ret_units, size_t *ret_count,
               struct err *reterr)
{
    _cleanup_free_ char *path = mem_printf("%s/" UNIT_REST_DIR, store);
    VEC(const char *) found = {0};
    DIR *dir = file_open_dir(AT_FDCWD, path, 0);
    if (!dir && errno != ENOENT)
        return err_set_errno(reterr, errno, "cannot list '%s'", path);
    for (struct dirent *e; dir && (e = readdir(dir)) && found.count < RESTING_MAX;)
        if (text_starts(e->d_name, "citadel-"))
            vec_push(&found, arena_strdup(arena, e->d_name));
    if (dir)
        (void)closedir(dir);
    *ret_count = found.count;
    *ret_units = arena_alloc(arena, (found.count + 1) * sizeof(**ret_units));
    if (*ret_units && found.count)
        memcpy(*ret_units, found.items, found.count * sizeof(**ret_units));
    vec_finish(&found);
    return arena->full ? err_set(reterr, ERR_TOO_LARGE, "too many units rest") : 0;
}
