#include "backup/codec.h"

#include "backup/planes.h"
#include "tap.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#define NUMBERS (64 * 1024)

static uint64_t
chance(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static float
fraction(uint64_t *state)
{
    return (float)(chance(state) >> 40) / (float)(1 << 24);
}

/* Near to a normal distribution, of another width in each row. */
static float
weight(uint64_t *state, size_t i)
{
    static float width;
    float sum = 0;
    if (i % 256 == 0)
        width = 0.01f + 0.03f * fraction(state);
    for (int k = 0; k < 12; k++)
        sum += fraction(state);
    return (sum - 6) * width;
}

static uint16_t
bf16(float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof(bits));
    return (uint16_t)(bits >> 16);
}

/* What blocks of each form hold, as far as their statistics go. */
static void
make_weights(enum codec_form form, uint64_t seed, uint8_t *to, size_t len)
{
    size_t width = codec_form_width(form);
    uint64_t state = seed;
    for (size_t i = 0; i < len / width; i++) {
        float v = weight(&state, i);
        uint16_t half = bf16(v);
        if (form == CODEC_F32)
            memcpy(to + 4 * i, &v, 4);
        else if (width == 2)
            memcpy(to + 2 * i, &half, 2);
        else
            to[i] = (uint8_t)(half >> 8);
    }
}

static void
make_noise(uint8_t *to, size_t len)
{
    uint64_t state = 88172645463325252;
    for (size_t i = 0; i < len; i++)
        to[i] = (uint8_t)(chance(&state) >> 24);
}

struct rig {
    struct codec *codec;
    uint8_t bytes[4 * NUMBERS], base[4 * NUMBERS], back[4 * NUMBERS];
    uint8_t stored[CODEC_STORED_MAX];
    size_t stored_len;
};

static struct rig *
rig_new(void)
{
    struct rig *rig = calloc(1, sizeof(*rig));
    assert(rig);
    rig->codec = codec_new(CODEC_SMALLEST);
    return rig;
}

static void
rig_free(struct rig *rig)
{
    codec_free(rig->codec);
    free(rig);
}

static bool
comes_back(struct rig *rig, enum codec_form form, size_t len, bool has_base)
{
    const uint8_t *base = has_base ? rig->base : NULL;
    const struct codec_block block = {form, rig->bytes, len, base};
    struct err err = {0};
    if (codec_encode(rig->codec, &block, rig->stored, &rig->stored_len, &err) < 0)
        return false;
    const struct codec_stored stored = {form, rig->stored, rig->stored_len, base};
    memset(rig->back, 0xEE, len);
    return codec_decode(rig->codec, &stored, rig->back, len, &err) == 0 &&
           memcmp(rig->back, rig->bytes, len) == 0;
}

TEST(codec_gives_back_what_it_took)
{
    struct rig *rig = rig_new();
    for (enum codec_form form = 0; form < CODEC_FORMS; form++) {
        size_t width = codec_form_width(form);
        make_weights(form, 7, rig->base, sizeof(rig->base));
        for (size_t numbers = 1; numbers <= NUMBERS; numbers += numbers / 2 + 1) {
            tap_note("%s, %zu numbers", codec_form_name(form), numbers);
            make_weights(form, 3, rig->bytes, sizeof(rig->bytes));
            CHECK(comes_back(rig, form, numbers * width, false));
            CHECK(comes_back(rig, form, numbers * width, true));
            make_noise(rig->bytes, sizeof(rig->bytes));
            CHECK(comes_back(rig, form, numbers * width, false));
            CHECK(rig->stored_len <= numbers * width + 16);
        }
    }
    rig_free(rig);
}

/* Numbers whose bits all differ in their places, and what the header promises of them. */
TEST(planes_are_those_of_the_format)
{
    static const struct {
        enum codec_form form;
        uint8_t bytes[8], planes[8];
    } rows[] = {
        {CODEC_PLAIN, {1, 2, 3}, {1, 2, 3}},
        {CODEC_F8, {0x81, 0x7e}, {0x81, 0x7e}},
        /* -1.5 is 0xbfc0; 2.0 is 0x4000 */
        {CODEC_BF16, {0xc0, 0xbf, 0x00, 0x40}, {0x7f, 0x80, 0xc0, 0x00}},
        {CODEC_F16, {0x34, 0x12, 0x78, 0x56}, {0x12, 0x56, 0x34, 0x78}},
        /* -1.5f is 0xbfc00000, with low bits 0x1234; 2.0f */
        {CODEC_F32,
         {0x34, 0x12, 0xc0, 0xbf, 0, 0, 0, 0x40},
         {0x7f, 0x80, 0xc0, 0x00, 0x12, 0x00, 0x34, 0x00}},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        enum codec_form form = rows[i].form;
        size_t numbers = form == CODEC_PLAIN ? 3 : 2;
        uint8_t planes[8] = {0}, back[8] = {0}, other[8];
        const uint8_t *at[CODEC_PLANES_MAX];
        for (size_t k = 0; k < CODEC_PLANES_MAX; k++)
            at[k] = planes + k * numbers;
        tap_note("%s", codec_form_name(form));
        planes_split(form, rows[i].bytes, NULL, numbers, planes);
        CHECK(memcmp(planes, rows[i].planes, sizeof(planes)) == 0);
        planes_join(form, at, NULL, numbers, back);
        CHECK(memcmp(back, rows[i].bytes, sizeof(back)) == 0);
        planes_split(form, rows[i].bytes, rows[i].bytes, numbers, planes);
        memset(other, 0, sizeof(other));
        CHECK(memcmp(planes, other, sizeof(planes)) == 0); /* nothing differs from itself */
        planes_join(form, at, rows[i].bytes, numbers, back);
        CHECK(memcmp(back, rows[i].bytes, sizeof(back)) == 0);
    }
}

