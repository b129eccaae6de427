#pragma once

/* Paths of the configuration and paths on this machine, which differ under --root. */

#include "base/mem.h"

/* The path with doubled and trailing slashes gone, below the root; NULL when the arena is full. */
char *rooted_path(struct arena *arena, const char *path);

/* The path as the configuration has it. */
const char *rooted_strip(const char *path);

/* Whether it begins with '/', has no ".." and is no longer than a path may be. */
bool rooted_is_absolute(const char *path);
bool rooted_is_tidy(const char *path); /* likewise, but need not begin with '/' */
