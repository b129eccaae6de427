#include "sys/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

void (*fault_before)(const char *call, size_t *bytes);

static size_t
before(const char *call, size_t bytes)
{
    if (fault_before)
        fault_before(call, &bytes);
    return bytes;
}

static int
result(int r)
{
    return r < 0 ? -errno : r;
}

int
fault_write(int fd, const void *bytes, size_t len)
{
    const char *p = bytes;
    while (len > 0) {
        ssize_t n = write(fd, p, before("write", len));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

int
fault_sync(int fd)
{
    (void)before("fsync", 0);
    return result(fsync(fd));
}

int
fault_truncate(int fd)
{
    (void)before("ftruncate", 0);
    return result(ftruncate(fd, 0));
}

int
fault_create(int dir, const char *name, mode_t mode)
{
    (void)before("create", 0);
    return result(openat(dir, name, O_CREAT | O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY, mode));
}

int
fault_rename(int dir, const char *from, const char *to)
{
    (void)before("rename", 0);
    return result(renameat(dir, from, dir, to));
}

int
fault_unlink(int dir, const char *name, bool is_dir)
{
    (void)before("unlink", 0);
    return result(unlinkat(dir, name, is_dir ? AT_REMOVEDIR : 0));
}

int
fault_symlink(const char *target, int dir, const char *name)
{
    (void)before("symlink", 0);
    return result(symlinkat(target, dir, name));
}

int
fault_mkdir(int dir, const char *name, mode_t mode)
{
    (void)before("mkdir", 0);
    return result(mkdirat(dir, name, mode));
}
