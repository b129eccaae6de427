#pragma once

/* The head of a GGUF file, as far as it tells whether it is one. What follows it is not read.
 *
 *   4 bytes   "GGUF"
 *   4 bytes   version, 2 or 3; all numbers are little-endian
 *   8 bytes   tensors
 *   8 bytes   pairs of a name and a value
 *   the rest  the pairs, what the tensors are, and the tensors */

#include "base/err.h"

struct gguf {
    unsigned version;
    uint64_t tensors;
    uint64_t pairs;
};

/* Reads the head of an open regular file of file_bytes; -EBADMSG when that is none, or promises
 * more than such a file can hold. */
int gguf_read(int fd, uint64_t file_bytes, struct gguf *ret, struct err *reterr) must_check;
