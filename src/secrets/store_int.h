#pragma once

/* Between the files of this room. */

#include "base/buf.h"
#include "secrets/store.h"

/* systemd-creds, the value through a pipe. `name` is what it is encrypted for, too: under another it
 * cannot be read. */
#define CREDS_BYTES_MAX \
    (2 * SECRET_BYTES_MAX + 4 * KIB) /* base64 of one, and of what is around it */
int creds_encrypt(const char *program, const char *name, const struct secret *value,
                  struct buf *out, struct err *reterr) must_check;
int creds_decrypt(const char *program, const char *name, const char *path, struct secret *ret_value,
                  struct err *reterr) must_check;
