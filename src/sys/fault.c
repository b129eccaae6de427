#include "sys/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

int (*fault_before)(const char *call, size_t *bytes);

/* Of a call that writes nothing. */
static int
before(const char *call)
{
    size_t none = 0;
    return fault_before ? fault_before(call, &none) : 0;
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
        size_t piece = len;
        int r = fault_before ? fault_before("write", &piece) : 0;
        if (r < 0)
            return r;
        ssize_t n = write(fd, p, piece);
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
    int r = before("fsync");
    return r < 0 ? r : result(fsync(fd));
}

int
fault_truncate(int fd, off_t len)
{
    int r = before("ftruncate");
    return r < 0 ? r : result(ftruncate(fd, len));
}

int
fault_create(int dir, const char *name, mode_t mode)
{
    const int flags = O_CREAT | O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY;
    int r = before("create");
    return r < 0 ? r : result(openat(dir, name, flags, mode));
}

int
fault_rename(int dir, const char *from, const char *to)
{
    int r = before("rename");
    return r < 0 ? r : result(renameat(dir, from, dir, to));
}

int
fault_unlink(int dir, const char *name, bool is_dir)
{
    int r = before("unlink");
    return r < 0 ? r : result(unlinkat(dir, name, is_dir ? AT_REMOVEDIR : 0));
}

int
fault_symlink(const char *target, int dir, const char *name)
{
    int r = before("symlink");
    return r < 0 ? r : result(symlinkat(target, dir, name));
}

int
fault_mkdir(int dir, const char *name, mode_t mode)
{
    int r = before("mkdir");
    return r < 0 ? r : result(mkdirat(dir, name, mode));
}

int
fault_point(const char *call)
{
    return before(call);
}
