#include "backup/codec.h"

#include "backup/planes.h"
#include "base/mem.h"

#include <endian.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#define HEAD_BYTES 4
#define IS_FRAME (UINT32_C(1) << 31)

/* Bits a byte, of 8, by its frequency alone. Above, a plane is noise; below, most bytes are one value, and
 * runs of it are worth looking for. */
#define NOISE_BITS 7.8
#define RUNS_BITS 2.0
#define SAMPLE_BYTES 1024
#define SAMPLES_MAX 64

/* Of exponents no string comes twice: looking for one takes half of the time, and makes it worse. */
#define LEVEL_HUFFMAN ZSTD_minCLevel()
#define LEVEL_RUNS 1
#define LEVEL_PLAIN 3

struct codec {
    ZSTD_CCtx *in;
    ZSTD_DCtx *out;
    enum codec_effort effort;
    bool has_huffman; /* this zstd can be made to code what has no matches */
    uint8_t planes[CODEC_BLOCK_MAX], again[CODEC_BLOCK_MAX];
};

static const struct {
    const char *name;
    size_t width, planes;
} forms[CODEC_FORMS] = {
#define FORM(id, number, text, width, planes, help) [number] = {text, width, planes},
#include "backup/form.def"
#undef FORM
};

const char *
codec_form_name(enum codec_form form)
{
    return forms[form].name;
}

size_t
codec_form_width(enum codec_form form)
{
    return forms[form].width;
}

/* ---- contexts ---- */

/* ZSTD_c_literalCompressionMode = ZSTD_ps_enable, as its header has them for static linking. */
static bool
force_huffman(ZSTD_CCtx *in)
{
    return !ZSTD_isError(ZSTD_CCtx_setParameter(in, ZSTD_c_experimentalParam5, 1));
}

struct codec *
codec_new(enum codec_effort effort)
{
    struct codec *c = mem_new(struct codec);
    c->effort = effort;
    c->in = ZSTD_createCCtx();
    c->out = ZSTD_createDCtx();
    assert(c->in && c->out);
    c->has_huffman = force_huffman(c->in);
    return c;
}

void
codec_free(struct codec *c)
{
    if (!c)
        return;
    ZSTD_freeCCtx(c->in);
    ZSTD_freeDCtx(c->out);
    free(c);
}

/* ---- in ---- */

/* Of samples from all over the plane. */
static double
bits_a_byte(const uint8_t *plane, size_t len)
{
    uint32_t counts[256] = {0};
    size_t step = MAX(len / SAMPLES_MAX, (size_t)SAMPLE_BYTES), total = 0;
    double bits = 0;
    for (size_t at = 0; at < len; at += step) {
        size_t n = MIN(len - at, (size_t)SAMPLE_BYTES);
        for (size_t i = 0; i < n; i++)
            counts[plane[at + i]]++;
        total += n;
    }
    for (size_t i = 0; i < ARRAY_SIZE(counts); i++)
        if (counts[i] > 0)
            bits += counts[i] * log2((double)total / counts[i]);
    return bits / (double)total;
}

/* A frame that found no room leaves its context in the middle of it, where no parameter is taken. */
static void
set_up(ZSTD_CCtx *in, bool huffman, int level)
{
    size_t r = ZSTD_CCtx_reset(in, ZSTD_reset_session_and_parameters);
    assert(!ZSTD_isError(r));
    r = ZSTD_CCtx_setParameter(in, ZSTD_c_compressionLevel, level);
    assert(!ZSTD_isError(r));
    bool done = !huffman || force_huffman(in);
    assert(done);
}

/* 0: it is not worth it. */
static size_t
press(struct codec *c, bool is_weights, const uint8_t *plane, size_t len, uint8_t *to)
{
    double bits = c->effort == CODEC_AS_IT_IS ? 8 : bits_a_byte(plane, len);
    bool huffman = is_weights && bits >= RUNS_BITS && c->has_huffman;
    bool fast = is_weights || c->effort == CODEC_FAST;
    int level = huffman ? LEVEL_HUFFMAN : fast ? LEVEL_RUNS : LEVEL_PLAIN;
    if (bits > NOISE_BITS)
        return 0;
    set_up(c->in, huffman, level);
    /* Less room than the plane: what would be no smaller fails. */
    size_t pressed = ZSTD_compress2(c->in, to, len - 1, plane, len);
    return ZSTD_isError(pressed) ? 0 : pressed;
}

