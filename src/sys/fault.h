#pragma once

/* The system calls that change files, each told to a test before it happens: so a test can stop
 * the process at every one of them in turn, or let it fail. Without a test it costs one branch. */

#include "base/util.h"

#include <sys/types.h>

/* NULL but in tests. 0, or the -errno with which the call fails and does nothing. Of a write,
 * *bytes may be made smaller: then only so many are written. */
extern int (*fault_before)(const char *call, size_t *bytes);

/* Like the calls they are named after, but -errno. Relative names are below dir. */
int fault_write(int fd, const void *bytes, size_t len) must_check; /* all of it, or an error */
int fault_sync(int fd) must_check;
int fault_truncate(int fd, off_t len) must_check;
int fault_create(int dir, const char *name, mode_t mode) must_check; /* opens what is there, too */
int fault_rename(int dir, const char *from, const char *to) must_check;
int fault_unlink(int dir, const char *name, bool is_dir) must_check;
int fault_symlink(const char *target, int dir, const char *name) must_check;
int fault_mkdir(int dir, const char *name, mode_t mode) must_check;

/* For a call of another kind that cannot be taken back, before it is made. */
int fault_point(const char *call) must_check;
