#pragma once

/* Where a file is cut into chunks, of which no repository stores one twice. Cuts follow from the bytes
 * alone, never from the machine, the number of its cores, or what is stored already.
 *
 *     weights    at the start of each tensor, and from there every CUT_BLOCK bytes: so a tensor is found
 *                again in any file, at any place
 *     the rest   where the content says so (below), anew from each CUT_SEGMENT bytes on, so that cores
 *                can share a file
 *
 * Content: a sum over the last 64 bytes, sum = 2 * sum + gear[byte] modulo 2^64, where gear[b] is the
 * first 8 bytes, little-endian, of the SHA-256 of the one byte b. A chunk ends behind the first byte
 * from CUT_MIN on at which the highest CUT_BITS bits of the sum are zero, the sum being that of the
 * bytes from CUT_MIN - 64 on; at CUT_MAX at the latest. */

#include "backup/codec.h"
#include "base/mem.h"

#define CUT_BLOCK ((size_t)(1 * MIB))
#define CUT_SEGMENT ((uint64_t)(64 * MIB))
#define CUT_MIN ((size_t)(256 * KIB))
#define CUT_MAX CODEC_BLOCK_MAX
#define CUT_BITS 20

/* A part of a file. Together they are the file, in its order. */
struct cut_region {
    uint64_t begin, end;
    const char *tensor; /* NULL: cut by content */
    enum codec_form form;
};

struct cut_layout {
    struct cut_region *regions; /* in the arena */
    size_t count;
};

#define CUT_ARENA_MAX (256 * MIB) /* enough for a million tensors */

/* Whether what begins so may be a file of weights. */
bool cut_may_have_tensors(const uint8_t *bytes, size_t len, uint64_t file_bytes);

/* Of an open regular file: safetensors and GGUF have tensors. What is no whole file of weights is one
 * region, cut by content: that it is wrong is for others to say. 0, or -errno of reading. */
int cut_layout(struct arena *arena, int fd, uint64_t file_bytes, struct cut_layout *ret) must_check;

/* How far a region may be read for the chunk that begins at `at`. */
uint64_t cut_reach(const struct cut_region *region, uint64_t at);
/* How long that chunk is; bytes: as far as that. */
size_t cut_length(const struct cut_region *region, const uint8_t *bytes, size_t len);