static void
put_head(uint8_t *to, size_t len, bool is_frame)
{
    uint32_t head = htole32((uint32_t)len | (is_frame ? IS_FRAME : 0));
    memcpy(to, &head, HEAD_BYTES);
}

static size_t
store(struct codec *c, bool is_weights, const uint8_t *plane, size_t len, uint8_t *to)
{
    size_t pressed = press(c, is_weights, plane, len, to + HEAD_BYTES);
    if (pressed == 0)
        memcpy(to + HEAD_BYTES, plane, len);
    put_head(to, pressed ? pressed : len, pressed > 0);
    return HEAD_BYTES + (pressed ? pressed : len);
}

static int
check(struct codec *c, const struct codec_block *block, const uint8_t *stored, size_t len,
      struct err *reterr)
{
    const struct codec_stored again = {
        .form = block->form, .bytes = stored, .len = len, .base = block->base};
    if (codec_decode(c, &again, c->again, block->len, NULL) == 0 &&
        memcmp(c->again, block->bytes, block->len) == 0)
        return 0;
    int r = err_set(reterr, ERR_BACKUP_UNSOUND,
                    "a block of %zu bytes (%s) does not come back as it was stored", block->len,
                    codec_form_name(block->form));
    err_fix(reterr,
            "this machine's memory is not sound, or its libzstd %s: see `edac-util`, memtest86+",
            ZSTD_versionString());
    return r;
}

int
codec_encode(struct codec *c, const struct codec_block *block, uint8_t *ret_stored, size_t *ret_len,
             struct err *reterr)
{
    size_t numbers = block->len / forms[block->form].width, len = 0;
    assert(block->len > 0 && block->len <= CODEC_BLOCK_MAX);
    assert(block->len % forms[block->form].width == 0);
    planes_split(block->form, block->bytes, block->base, numbers, c->planes);
    bool is_weights = block->form != CODEC_PLAIN || block->base;
    for (size_t i = 0; i < forms[block->form].planes; i++)
        len += store(c, is_weights, c->planes + i * numbers, numbers, ret_stored + len);
    int r = check(c, block, ret_stored, len, reterr);
    if (r == 0)
        *ret_len = len;
    return r;
}

/* ---- out ---- */

static int
damaged(struct err *reterr, const char *what)
{
    return err_set(reterr, ERR_BACKUP_DAMAGED_BLOCK, "%s", what);
}

/* One plane: where it lies as it is, or unpacked to `to`. Moves on behind it. */
static int
take_plane(struct codec *c, struct codec_stored *rest, uint8_t *to, size_t len,
           const uint8_t **ret_plane, struct err *reterr)
{
    uint32_t head;
    if (rest->len < HEAD_BYTES)
        return damaged(reterr, "a stored block ends before its planes do");
    memcpy(&head, rest->bytes, HEAD_BYTES);
    head = le32toh(head);
    size_t stored = head & ~IS_FRAME;
    const uint8_t *bytes = rest->bytes + HEAD_BYTES;
    if (stored > rest->len - HEAD_BYTES)
        return damaged(reterr, "a plane is longer than the stored block");
    rest->bytes += HEAD_BYTES + stored;
    rest->len -= HEAD_BYTES + stored;
    *ret_plane = head & IS_FRAME ? to : bytes;
    if (!(head & IS_FRAME))
        return stored == len ? 0
                             : damaged(reterr, "a plane is not as long as its block has numbers");
    return ZSTD_decompressDCtx(c->out, to, len, bytes, stored) == len
               ? 0
               : damaged(reterr, "a zstd frame is not that of its plane");
}

int
codec_decode(struct codec *c, const struct codec_stored *stored, uint8_t *ret_bytes, size_t len,
             struct err *reterr)
{
    const uint8_t *planes[CODEC_PLANES_MAX];
    struct codec_stored rest = *stored;
    if (stored->form >= CODEC_FORMS)
        return damaged(reterr, "a block has a form that this version does not know");
    if (len == 0 || len > CODEC_BLOCK_MAX || len % forms[stored->form].width != 0)
        return damaged(reterr, "a block has a length that none of its form can have");
    size_t numbers = len / forms[stored->form].width;
    for (size_t i = 0; i < forms[stored->form].planes; i++) {
        int r = take_plane(c, &rest, c->planes + i * numbers, numbers, &planes[i], reterr);
        if (r < 0)
            return r;
    }
    if (rest.len > 0)
        return damaged(reterr, "a stored block goes on behind its planes");
    planes_join(stored->form, planes, stored->base, numbers, ret_bytes);
    return 0;
}
