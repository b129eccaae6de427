#include "sys/line_file.h"

#include "base/mem.h"
#include "sys/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void
line_file_init(struct line_file *f, const char *path, mode_t mode, uint64_t bytes_max)
{
    *f = (struct line_file){.path = path, .mode = mode, .bytes_max = bytes_max, .fd = -1};
}

void
line_file_close(struct line_file *f)
{
    cleanup_close(&f->fd);
    f->fd = -1;
}

/* O_NONBLOCK: a pipe that somebody has put there would keep us waiting. */
static int
open_path(const struct line_file *f)
{
    return file_open(f->path, O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK, f->mode);
}

static int
make_dir(const char *path)
{
    _cleanup_free_ char *dir = mem_strndup(path, (size_t)(strrchr(path, '/') - path));
    return file_make_dirs(dir, 0755, NULL);
}

static int
open_file(struct line_file *f)
{
    struct stat st;
    _cleanup_close_ int fd = open_path(f);
    if (fd == -ENOENT) {
        int r = make_dir(f->path);
        fd = r < 0 ? r : open_path(f);
    }
    if (fd < 0)
        return fd;
    if (fstat(fd, &st) < 0 || ((st.st_mode & 0777 & ~f->mode) && fchmod(fd, f->mode) < 0))
        return -errno;
    f->fd = take_fd(&fd);
    f->bytes = (uint64_t)st.st_size;
    return 0;
}

/* What is written to one that has gone nobody would find. One that was emptied has room again. */
static bool
is_there(struct line_file *f)
{
    struct stat own, there;
    if (fstat(f->fd, &own) < 0 || lstat(f->path, &there) < 0 || own.st_dev != there.st_dev ||
        own.st_ino != there.st_ino)
        return false;
    f->bytes = (uint64_t)own.st_size;
    return true;
}

static int
rotate(struct line_file *f)
{
    _cleanup_free_ char *before = mem_printf("%s.1", f->path);
    line_file_close(f);
    return rename(f->path, before) < 0 ? -errno : open_file(f);
}

/* What was written in part only is taken back. */
static int
add_whole(struct line_file *f, const char *lines, size_t len)
{
    ssize_t n = write(f->fd, lines, len);
    if (n == (ssize_t)len) {
        f->bytes += len;
        return 0;
    }
    if (n < 0)
        return -errno;
    return ftruncate(f->fd, (off_t)f->bytes) < 0 ? -errno : -ENOSPC;
}

int
line_file_add(struct line_file *f, const char *lines, size_t len)
{
    int r = 0;
    if (f->fd < 0 || !is_there(f)) {
        line_file_close(f);
        r = open_file(f);
    }
    if (r == 0 && f->bytes > 0 && f->bytes + len > f->bytes_max)
        r = rotate(f);
    return r < 0 ? r : add_whole(f, lines, len);
}
