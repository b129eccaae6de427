#include "config/rooted_int.h"

#include "base/text.h"
#include "sys/root.h"

#include <string.h>

#define PATH_BYTES_MAX 1024

bool
rooted_is_tidy(const char *path)
{
    size_t len = strlen(path);
    for (const char *part = path; part;) {
        const char *slash = strchr(part, '/');
        size_t part_len = slash ? (size_t)(slash - part) : strlen(part);
        if (part_len == 2 && strncmp(part, "..", 2) == 0)
            return false;
        part = slash ? slash + 1 : NULL;
    }
    return len > 0 && len < PATH_BYTES_MAX;
}

bool
rooted_is_absolute(const char *path)
{
    return *path == '/' && rooted_is_tidy(path);
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
rooted_path(struct arena *arena, const char *path)
{
    assert(*path == '/');
    char *full = arena_printf(arena, "%s%s", root_dir(), path);
    if (full)
        tidy(full + strlen(root_dir()));
    return full;
}

const char *
rooted_strip(const char *path)
{
    size_t len = strlen(root_dir());
    return len && text_starts(path, root_dir()) && path[len] == '/' ? path + len : path;
}
