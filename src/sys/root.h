#pragma once

/* --root DIR: every path of ours begins there, so that tests and image builds touch nothing else.
 * Set once, before any path is made; the rooms never see that it exists. */

#include "base/buf.h"
#include "base/err.h"

/* The directory must be there; "" or "/" is the machine itself. */
int root_set(const char *dir, struct err *reterr) must_check;

bool root_is_set(void);
const char *root_dir(void); /* absolute, without a slash at its end; "" when not set */

/* The path of this machine for an absolute path of ours. A path with ".." would leave the root, and
 * is refused, as one that is too long. */
int root_path(struct buf *ret_path, const char *path, struct err *reterr) must_check;
