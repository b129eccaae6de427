#pragma once

/* A value that must not be seen: it prints as ***, and is wiped when it ends. */

#include "base/util.h"

struct secret {
    char *value; /* read it through secret_reveal(), so that every use can be found */
};

void secret_set(struct secret *s, const char *value); /* NULL: unset */
void secret_finish(struct secret *s);
bool secret_is_set(const struct secret *s);
const char *secret_reveal(const struct secret *s); /* NULL when unset */
const char *secret_print(const struct secret *s);  /* "***", or "" when unset */

#define _cleanup_secret_ _cleanup_(secret_finish)