static double
entropy(const uint8_t *plane, size_t len)
{
    size_t counts[256] = {0};
    double bits = 0;
    for (size_t i = 0; i < len; i++)
        counts[plane[i]]++;
    for (size_t i = 0; i < 256; i++)
        if (counts[i] > 0)
            bits += (double)counts[i] * log2((double)len / (double)counts[i]);
    return bits / 8;
}

/* Weights are stored in hardly more than their exponents' entropy and the rest of their bits. */
TEST(codec_is_near_to_what_is_possible)
{
    struct rig *rig = rig_new();
    static uint8_t planes[2 * NUMBERS];
    make_weights(CODEC_BF16, 5, rig->bytes, 2 * NUMBERS);
    planes_split(CODEC_BF16, rig->bytes, NULL, NUMBERS, planes);
    double bound = entropy(planes, NUMBERS) + entropy(planes + NUMBERS, NUMBERS);
    CHECK(comes_back(rig, CODEC_BF16, 2 * NUMBERS, false));
    tap_note("stored %zu, bound %.0f + %.0f", rig->stored_len, entropy(planes, NUMBERS),
             entropy(planes + NUMBERS, NUMBERS));
    CHECK((double)rig->stored_len < bound * 1.015);
    CHECK((double)rig->stored_len > bound * 0.99);

    /* What a third of differs a little from its base is a third of it, or less. */
    memcpy(rig->base, rig->bytes, 2 * NUMBERS);
    for (size_t i = 0; i < NUMBERS; i += 3)
        rig->bytes[2 * i] ^= 1;
    CHECK(comes_back(rig, CODEC_BF16, 2 * NUMBERS, true));
    CHECK(rig->stored_len < 2 * NUMBERS / 5);
    rig_free(rig);
}

/* A codec that gave up on one block is as good as new for the next. */
TEST(codec_forgets_a_block_that_it_could_not_press)
{
    struct rig *rig = rig_new();
    memcpy(rig->bytes, "nothing in here comes twice, at 39 byte", 39);
    CHECK(comes_back(rig, CODEC_PLAIN, 39, false));
    CHECK_EQ(rig->stored_len, 39 + 4);
    make_weights(CODEC_BF16, 5, rig->bytes, 2 * NUMBERS);
    CHECK(comes_back(rig, CODEC_BF16, 2 * NUMBERS, false));
    CHECK(rig->stored_len < 2 * NUMBERS * 7 / 10);
    rig_free(rig);
}

TEST(codec_presses_text)
{
    static const char line[] =
        "{\"model.layers.0.self_attn.q_proj.weight\": \"model-00001.safetensors\"},\n";
    struct rig *rig = rig_new();
    for (size_t i = 0; i < NUMBERS; i++)
        rig->bytes[i] = (uint8_t)line[i % (sizeof(line) - 1)];
    CHECK(comes_back(rig, CODEC_PLAIN, NUMBERS, false));
    CHECK(rig->stored_len < NUMBERS / 100);
    rig_free(rig);
}

/* Whatever is cut off or added, and whatever bit is another: an error, or other bytes; never more than was
 * asked for. (That they are others is for the digest of the block to tell.) */
TEST(codec_takes_what_is_damaged)
{
    struct rig *rig = rig_new();
    struct err err;
    size_t refused = 0, len = 600;
    make_weights(CODEC_BF16, 5, rig->bytes, len);
    REQUIRE(comes_back(rig, CODEC_BF16, len, false));
    struct codec_stored stored = {CODEC_BF16, rig->stored, rig->stored_len, NULL};
    for (stored.len = 0; stored.len < rig->stored_len; stored.len++)
        CHECK_EQ(codec_decode(rig->codec, &stored, rig->back, len, &err), -EBADMSG);
    stored.len = rig->stored_len + 1;
    CHECK_EQ(codec_decode(rig->codec, &stored, rig->back, len, &err), -EBADMSG);
    stored.len = rig->stored_len;
    for (size_t bit = 0; bit < 8 * rig->stored_len; bit++) {
        rig->stored[bit / 8] ^= (uint8_t)(1 << bit % 8);
        refused += codec_decode(rig->codec, &stored, rig->back, len, &err) < 0;
        rig->stored[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    CHECK(refused > 2 * 32); /* both heads at the least */
    CHECK_EQ(codec_decode(rig->codec, &stored, rig->back, len - 2, &err), -EBADMSG);
    CHECK_EQ(codec_decode(rig->codec, &stored, rig->back, len - 1, &err), -EBADMSG);
    CHECK_EQ(codec_decode(rig->codec, &stored, rig->back, 0, &err), -EBADMSG);
    stored.form = CODEC_FORMS;
    CHECK_EQ(codec_decode(rig->codec, &stored, rig->back, len, &err), -EBADMSG);
    rig_free(rig);
}

/* Nothing is gained, and nothing lost but the heads. */
TEST(codec_leaves_blocks_as_they_are_where_that_is_wanted)
{
    struct rig *rig = rig_new();
    codec_free(rig->codec);
    rig->codec = codec_new(CODEC_AS_IT_IS);
    memset(rig->bytes, 'a', NUMBERS);
    CHECK(comes_back(rig, CODEC_PLAIN, NUMBERS, false));
    CHECK_EQ(rig->stored_len, NUMBERS + 4);
    codec_free(rig->codec);
    rig->codec = codec_new(CODEC_FAST);
    CHECK(comes_back(rig, CODEC_PLAIN, NUMBERS, false));
    CHECK(rig->stored_len < 100);
    rig_free(rig);
}
