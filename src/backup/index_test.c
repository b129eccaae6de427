#include "backup/index.h"

#include "backup/repository_int.h"

#include "base/mem.h"
#include "tap.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static struct block_id
id_of(uint64_t n)
{
    struct block_id id = {{0}};
    struct hash_sha256 hash;
    hash_sha256_init(&hash);
    hash_sha256_update(&hash, &n, sizeof(n));
    hash_sha256_final(&hash, id.bytes);
    return id;
}

/* Blocks from..to of one pack, each told by its number. */
static int
write_fragment(int dir, uint64_t from, uint64_t to, char ret_name[HASH_SHA256_HEX])
{
    struct index_draft *d = index_draft_new();
    int r = 0;
    for (uint64_t pack = from / 100; pack * 100 < to && r == 0; pack++) {
        struct pack_entry entries[100];
        struct pack_entries list = {entries, 0};
        const struct block_id name = id_of(pack << 32);
        for (uint64_t n = MAX(from, pack * 100); n < MIN(to, pack * 100 + 100); n++)
            entries[list.count++] = (struct pack_entry){
                .id = id_of(n), .at = (uint32_t)n, .record_bytes = 1, .block_bytes = 2};
        r = index_draft_add(d, &name, &list, NULL);
    }
    if (r == 0 && index_draft_blocks(d) != to - from)
        r = -EBADMSG;
    if (r == 0)
        r = index_draft_write(d, &(struct object_place){.dir = dir}, ret_name, NULL);
    index_draft_free(d);
    return r;
}

static int
open_index(int dir, struct index **ret, struct err *reterr)
{
    struct repository r = {.kind = &repository_directory, .areas = {[REPOSITORY_INDEX] = dir}};
    return index_open(&r, ret, reterr);
}

