/* What demonstrations left that were killed.
 *
 * The place may be /tmp, where anybody makes what he likes: directories and links that are named as
 * ours. Removed is only what nobody but this user can have made, nor put there: a directory, not a
 * link, that is this user's and open to nobody else, in a place where others cannot move it, with the
 * configuration of a demonstration in it, and whose lock is free. It is removed by the open
 * directory of the place, so that nothing on the way there can be exchanged meanwhile. */

#include "cli/demo.h"

#include "base/mem.h"
#include "base/text.h"
#include "cli/cli.h"
#include "service/contain.h"
#include "sys/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* A name in a sticky directory is moved by its owner only, and by the directory's. */
static bool
is_safe_place(int place)
{
    struct stat st;
    return fstat(place, &st) == 0 && (st.st_uid == geteuid() || st.st_uid == 0) &&
           (!(st.st_mode & (S_IWGRP | S_IWOTH)) || st.st_mode & S_ISVTX);
}

static bool
is_private(int dir)
{
    struct stat st;
    return fstat(dir, &st) == 0 && st.st_uid == geteuid() && (st.st_mode & 0777) == 0700;
}

static bool
has_our_config(int dir)
{
    char text[sizeof(DEMO_HEAD)] = "";
    _cleanup_close_ int fd =
        openat(dir, DEMO_CONFIG, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    return fd >= 0 && read(fd, text, sizeof(text) - 1) == sizeof(text) - 1 &&
           text_eq(text, DEMO_HEAD);
}

/* The directory, open and locked; -1: it is none that was left. */
static int
open_left(int place, const char *name)
{
    if (!text_starts(name, DEMO_NAME))
        return -1;
    _cleanup_close_ int dir = openat(place, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (dir < 0 || !is_private(dir) || flock(dir, LOCK_EX | LOCK_NB) < 0 || !has_our_config(dir))
        return -1;
    return take_fd(&dir);
}

/* Returns how many of its processes were still there, or an error. */
static int
remove_left(int place, const char *name, struct err *reterr)
{
    _cleanup_free_ char *run_dir = mem_printf("%s/%s/run", demo_place(), name);
    _cleanup_free_ char *path = mem_printf("/proc/self/fd/%d/%s", place, name);
    int count = contain_clean(run_dir, reterr);
    int r = count < 0 ? count : file_remove_tree(path, reterr);
    return r < 0 ? r : count;
}

void
demo_sweep(struct cli *cli)
{
    DIR *place = file_open_dir(AT_FDCWD, demo_place(), 0);
    unsigned dirs = 0, processes = 0;
    for (struct dirent *e; place && is_safe_place(dirfd(place)) && (e = readdir(place));) {
        struct err err;
        _cleanup_close_ int dir = open_left(dirfd(place), e->d_name);
        int r = dir < 0 ? 0 : remove_left(dirfd(place), e->d_name, &err);
        if (r < 0)
            cli_note(cli, "%s/%s is left behind: %s", demo_place(), e->d_name, err.what);
        dirs += dir >= 0 && r >= 0;
        processes += (unsigned)MAX(r, 0);
    }
    if (dirs)
        cli_note(
            cli,
            "removed what %u demonstration%s that %s killed left in %s, and ended %u process%s",
            dirs, dirs == 1 ? "" : "s", dirs == 1 ? "was" : "were", demo_place(), processes,
            processes == 1 ? "" : "es");
    if (place)
        (void)closedir(place);
}
