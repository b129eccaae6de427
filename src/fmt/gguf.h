#pragma once

/* GGUF files: whether one is one, and where its tensors lie. The tensors themselves are never read.
 *
 *   4 bytes   "GGUF"
 *   4 bytes   version, 2 or 3; all numbers are little-endian
 *   8 bytes   tensors
 *   8 bytes   pairs of a name and a value
 *   pairs     name, type (4), value. Types: 0, 1 and 7 take 1 byte, 2 and 3 take 2, 4 to 6 take 4, 10 to 12
 *             take 8; 8 is a text; 9 a list: type (4), how many (8), values
 *   tensors   name, dimensions (4), each of them (8), type (4), offset (8)
 *   the rest  from the next multiple of "general.alignment", or else of 32, on: the tensors; offsets are
 *             multiples of it, and count from here
 *
 * A name or text is 8 bytes of length, and so many. */

#include "base/err.h"
#include "base/mem.h"

#define GGUF_HEADER_MAX 100000000 /* bytes before the tensors; the largest in use have some 10 MB */

struct gguf {
    unsigned version;
    uint64_t tensors;
    uint64_t pairs;
};

/* Reads the head of an open regular file of file_bytes; -EBADMSG when that is none, or promises
 * more than such a file can hold. */
int gguf_read(int fd, uint64_t file_bytes, struct gguf *ret, struct err *reterr) must_check;

/* What weights that are plain numbers are; all others are blocks of few bits with their scales. */
enum gguf_type { GGUF_F32 = 0, GGUF_F16 = 1, GGUF_BF16 = 30 };

struct gguf_tensor {
    const char *name;
    uint32_t type;       /* as the file has it */
    uint64_t begin, end; /* in the file: up to the next one, or to its end */
};

struct gguf_tensors {
    struct gguf_tensor
        *items; /* by place, in the arena; those without numbers are not among them */
    size_t count;
};

/* Likewise, of all before the tensors. */
int gguf_read_tensors(struct arena *arena, int fd, uint64_t file_bytes, struct gguf_tensors *ret,
                      struct err *reterr) must_check;
