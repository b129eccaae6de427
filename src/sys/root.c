#include "sys/root.h"

#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static char root[PATH_MAX];

int
root_set(const char *dir, struct err *reterr)
{
    char *real = dir[0] ? realpath(dir, NULL) : mem_strdup("/");
    _cleanup_free_ char *absolute = real;
    struct stat st;
    if (!absolute || stat(absolute, &st) < 0)
        return err_set_errno(reterr, errno, "--root: '%s'", dir);
    if (!S_ISDIR(st.st_mode))
        return err_set_errno(reterr, ENOTDIR, "--root: '%s'", dir);
    if (text_eq(absolute, "/"))
        absolute[0] = '\0';
    assert(strlen(absolute) < sizeof(root));
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

static bool
climbs(const char *path)
{
    for (const char *part = path; part; part = strchr(part, '/')) {
        part += *part == '/';
        if (strncmp(part, "..", 2) == 0 && (part[2] == '/' || !part[2]))
            return true;
    }
    return false;
}

int
root_path(struct buf *ret_path, const char *path, struct err *reterr)
{
    if (path[0] != '/')
        return err_set(reterr, ERR_VALUE, "'%s' is not an absolute path", path);
    if (climbs(path))
        return err_set(reterr, ERR_VALUE, "the path '%s' has a '..' in it", path);
    if (strlen(root) + strlen(path) >= PATH_MAX)
        return err_set_errno(reterr, ENAMETOOLONG, "'%s%s'", root, path);
    buf_clear(ret_path);
    buf_printf(ret_path, "%s%s", root, path);
    int r = buf_error(ret_path);
    return r < 0 ? err_set_errno(reterr, -r, "'%s%s'", root, path) : 0;
}
