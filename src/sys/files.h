#pragma once

/* Files as wholes. What a call has changed is on the disk when it returns; a crash at any point
 * leaves the old file or the new one. Several files as one: change.h. */

#include "base/buf.h"
#include "base/err.h"

#include <dirent.h>
#include <sys/types.h>

/* Reads a regular file behind what the buffer holds, up to the buffer's ceiling: the bytes count,
 * not the size that the file claims. Anything else (directory, pipe, device) is refused. */
int file_read(const char *path, struct buf *out, struct err *reterr) must_check;

/* Opens one for who reads it in a way of his own: a descriptor, or -errno. Nobody waits for whoever
 * writes to a pipe that stands there. */
int file_open_regular(const char *path, struct err *reterr) must_check;

/* Likewise: 1, or 0 and nothing in *reterr where there is none. */
int file_read_if_there(const char *path, struct buf *out, struct err *reterr) must_check;

/* Likewise of what is open, whatever it is, to its end. -EFBIG: there is more, and the buffer is full. */
int file_read_fd(int fd, struct buf *out) must_check;

/* Replaces the file, or makes it. One that is there keeps its owner and permissions; a new one gets mode,
 * whatever the umask. Of two writers at once, one comes after the other; one that does not come to an
 * end is waited for a second, then ERR_CHANGE_BUSY. */
int file_write(const char *path, const void *bytes, size_t len, mode_t mode, struct err *reterr)
    must_check;

/* Makes a file that must not be there yet, where a person has asked for it: below --root or not. */
int file_create(const char *path, const void *bytes, size_t len, mode_t mode, struct err *reterr)
    must_check;

/* Replaces a symbolic link, or makes it, for one writer at a time. */
int file_link(const char *path, const char *target, struct err *reterr) must_check;

/* Removes what a writer of this path that crashed may have left. The next writer would take it over;
 * this is for when there may be no next one. */
int file_remove_draft(const char *path, struct err *reterr) must_check;

/* Makes the directory and those above it; what is there stays as it is. */
int file_make_dirs(const char *path, mode_t mode, struct err *reterr) must_check;

/* opendir() below a directory; NULL: errno tells why. flags: O_NOFOLLOW and such, for openat(). */
DIR *file_open_dir(int at, const char *name, int flags) must_check;
void file_close_dir(DIR **dir); /* where one is open */
#define _cleanup_dir_ _cleanup_(file_close_dir)

/* Removes a file, or a directory with all in it; links are removed, never followed, and other file
 * systems mounted inside are not entered (-EBUSY). Nothing there is no error. */
int file_remove_tree(const char *path, struct err *reterr) must_check;

/* open() of a file that is written in place, as logs and locks are: no link is followed.
 * A descriptor, or -errno. */
int file_open(const char *path, int flags, mode_t mode) must_check;

/* An exclusive flock(), waited for so long: 0, or -EWOULDBLOCK. Whoever can open a file can lock it, and be
 * stopped while it does: so nobody waits for one without end. */
int file_lock(int fd, uint64_t limit_us) must_check;

/* Gives a new file the owner, group and permissions of the one whose name it will take; where there is none,
 * mode. In a directory of ours it stays ours where we cannot give it away. */
int file_take_owner(int fd, int dir, const char *name, mode_t mode) must_check;

/* A path as the directory that holds it, open, and its last part; both for what is written in a way
 * of its own. -EXDEV: not below --root (root.h). */
struct file_place {
    int dir;
    const char *name; /* within the path */
};
int file_place_open(const char *path, struct file_place *ret_place) must_check;