static int
open_dir(void)
{
    return open(tap_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static bool
finds(const struct index *x, uint64_t n)
{
    struct index_place place;
    const struct block_id id = id_of(n), pack = id_of(n / 100 << 32);
    return index_find(x, &id, &place) && place.at == n && place.record_bytes == 1 &&
           place.block_bytes == 2 && memcmp(&place.pack, &pack, sizeof(pack)) == 0;
}

TEST(index_finds_what_is_there_and_nothing_else)
{
    static const uint64_t sizes[] = {1, 2, 3, 17, 1000, 20000};
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        _cleanup_close_ int dir = open_dir();
        char name[HASH_SHA256_HEX];
        struct index *x;
        struct err err;
        tap_note("%llu blocks", (unsigned long long)sizes[i]);
        REQUIRE(write_fragment(dir, 0, sizes[i], name) == 0);
        REQUIRE(open_index(dir, &x, &err) == 0);
        CHECK_EQ(index_blocks(x), sizes[i]);
        for (uint64_t n = 0; n < sizes[i]; n++)
            CHECK(finds(x, n));
        for (uint64_t n = sizes[i]; n < sizes[i] + 1000; n++)
            CHECK(!finds(x, n));
        index_free(x);
        CHECK(unlinkat(dir, name, 0) == 0);
    }
}

/* Digests that somebody chose: nowhere where they would be if they were spread evenly. */
TEST(index_finds_digests_that_are_not_spread)
{
    _cleanup_close_ int dir = open_dir();
    struct index_draft *d = index_draft_new();
    struct pack_entry entries[500];
    const struct pack_entries list = {entries, ARRAY_SIZE(entries)};
    const struct block_id pack = {{1}};
    char name[HASH_SHA256_HEX];
    struct index *x;
    struct index_place place;
    for (size_t i = 0; i < list.count; i++) {
        entries[i] = (struct pack_entry){.id = {{0, 0, 0, 1}}, .at = (uint32_t)i};
        entries[i].id.bytes[30] = (uint8_t)(i >> 8);
        entries[i].id.bytes[31] = (uint8_t)i;
    }
    REQUIRE(index_draft_add(d, &pack, &list, NULL) == 0);
    REQUIRE(index_draft_write(d, &(struct object_place){.dir = dir}, name, NULL) == 0);
    index_draft_free(d);
    REQUIRE(open_index(dir, &x, NULL) == 0);
    for (size_t i = 0; i < list.count; i++)
        CHECK(index_find(x, &entries[i].id, &place) && place.at == i);
    CHECK(!index_find(x, &(struct block_id){{0, 0, 0, 1, 1}}, &place));
    CHECK(!index_find(x, &(struct block_id){{0}}, &place));
    CHECK(!index_find(x, &(struct block_id){{0xff}}, &place));
    index_free(x);
}

TEST(index_is_all_of_its_fragments)
{
    _cleanup_close_ int dir = open_dir();
    char name[HASH_SHA256_HEX];
    struct index *x;
    bool seen[300] = {false};
    REQUIRE(open_index(dir, &x, NULL) == 0);
    CHECK_EQ(index_blocks(x), 0);
    CHECK(!finds(x, 1));
    index_free(x);
    for (uint64_t from = 0; from < 300; from += 100)
        REQUIRE(write_fragment(dir, from, from + 100, name) == 0);
    REQUIRE(open_index(dir, &x, NULL) == 0);
    CHECK_EQ(index_fragments(x), 3);
    for (size_t i = 0; i < index_fragments(x); i++)
        for (size_t k = 0; k < index_fragment_blocks(x, i); k++) {
            struct block_id id;
            struct index_place place = index_at(x, i, k, &id);
            const struct block_id want = id_of(place.at);
            CHECK(memcmp(&id, &want, sizeof(id)) == 0);
            seen[place.at] = true;
        }
    for (size_t n = 0; n < ARRAY_SIZE(seen); n++)
        CHECK(seen[n] && finds(x, n));
    index_free(x);
}

/* A search trusts a fragment: so each bit is looked at when it is opened. */
TEST(every_flipped_bit_of_a_fragment_is_seen)
{
    _cleanup_close_ int dir = open_dir();
    char name[HASH_SHA256_HEX];
    uint8_t bytes[32 + 32 + 2 * 48];
    REQUIRE(write_fragment(dir, 0, 2, name) == 0);
    _cleanup_close_ int fd = openat(dir, name, O_RDWR | O_CLOEXEC);
    REQUIRE(pread(fd, bytes, sizeof(bytes), 0) == sizeof(bytes));
    for (size_t bit = 0; bit < 8 * sizeof(bytes); bit++) {
        struct index *x = NULL;
        struct err err = {0};
        uint8_t flipped = (uint8_t)(bytes[bit / 8] ^ 1 << bit % 8);
        REQUIRE(pwrite(fd, &flipped, 1, (off_t)(bit / 8)) == 1);
        tap_note("bit %zu of byte %zu", bit % 8, bit / 8);
        CHECK_EQ(open_index(dir, &x, &err), -EBADMSG);
        CHECK_EQ(err.id, ERR_INDEX_DAMAGED);
        CHECK(strstr(err.what, name) != NULL);
        REQUIRE(pwrite(fd, &bytes[bit / 8], 1, (off_t)(bit / 8)) == 1);
    }
    for (off_t len = sizeof(bytes) - 1; len >= 0; len--) {
        struct index *x = NULL;
        REQUIRE(ftruncate(fd, len) == 0);
        CHECK_EQ(open_index(dir, &x, NULL), -EBADMSG);
    }
}

TEST(index_takes_no_more_blocks_than_it_can_number)
{
    struct index_draft *d = index_draft_new();
    struct pack_entry one = {.block_bytes = 1};
    const struct block_id pack = {{1}};
    struct err err;
    CHECK_EQ(index_draft_add(d, &pack, &(struct pack_entries){&one, 1}, &err), 0);
    CHECK(index_draft_add(d, &pack, &(struct pack_entries){&one, INDEX_BLOCKS_MAX}, &err) < 0);
    CHECK_EQ(err.id, ERR_TOO_LARGE);
    CHECK_EQ(index_draft_blocks(d), 1);
    index_draft_free(d);
}

/* A pipe would be waited for, and a directory is no file. */
TEST(index_takes_nothing_but_files)
{
    _cleanup_close_ int dir = open_dir();
    char name[HASH_SHA256_HEX];
    struct index *x = NULL;
    struct err err;
    hash_sha256_text("x", 1, name);
    REQUIRE(mkfifoat(dir, name, 0600) == 0);
    CHECK_EQ(open_index(dir, &x, &err), -EBADMSG);
    CHECK(strstr(err.what, name) != NULL);
    REQUIRE(unlinkat(dir, name, 0) == 0 && mkdirat(dir, name, 0700) == 0);
    CHECK_EQ(open_index(dir, &x, &err), -EBADMSG);
}
