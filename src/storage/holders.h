#pragma once

/* What the processes of this machine have open or mapped, as far as this user may see it. */

#include "base/util.h"

#include <sys/stat.h>
#include <sys/types.h>

/* process: its directory in /proc, open for the call. false: that is enough. */
void holders_each(bool (*look)(int process, pid_t pid, void *arg), void *arg);

/* The regular files and directories that its descriptors are of; and what it has mapped, with the device
 * as /proc tells it, which some file systems number otherwise than stat(). false: that is enough. */
void holders_open(int process, bool (*file)(const struct stat *st, void *arg), void *arg);
void holders_mapped(int process, bool (*file)(dev_t device, ino_t inode, void *arg), void *arg);
