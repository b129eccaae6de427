#include "deploy/lock.h"

#include "base/mem.h"
#include "sys/clock.h"
#include "sys/files.h"
#include "sys/root.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#define NOTE_MAX 512

static char *
path_of(const char *state_dir)
{
    return mem_printf("%s/deploy/lock", state_dir);
}

/* A line that its holder has left in it. */
static int
refuse(int fd, struct err *reterr)
{
    _cleanup_buf_ struct buf note = BUF_INIT(NOTE_MAX);
    if (file_read_fd(fd, &note) < 0 || note.len == 0)
        buf_add_str(&note, "somebody who has just begun");
    int r = err_set(reterr, ERR_DEPLOY_BUSY, "what is deployed is being changed by %s", note.data);
    err_fix(reterr, "wait until it has ended");
    return r;
}

int
deploy_lock(const char *state_dir, const char *by, const char *what, struct err *reterr)
{
    _cleanup_free_ char *dir = mem_printf("%s/deploy", state_dir);
    _cleanup_free_ char *path = path_of(state_dir);
    _cleanup_buf_ struct buf note = BUF_INIT(NOTE_MAX);
    int r = file_make_dirs(dir, 0755, reterr);
    if (r < 0)
        return r;
    _cleanup_close_ int fd = file_open(path, O_RDWR | O_CREAT, 0644);
    if (fd < 0)
        return root_err(reterr, fd, "cannot open %s", path);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK ? refuse(fd, reterr)
                                    : err_set_errno(reterr, errno, "cannot lock %s", path);
    char since[CLOCK_LOCAL_MAX];
    buf_printf(&note, "%.64s: `%.200s`, process %d, since %s", by, what, (int)getpid(),
               clock_print_local(clock_wall_us(), since));
    if (ftruncate(fd, 0) < 0 || pwrite(fd, note.data, note.len, 0) < 0)
        return err_set_errno(reterr, errno, "cannot write %s", path);
    return take_fd(&fd);
}

int
deploy_lock_look(const char *state_dir, struct err *reterr)
{
    _cleanup_free_ char *path = path_of(state_dir);
    _cleanup_close_ int fd = file_open(path, O_RDONLY, 0);
    if (fd == -ENOENT)
        return 0;
    if (fd < 0)
        return root_err(reterr, fd, "cannot open %s", path);
    if (flock(fd, LOCK_SH | LOCK_NB) == 0)
        return 0;
    return errno == EWOULDBLOCK ? refuse(fd, reterr)
                                : err_set_errno(reterr, errno, "cannot lock %s", path);
}
