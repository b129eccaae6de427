#pragma once

/* Parts of files that are far away, kept in memory for a while: those who read a record now read
 * what is behind it soon. Any thread may read; two that want the same part wait for it together. */

#include "base/err.h"

struct windows;
struct windows *windows_new(int (*read)(void *arg, const char *key, uint64_t at, void *ret_bytes,
                                        size_t len, struct err *reterr),
                            void *arg) must_check;
void windows_free(struct windows *w);

/* Exactly len bytes of the file of that key, which has `bytes`. */
int windows_read(struct windows *w, const char *key, uint64_t bytes, uint64_t at, void *ret_bytes,
                 size_t len, struct err *reterr) must_check;
/* What was read of that file is not its any more; NULL: of all. */
void windows_drop(struct windows *w, const char *key);
