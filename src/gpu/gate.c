#include "gpu/gate.h"

#include "sys/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

/* What root makes belongs to the owner of the directory, whose services use it too. */
static int
make(int dir, const char *name)
{
    struct stat st;
    if (mkfifoat(dir, name, 0600) < 0)
        return errno == EEXIST ? 0 : -errno;
    if (geteuid() == 0 && fstat(dir, &st) == 0 &&
        fchownat(dir, name, st.st_uid, st.st_gid, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    return 0;
}

static int
open_end(int dir, const char *name, int mode)
{
    const int flags = mode | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC;
    struct stat st;
    int fd = openat(dir, name, flags);
    if (fd < 0 && errno == ENOENT) {
        int r = make(dir, name);
        if (r < 0)
            return r;
        fd = openat(dir, name, flags);
    }
    if (fd < 0)
        return -errno;
    if (fstat(fd, &st) < 0 || !S_ISFIFO(st.st_mode)) {
        (void)close(fd);
        return -EBADF;
    }
    return fd;
}

/* The order counts. The reading end is opened while our own writing end is open, so that it hangs
 * up as soon as there is no writer left, even one that left before we look; and before the try, so
 * that no holder can leave unseen after it. */
int
gate_try(int dir, const char *name, int *ret_held, int *ret_wait)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    _cleanup_close_ int held = open_end(dir, name, O_RDWR);
    _cleanup_close_ int wait = held < 0 ? -1 : open_end(dir, name, O_RDONLY);
    if (held < 0 || wait < 0)
        return held < 0 ? held : wait;
    if (fcntl(held, F_OFD_SETLK, &lock) == 0) {
        *ret_held = take_fd(&held);
        return 0;
    }
    if (errno != EAGAIN && errno != EACCES)
        return -errno;
    *ret_wait = take_fd(&wait);
    return -EAGAIN;
}

int
gate_enter(int dir, const char *name, int timeout_ms, int *ret_held)
{
    uint64_t end_us = clock_now_us() + (uint64_t)timeout_ms * 1000;
    for (;;) {
        _cleanup_close_ int wait = -1;
        int r = gate_try(dir, name, ret_held, &wait);
        if (r != -EAGAIN)
            return r;
        uint64_t now_us = clock_now_us();
        if (now_us >= end_us)
            return -ETIMEDOUT;
        struct pollfd p = {.fd = wait};
        if (poll(&p, 1, (int)((end_us - now_us + 999) / 1000)) < 0 && errno != EINTR)
            return -errno;
    }
}
