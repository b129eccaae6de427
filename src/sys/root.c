#include "sys/root.h"

#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[PATH_MAX]; /* leaves room for a path behind it */

static int
refuse(const char *dir, int errno_value, struct err *reterr)
{
    int r = err_set_errno(reterr, errno_value, "--root: '%s'", dir);
    err_fix(reterr, "name a directory that is there, by a path of at most %d bytes",
            PATH_MAX - ROOT_PATH_MAX);
    return r;
}

int
root_set(const char *dir, struct err *reterr)
{
    char *real = dir[0] ? realpath(dir, NULL) : mem_strdup("/");
    _cleanup_free_ char *absolute = real;
    struct stat st;
    if (!absolute || stat(absolute, &st) < 0)
        return refuse(dir, errno, reterr);
    if (!S_ISDIR(st.st_mode))
        return refuse(dir, ENOTDIR, reterr);
    if (text_eq(absolute, "/"))
        absolute[0] = '\0';
    if (strlen(absolute) + ROOT_PATH_MAX > PATH_MAX)
        return refuse(dir, ENAMETOOLONG, reterr);
    memcpy(root, absolute, strlen(absolute) + 1);
    return 0;
}

bool
root_is_set(void)
{
    return root[0] != '\0';
}

const char *
root_dir(void)
{
    return root;
}

bool
root_takes(const char *path)
{
    for (const char *part = path; part;) {
        size_t len = strcspn(part, "/");
        if (len == 2 && strncmp(part, "..", 2) == 0)
            return false;
        part = part[len] ? part + len + 1 : NULL;
    }
    return *path && strlen(path) < ROOT_PATH_MAX;
}

bool
root_takes_absolute(const char *path)
{
    return *path == '/' && root_takes(path);
}

/* Without doubled and trailing slashes. */
static void
tidy(char *path)
{
    char *to = path;
    for (const char *from = path; *from; from++)
        if (*from != '/' || to == path || to[-1] != '/')
            *to++ = *from;
    if (to > path + 1 && to[-1] == '/')
        to--;
    *to = '\0';
}

char *
root_path(struct arena *arena, const char *path)
{
    assert(*path == '/');
    char *full = arena_printf(arena, "%s%s", root, path);
    if (full)
        tidy(full + strlen(root));
    return full;
}

/* What follows the root; NULL when the path does not lie in it. */
static const char *
below(const char *path)
{
    size_t len = strlen(root);
    return text_starts(path, root) && (path[len] == '/' || !path[len]) ? path + len : NULL;
}

const char *
root_strip(const char *path)
{
    const char *rest = below(path);
    return rest && *rest ? rest : path;
}

/* The kernel tells where an open directory is, whatever links led there. */
int
root_holds(int dir)
{
    char link[32], place[PATH_MAX];
    if (!root_is_set())
        return 0;
    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", dir);
    ssize_t len = readlink(link, place, sizeof(place) - 1);
    if (len < 0)
        return -errno;
    place[len] = '\0';
    return below(place) ? 0 : -EXDEV;
}

int
root_err(struct err *reterr, int r, const char *fmt, ...)
{
    struct err told;
    va_list args;
    va_start(args, fmt);
    int wanted = vsnprintf(told.what, sizeof(told.what), fmt, args);
    va_end(args);
    text_make_safe(told.what, sizeof(told.what), wanted);
    if (r != -EXDEV || !root_is_set())
        return err_set_errno(reterr, -r, "%s", told.what);
    (void)err_set(reterr, ERR_ROOT_LEFT, "%s: a link on the way leads out of --root %s", told.what,
                  root);
    err_fix(reterr, "write the path that is meant, or make it a relative link that stays inside");
    return r;
}
