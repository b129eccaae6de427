#include "backup/cut.h"

#include "fmt/safetensors.h"
#include "tap.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define FILE_BYTES (24 * MIB)

static void
make_bytes(uint8_t *to, size_t len, uint64_t state)
{
    for (size_t i = 0; i < len; i++) {
        state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        to[i] = (uint8_t)(state >> 56);
    }
}

struct cuts {
    uint64_t at[256]; /* where chunks end */
    size_t count;
};

static void
cut_all(const struct cut_region *region, const uint8_t *bytes, struct cuts *ret)
{
    ret->count = 0;
    for (uint64_t at = region->begin; at < region->end && ret->count < ARRAY_SIZE(ret->at);) {
        uint64_t reach = cut_reach(region, at);
        at += cut_length(region, bytes + at, (size_t)(reach - at));
        ret->at[ret->count++] = at;
    }
}

static bool
has(const struct cuts *cuts, uint64_t at)
{
    for (size_t i = 0; i < cuts->count; i++)
        if (cuts->at[i] == at)
            return true;
    return false;
}

/* Repositories outlive versions: what was cut so once is cut so for ever. */
TEST(content_is_cut_as_ever)
{
    static const uint64_t want[] = {1945199, 2452546, 2937685, 5582149, 8 * MIB};
    _cleanup_free_ uint8_t *bytes = malloc(8 * MIB);
    struct cuts cuts;
    make_bytes(bytes, 8 * MIB, 1);
    cut_all(&(struct cut_region){.end = 8 * MIB}, bytes, &cuts);
    CHECK_EQ(cuts.count, ARRAY_SIZE(want));
    for (size_t i = 0; i < MIN(cuts.count, ARRAY_SIZE(want)); i++)
        CHECK_EQ(cuts.at[i], want[i]);
}

TEST(chunks_are_neither_small_nor_large)
{
    _cleanup_free_ uint8_t *bytes = malloc(FILE_BYTES);
    struct cuts cuts;
    uint64_t at = 0;
    make_bytes(bytes, FILE_BYTES, 2);
    memset(bytes + 8 * MIB, 0, 9 * MIB); /* where no content says anything */
    cut_all(&(struct cut_region){.end = FILE_BYTES}, bytes, &cuts);
    for (size_t i = 0; i < cuts.count; at = cuts.at[i++]) {
        CHECK(cuts.at[i] - at <= CUT_MAX);
        CHECK(cuts.at[i] - at >= CUT_MIN || cuts.at[i] == FILE_BYTES);
    }
    CHECK_EQ(cuts.at[cuts.count - 1], FILE_BYTES);
    CHECK(cuts.count >= 10 && cuts.count <= 40);
}

/* A byte put in costs the chunk that it is in, and perhaps the next. */
TEST(cuts_move_with_the_content)
{
    _cleanup_free_ uint8_t *bytes = malloc(FILE_BYTES + 1);
    struct cuts before, after;
    size_t same = 0;
    make_bytes(bytes, FILE_BYTES, 3);
    cut_all(&(struct cut_region){.end = FILE_BYTES}, bytes, &before);
    memmove(bytes + MIB + 1, bytes + MIB, FILE_BYTES - MIB);
    cut_all(&(struct cut_region){.end = FILE_BYTES + 1}, bytes, &after);
    for (size_t i = 0; i < before.count; i++)
        same += before.at[i] < MIB ? has(&after, before.at[i]) : has(&after, before.at[i] + 1);
    CHECK(same + 3 >= before.count);
}

/* Whoever begins at a segment finds the cuts that others find. */
TEST(segments_are_cut_alone)
{
    const struct cut_region region = {.begin = 100, .end = 100 + 3 * CUT_SEGMENT};
    CHECK_EQ(cut_reach(&region, 100), 100 + CUT_MAX);
    CHECK_EQ(cut_reach(&region, 100 + CUT_SEGMENT - 1), 100 + CUT_SEGMENT);
    CHECK_EQ(cut_reach(&region, 100 + CUT_SEGMENT), 100 + CUT_SEGMENT + CUT_MAX);
    CHECK_EQ(cut_reach(&region, 100 + 3 * CUT_SEGMENT - 5), 100 + 3 * CUT_SEGMENT);
}

static int
write_file(const char *header, size_t data)
{
    _cleanup_free_ uint8_t *bytes = calloc(1, data + 1);
    uint64_t len = strlen(header);
    FILE *file = tmpfile();
    int fd = dup(fileno(file));
    bool whole = fwrite(&len, 8, 1, file) == 1 && fwrite(header, 1, len, file) == len &&
                 fwrite(bytes, 1, data, file) == data;
    whole &= fclose(file) == 0;
    assert(whole && fd >= 0);
    return fd;
}

