#pragma once

/* --root DIR: every path of ours begins there, so that tests and image builds touch nothing else.
 * Set once, before any path is made. What a person writes becomes a path of this machine when the
 * configuration is read; the rooms behind it take paths as they come. That no link below DIR leads
 * out of it is seen to where something is made or changed: by the calls of files.h, change.h, sock.h
 * and notify.h, and by root_holds() for the few that make files themselves. */

#include "base/err.h"
#include "base/mem.h"

#define ROOT_PATH_MAX 1024 /* of a path that a person writes */

/* The directory must be there; "" or "/" is the machine itself. */
int root_set(const char *dir, struct err *reterr) must_check;

bool root_is_set(void);
const char *root_dir(void); /* absolute, without a slash at its end; "" when not set */

/* Whether a path may be written: it has no "..", which would leave the root, and fits. */
bool root_takes(const char *path);
bool root_takes_absolute(const char *path); /* and begins with '/' */

/* An absolute path of ours on this machine, doubled and trailing slashes gone; NULL when the arena is
 * full. And as it was written. */
char *root_path(struct arena *arena, const char *path);
const char *root_strip(const char *path);

/* For an open directory in which something is about to be made or changed: 0 when it lies below the
 * root, or none is set; -EXDEV: a link has led out. */
int root_holds(int dir) must_check;

/* err_set_errno() for an error of a call that asks root_holds(). */
int root_err(struct err *reterr, int r, const char *fmt, ...) printf_like(3, 4);
