#pragma once

/* The header of a safetensors file: which tensors it holds and where. The tensors themselves are
 * never read.
 *
 *   8 bytes    N, the length of the header, little-endian
 *   N bytes    JSON, padded with blanks: {"NAME": {"dtype": "BF16", "shape": [2, 3],
 *              "data_offsets": [BEGIN, END]}, ..., "__metadata__": {"NAME": "TEXT"}}
 *   the rest   the tensors; offsets count from here
 *
 * A header is refused unless its tensors fill the data without a hole or an overlap, each exactly
 * as long as its shape and dtype ask: then the data is as long as the last one's end. */

#include "base/err.h"
#include "fmt/value.h"

#define SAFETENSORS_HEADER_MAX 100000000 /* the format's own limit */

/* Enough of an arena for the largest headers in use (some 100,000 tensors); a header that needs
 * more is refused. */
#define SAFETENSORS_ARENA_MAX (256 * MIB)

enum safetensors_dtype {
#define DTYPE(name, bits) SAFETENSORS_##name,
#include "fmt/safetensors.def"
    SAFETENSORS_DTYPES
};

struct safetensors_tensor {
    const char *name;
    enum safetensors_dtype dtype;
    uint64_t elements;
    uint64_t begin, end; /* in the data */
};

struct safetensors {
    struct safetensors_tensor *tensors; /* in the header's order */
    size_t count;
    const struct value *metadata; /* NULL: none */
    uint64_t data_at;             /* where the data begins in the file */
    uint64_t data_bytes;          /* the file ends at data_at + data_bytes if it is whole */
};

const char *safetensors_dtype_name(enum safetensors_dtype dtype);
unsigned safetensors_dtype_bits(enum safetensors_dtype dtype);

/* What is wrong with a header: one sentence a tensor, and at least one when there is an error. */
#define SAFETENSORS_TOLD_MAX 8
struct safetensors_errors {
    struct err told[SAFETENSORS_TOLD_MAX]; /* the first of them */
    size_t count;                          /* all, also those that are not told */
};

/* Reads the N bytes; everything of *ret lives in the arena. */
int safetensors_parse(struct arena *arena, const char *header, size_t len, struct safetensors *ret,
                      struct safetensors_errors *ret_errors) must_check;

/* Reads the header of an open regular file of file_bytes. -ENODATA when the file ends inside its
 * header, -EBADMSG when the header is wrong. Whether the data is whole is for the caller to ask. */
int safetensors_read(struct arena *arena, int fd, uint64_t file_bytes, struct safetensors *ret,
                     struct safetensors_errors *ret_errors) must_check;