TEST(weights_are_cut_at_their_tensors)
{
    static const char header[] =
        "{\"b\": {\"dtype\": \"F8_E4M3\", \"shape\": [10], \"data_offsets\": [1500000, 1500010]}, "
        "\"a\": {\"dtype\": \"BF16\", \"shape\": [750000], \"data_offsets\": [0, 1500000]}, "
        "\"none\": {\"dtype\": \"F32\", \"shape\": [0], \"data_offsets\": [1500010, 1500010]}}";
    const uint64_t data = 8 + sizeof(header) - 1, end = data + 1500010;
    _cleanup_arena_ struct arena arena;
    struct cut_layout layout;
    struct cuts cuts;
    arena_init(&arena, SAFETENSORS_ARENA_MAX);
    _cleanup_close_ int fd = write_file(header, 1500010);
    REQUIRE(cut_layout(&arena, fd, end, &layout) == 0);
    REQUIRE(layout.count == 3);
    CHECK(!layout.regions[0].tensor && layout.regions[0].end == data);
    CHECK_STR(layout.regions[1].tensor, "a");
    CHECK_EQ(layout.regions[1].form, CODEC_BF16);
    CHECK_EQ(layout.regions[2].form, CODEC_F8);
    CHECK_EQ(layout.regions[2].end, end);
    _cleanup_free_ uint8_t *bytes = calloc(1, end);
    cut_all(&layout.regions[1], bytes, &cuts);
    CHECK_EQ(cuts.count, 2);
    CHECK_EQ(cuts.at[0], data + CUT_BLOCK);
    CHECK_EQ(cuts.at[1], data + 1500000);
}

/* One of plain numbers, and one of blocks of few bits. */
TEST(gguf_is_cut_at_its_tensors)
{
    static const char header[] = "GGUF\3\0\0\0\2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
                                 "\1\0\0\0\0\0\0\0b\1\0\0\0\7\0\0\0\0\0\0\0\14\0\0\0"
                                 "\0\0\20\0\0\0\0\0"
                                 "\1\0\0\0\0\0\0\0a\1\0\0\0\7\0\0\0\0\0\0\0\1\0\0\0"
                                 "\0\0\0\0\0\0\0\0";
    const uint64_t data = 96, end = data + 3 * MIB;
    _cleanup_arena_ struct arena arena;
    struct cut_layout layout;
    FILE *file = tmpfile();
    arena_init(&arena, MIB);
    CHECK_EQ(sizeof(header) - 1, 24 + 2 * 33);
    REQUIRE(fwrite(header, 1, sizeof(header) - 1, file) == sizeof(header) - 1 &&
            fflush(file) == 0 && ftruncate(fileno(file), (off_t)end) == 0);
    REQUIRE(cut_layout(&arena, fileno(file), end, &layout) == 0);
    (void)fclose(file);
    REQUIRE(layout.count == 3);
    CHECK(!layout.regions[0].tensor && layout.regions[0].end == data);
    CHECK_STR(layout.regions[1].tensor, "a");
    CHECK_EQ(layout.regions[1].form, CODEC_F16);
    CHECK_EQ(layout.regions[1].end, data + MIB);
    CHECK_STR(layout.regions[2].tensor, "b");
    CHECK_EQ(layout.regions[2].form, CODEC_PLAIN);
    CHECK_EQ(layout.regions[2].end, end);
}

TEST(what_is_no_whole_file_of_weights_is_cut_by_content)
{
    static const struct {
        const char *header;
        size_t data;
    } rows[] = {
        {"{\"a\": {\"dtype\": \"BF16\", \"shape\": [4], \"data_offsets\": [0, 8]}}", 7},
        {"{\"a\": {\"dtype\": \"BF16\", \"shape\": [4], \"data_offsets\": [0, 8]}}", 9},
        {"{\"a\": {\"dtype\": \"BF16\", \"shape\": [5], \"data_offsets\": [0, 8]}}", 8},
        {"{\"a\"", 8},
        {"no header at all", 0},
        {"", 0},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const uint64_t bytes = 8 + strlen(rows[i].header) + rows[i].data;
        _cleanup_arena_ struct arena arena;
        struct cut_layout layout;
        _cleanup_close_ int fd = write_file(rows[i].header, rows[i].data);
        arena_init(&arena, SAFETENSORS_ARENA_MAX);
        tap_note("row %zu", i);
        REQUIRE(cut_layout(&arena, fd, bytes, &layout) == 0);
        CHECK_EQ(layout.count, 1);
        CHECK(!layout.regions[0].tensor);
        CHECK_EQ(layout.regions[0].end, bytes);
    }
}

TEST(an_empty_file_has_no_regions)
{
    _cleanup_arena_ struct arena arena;
    struct cut_layout layout;
    FILE *file = tmpfile();
    arena_init(&arena, MIB);
    REQUIRE(cut_layout(&arena, fileno(file), 0, &layout) == 0);
    CHECK_EQ(layout.count, 0);
    (void)fclose(file);
}
