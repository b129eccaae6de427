#pragma once

/* Blocks as they are stored. Weights of a model look like noise to a compressor of text: their mantissas
 * are noise, and their exponents, of which few values occur, stand between them. So numbers are taken
 * apart into planes, and each plane is stored as is smaller:
 *
 *     for each plane of the form, in its order
 *       4 bytes   little-endian: the bytes that follow; with the highest bit, they are a zstd frame
 *       bytes     the plane itself, as long as the block has numbers; or the frame of it
 *
 * Planes of little-endian numbers v, one byte for each number, v >> k meaning the byte from bit k up:
 *
 *     plain, f8   v
 *     bf16        v >> 7;  sign and mantissa: (v >> 8 & 0x80) | (v & 0x7f)
 *     f16         v >> 8;  v
 *     f32         v >> 23;  (v >> 24 & 0x80) | (v >> 16 & 0x7f);  v >> 8;  v
 *
 * A block may be stored as what it differs in from another of the same length (its base): then byte by
 * byte the XOR of both is what is taken apart. */

#include "base/err.h"

enum codec_form {
#define FORM(name, number, text, width, planes, help) CODEC_##name = (number),
#include "backup/form.def"
#undef FORM
    CODEC_FORMS
};

#define CODEC_BLOCK_MAX ((size_t)(4 * MIB))
#define CODEC_PLANES_MAX 4
#define CODEC_STORED_MAX (CODEC_BLOCK_MAX + 4 * CODEC_PLANES_MAX) /* of the largest block */

const char *codec_form_name(enum codec_form form);
size_t codec_form_width(enum codec_form form); /* of a number, in bytes */

/* How much work a smaller block is worth. */
enum codec_effort { CODEC_SMALLEST, CODEC_FAST, CODEC_AS_IT_IS };

/* What one thread needs for it: some 10 MiB, once. */
struct codec;
struct codec *codec_new(enum codec_effort effort) must_check;
void codec_free(struct codec *c);

struct codec_block {
    enum codec_form form; /* whose width divides len */
    const uint8_t *bytes;
    size_t len;          /* 1 to CODEC_BLOCK_MAX */
    const uint8_t *base; /* as long; NULL: none */
};

/* Into CODEC_STORED_MAX bytes. What was stored is taken apart again and compared, before anybody relies
 * on it: bad memory and faults of libraries have cost others their backups. Then BACKUP_UNSOUND. */
int codec_encode(struct codec *c, const struct codec_block *block, uint8_t *ret_stored,
                 size_t *ret_len, struct err *reterr) must_check;

/* Exactly `len` bytes are made of what a stranger may have written. BACKUP_DAMAGED_BLOCK. */
struct codec_stored {
    unsigned form; /* as it stands in the repository */
    const uint8_t *bytes;
    size_t len;
    const uint8_t *base;
};
int codec_decode(struct codec *c, const struct codec_stored *stored, uint8_t *ret_bytes, size_t len,
                 struct err *reterr) must_check;
