#include "backup/parity.h"

#include "backup/field.h"
#include "backup/isal.h"
#include "backup/parity_int.h"
#include "base/buf.h"
#include "base/mem.h"
#include "flow_rig.h"
#include "tap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define CELL PARITY_CELL

/* ---- a pack and its parity, in memory ---- */

struct file {
    uint8_t *bytes;
    size_t len;
    size_t bad_at, bad_len; /* cannot be read */
};

struct kept {
    struct file pack, parity;
    uint8_t name[HASH_SHA256_BYTES];
    struct parity_shape shape;
    struct parity_told told;
    struct err err;
    struct buf mended;
};

static uint64_t
chance(uint64_t *seed)
{
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *seed >> 33;
}

static int
read_file(void *arg, uint64_t at, void *ret_bytes, size_t len)
{
    const struct file *f = arg;
    if (at + len > f->len)
        return -ENODATA;
    if (at < f->bad_at + f->bad_len && f->bad_at < at + len)
        return -EIO;
    memcpy(ret_bytes, f->bytes + at, len);
    return 0;
}

static struct flow_source
source_of(struct file *f)
{
    return (struct flow_source){.read = read_file, .arg = f, .bytes = f->len};
}

static int
make_parity(struct kept *k, unsigned percent, bool slowly, struct buf *out)
{
    const struct flow_source pack = source_of(&k->pack);
    const struct flow_sink sink = flow_to(out);
    return (slowly ? parity_make_slowly : parity_make)(&pack, k->name, percent, &sink, &k->err);
}

static bool
keep(struct kept *k, size_t len, unsigned percent, uint64_t seed)
{
    struct hash_sha256 hash;
    *k = (struct kept){.pack = {.bytes = malloc(len), .len = len}};
    for (size_t i = 0; i < len; i++)
        k->pack.bytes[i] = (uint8_t)chance(&seed);
    hash_sha256_init(&hash);
    hash_sha256_update(&hash, k->pack.bytes, len);
    hash_sha256_final(&hash, k->name);
    k->shape = parity_shape_wanted(len, percent);
    buf_init(&k->mended, len);
    struct buf parity = BUF_INIT(64 * MIB);
    int r = make_parity(k, percent, false, &parity);
    k->parity = (struct file){.bytes = (uint8_t *)parity.data, .len = parity.len};
    CHECK_EQ(r, 0);
    CHECK_EQ(parity.len, parity_bytes(len, percent));
    return r == 0;
}

static void
drop(struct kept *k)
{
    free(k->pack.bytes);
    free(k->parity.bytes);
    buf_finish(&k->mended);
}
#define _cleanup_kept_ _cleanup_(drop)

static int
mend(struct kept *k)
{
    const struct flow_source pack = source_of(&k->pack), parity = source_of(&k->parity);
    const struct flow_sink sink = flow_to(&k->mended);
    buf_clear(&k->mended);
    k->err = (struct err){0};
    return parity_repair(&pack, &parity, k->name, &sink, &k->told, &k->err);
}

static void
spoil(struct file *f, size_t at, size_t len)
{
    for (size_t i = at; i < at + len && i < f->len; i++)
        f->bytes[i] ^= 0x5a;
}

static bool
is_mended(const struct kept *k)
{
    struct hash_sha256 hash;
    uint8_t digest[HASH_SHA256_BYTES];
    hash_sha256_init(&hash);
    hash_sha256_update(&hash, k->mended.data, k->mended.len);
    hash_sha256_final(&hash, digest);
    return memcmp(digest, k->name, sizeof(digest)) == 0;
}

/* ---- making ---- */

TEST(parity_has_this_shape)
{
    static const struct {
        uint64_t bytes;
        unsigned percent, data, parity, columns, spans;
    } rows[] = {
        {1, 20, 1, 2, 1, 1},
        {4097, 1, 2, 2, 1, 1},
        {MIB, 5, 200, 11, 2, 1},
        {128 * MIB, 5, 200, 11, 164, 1},
        {132 * MIB, 20, 200, 41, 169, 1},
        {140 * MIB, 1, 200, 3, 90, 2},
        {4 * GIB, 20, 200, 41, 170, 31},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct parity_shape s = parity_shape_wanted(rows[i].bytes, rows[i].percent);
        tap_note("%llu bytes, %u %%", (unsigned long long)rows[i].bytes, rows[i].percent);
        CHECK_EQ(s.data, rows[i].data);
        CHECK_EQ(s.parity, rows[i].parity);
        CHECK_EQ(s.columns, rows[i].columns);
        CHECK_EQ(s.spans, rows[i].spans);
        CHECK(parity_cell_at(&s, s.spans - 1, 0) < s.bytes);
        CHECK(parity_cell_at(&s, s.spans, 0) >= s.bytes);
    }
    struct parity_shape s;
    CHECK(!parity_shape_make(&s, 0, 0, 1) && !parity_shape_make(&s, 4 * GIB + 1, 200, 1));
    CHECK(!parity_shape_make(&s, MIB, 199, 1) && !parity_shape_make(&s, MIB, 200, 0));
    CHECK(!parity_shape_make(&s, MIB, 200, 53) && parity_shape_make(&s, MIB, 200, 52));
}

TEST(parity_is_what_its_format_says)
{
    _cleanup_kept_ struct kept k;
    REQUIRE(keep(&k, 250 * CELL + 77, 3, 1));
    CHECK_EQ(k.shape.columns, 2);
    for (unsigned row = 0; row < k.shape.parity; row++)
        for (size_t i = 0; i < 2 * CELL; i += 511) { /* a byte of both columns */
            uint8_t sum = 0;
            for (unsigned shard = 0; shard < 200; shard++) {
                size_t at = shard * 2 * CELL + i;
                uint8_t byte = at < k.pack.len ? k.pack.bytes[at] : 0;
                sum ^= field_multiply(field_invert((uint8_t)((200 + row) ^ shard)), byte);
            }
            CHECK_EQ(k.parity.bytes[(2 + row * 2) * CELL + i], sum);
        }
    char digest[HASH_SHA256_HEX]; /* of what stands in repositories, and is read for ever */
    hash_sha256_text(k.parity.bytes, k.parity.len, digest);
    CHECK_STR(digest, "f9d2496c272bd56f6d5cfe17e3a8650c689a9754afb32315e088c1e0c090ebdc");
    CHECK(memcmp(k.parity.bytes, "citadel mend 1\n", 16) == 0);
    CHECK(memcmp(k.parity.bytes, k.parity.bytes + k.parity.len - CELL, CELL) == 0);
}

TEST(parity_is_the_same_with_and_without_isal)
{
    static const size_t lens[] = {1, CELL, 3 * CELL + 1, 199 * CELL, 700 * CELL + 9};
    REQUIRE(isal_load(NULL));
    for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
        _cleanup_kept_ struct kept k;
        _cleanup_buf_ struct buf slow = BUF_INIT(64 * MIB);
        tap_note("%zu bytes", lens[i]);
        REQUIRE(keep(&k, lens[i], 7, i));
        REQUIRE(make_parity(&k, 7, true, &slow) == 0);
        CHECK(slow.len == k.parity.len && memcmp(slow.data, k.parity.bytes, slow.len) == 0);
    }
}

TEST(parity_is_not_made_of_what_is_damaged)
{
    _cleanup_kept_ struct kept k;
    _cleanup_buf_ struct buf out = BUF_INIT(64 * MIB);
    REQUIRE(keep(&k, 10000, 5, 1));
    spoil(&k.pack, 5000, 1);
    CHECK(make_parity(&k, 5, false, &out) < 0);
    CHECK_EQ(k.err.id, ERR_PACK_DAMAGED);
    k.pack.bad_len = 1;
    CHECK_EQ(make_parity(&k, 5, false, &out), -EIO);
    k.pack.len = 0;
    CHECK(make_parity(&k, 5, false, &out) < 0);
    CHECK_EQ(k.err.id, ERR_TOO_LARGE);
}

/* ---- mending ---- */

TEST(parity_of_a_whole_pack_mends_nothing)
{
    _cleanup_kept_ struct kept k;
    REQUIRE(keep(&k, 100000, 5, 1));
    REQUIRE(mend(&k) == 0);
    CHECK(is_mended(&k));
    CHECK(k.told.lost_bytes == 0 && k.told.parity_lost_bytes == 0 && k.told.ranges_count == 0);
}

/* The promised share in one piece, wherever it begins. */
TEST(parity_mends_its_share_in_one_piece)
{
    static const struct {
        size_t len;
        unsigned percent;
    } rows[] = {{1, 1}, {4096, 20}, {9000, 5}, {300000, 1}, {MIB, 20}, {2 * MIB + 5, 5}};
    uint64_t seed = 7;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        for (int round = 0; round < 3; round++) {
            _cleanup_kept_ struct kept k;
            REQUIRE(keep(&k, rows[i].len, rows[i].percent, i));
            size_t share = (rows[i].len * rows[i].percent + 99) / 100;
            size_t at = round ? chance(&seed) % (rows[i].len - share + 1) : 0;
            tap_note("%zu bytes at %zu of %zu", share, at, rows[i].len);
            spoil(&k.pack, at, share);
            CHECK_EQ(mend(&k), 0);
            CHECK(is_mended(&k));
            REQUIRE(k.told.ranges_count == 1);
            CHECK_EQ(k.told.ranges[0].at, at / CELL * CELL);
            CHECK_EQ(k.told.ranges[0].bytes, k.told.lost_bytes);
            CHECK(k.told.ranges[0].at + k.told.lost_bytes >= at + share);
            CHECK(k.told.lost_bytes < share + 2 * CELL);
        }
}

/* Any m cells of the pack and of its parity, by a flipped byte or as a sector that cannot be read. */
TEST(parity_mends_any_cells_up_to_its_number)
{
    uint64_t seed = 3;
    for (int round = 0; round < 25; round++) {
        _cleanup_kept_ struct kept k;
        size_t len = 1 + chance(&seed) % (250 * CELL), cells = (len + CELL - 1) / CELL;
        REQUIRE(keep(&k, len, 1 + (unsigned)chance(&seed) % 20, seed));
        for (unsigned i = 0; i < k.shape.parity; i++) {
            size_t at = chance(&seed) % cells * CELL;
            size_t beside = 1 + chance(&seed) % (k.shape.parity * k.shape.columns);
            if (chance(&seed) % 3 == 0)
                spoil(&k.parity, (beside + k.shape.table_cells) * CELL + 5, 1);
            else
                spoil(&k.pack, at + chance(&seed) % MIN(CELL, len - at), 1);
        }
        tap_note("round %d: %zu bytes, %u of parity", round, len, k.shape.parity);
        CHECK_EQ(mend(&k), 0);
        CHECK(is_mended(&k));
    }
}

TEST(parity_mends_what_cannot_be_read)
{
    _cleanup_kept_ struct kept k;
    REQUIRE(keep(&k, 900 * CELL, 2, 1));
    k.pack.bad_at = 300 * CELL + 9;
    k.pack.bad_len = 12 * CELL; /* 13 cells, of 5 columns */
    CHECK_EQ(mend(&k), 0);
    CHECK(is_mended(&k));
    CHECK_EQ(k.told.lost_bytes, 13 * CELL);
    CHECK_EQ(k.told.ranges[0].at, 300 * CELL);
    k.parity.bad_at = 3 * CELL;
    k.parity.bad_len = CELL;
    CHECK_EQ(mend(&k), 0);
    CHECK(is_mended(&k));
    CHECK_EQ(k.told.parity_lost_bytes, CELL);
}

TEST(parity_mends_a_pack_that_is_cut_off_or_grown)
{
    _cleanup_kept_ struct kept k;
    REQUIRE(keep(&k, 100 * CELL + 5, 4, 1));
    size_t len = k.pack.len;
    k.pack.len = 97 * CELL + 1; /* four cells and a piece are gone: of 5 that may be */
    CHECK_EQ(mend(&k), 0);
    CHECK(is_mended(&k));
    CHECK_EQ(k.mended.len, len);
    k.pack.bytes = realloc(k.pack.bytes, len + 3);
    k.pack.len = len + 3;
    CHECK_EQ(mend(&k), 0);
    CHECK(is_mended(&k));
}

TEST(parity_survives_the_loss_of_a_head_and_a_table)
{
    _cleanup_kept_ struct kept k;
    REQUIRE(keep(&k, 300 * CELL, 2, 1));
    size_t len = k.parity.len;
    for (int end = 0; end < 2; end++) {
        _cleanup_kept_ struct kept one;
        REQUIRE(keep(&one, 300 * CELL, 2, 1));
        spoil(&one.pack, 1000, 30000);
        spoil(&one.parity, end ? len - 2 * CELL : 0, 2 * CELL); /* head, and a table */
        CHECK_EQ(mend(&one), 0);
        CHECK(is_mended(&one));
        CHECK_EQ(one.told.parity_lost_bytes, 2 * CELL);
    }
    /* Its end cut off, from within the second table. */
    k.parity.len = len - 2 * CELL + 1;
    spoil(&k.pack, 1000, 20000);
    CHECK_EQ(mend(&k), 0);
    CHECK(is_mended(&k));
}

/* Without any CRC of a cell, the name of the pack is what tells. */
TEST(parity_without_tables_takes_what_is_there)
{
    _cleanup_kept_ struct kept k;
    REQUIRE(keep(&k, 300 * CELL, 2, 1));
    spoil(&k.parity, CELL, CELL);
    spoil(&k.parity, k.parity.len - 2 * CELL, CELL);
    CHECK_EQ(mend(&k), 0);
    CHECK(is_mended(&k));
    spoil(&k.pack, 1000, 1);
    CHECK(mend(&k) < 0);
    CHECK_EQ(k.err.id, ERR_PARITY_SHORT);
    CHECK(strstr(k.err.what, "has another SHA-256"));
}

TEST(parity_refuses_what_is_more_than_its_number)
{
    _cleanup_kept_ struct kept k;
    REQUIRE(keep(&k, 600 * CELL, 1, 1)); /* three columns; three of a column may be lost */
    for (size_t i = 0; i < 4; i++)
        spoil(&k.pack, i * 30 * CELL, 1);
    CHECK(mend(&k) < 0);
    CHECK_EQ(k.err.id, ERR_PARITY_SHORT);
    CHECK(strstr(k.err.what,
                 "has lost 16384 bytes, the first of them from 0 on: 4 cells of one column "
                 "are lost, and its parity brings back 3"));
    CHECK(strstr(k.err.fix, "citadel backup verify --all"));
    CHECK_EQ(k.told.ranges_count, 4);
    CHECK_EQ(k.told.ranges[3].at, 90 * CELL);
    CHECK_EQ(k.mended.len, 0);
    spoil(&k.pack, 0, 1); /* one of them is well again */
    CHECK_EQ(mend(&k), 0);
    CHECK(is_mended(&k));
}

TEST(parity_of_another_pack_is_none)
{
    _cleanup_kept_ struct kept k, other;
    REQUIRE(keep(&k, 9000, 5, 1) && keep(&other, 9000, 5, 2));
    struct file was = k.parity;
    k.parity = other.parity;
    CHECK(mend(&k) < 0);
    CHECK_EQ(k.err.id, ERR_PARITY_DAMAGED);
    k.parity = (struct file){0};
    CHECK(mend(&k) < 0);
    CHECK_EQ(k.err.id, ERR_PARITY_DAMAGED);
    k.parity = was;
}

TEST(parity_bears_every_flipped_bit)
{
    _cleanup_kept_ struct kept k;
    REQUIRE(keep(&k, 2 * CELL + 100, 1, 1));
    struct file *files[] = {&k.pack, &k.parity};
    for (size_t f = 0; f < 2; f++)
        for (size_t bit = 0; bit < 8 * files[f]->len; bit += f ? 101 : 31) {
            files[f]->bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
            tap_note("bit %zu of %s", bit, f ? "parity" : "pack");
            if (mend(&k) < 0 || !is_mended(&k))
                tap_fail(__FILE__, __LINE__, "%s", k.err.what);
            /* Zeros behind a head say nothing. */
            if (f == 0)
                CHECK_EQ(k.told.lost_bytes, MIN(CELL, k.pack.len - bit / 8 / CELL * CELL));
            files[f]->bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
}

/* A pack that has more than one span, in a file. */
struct drain {
    struct hash_sha256 hash;
    int fd;
    uint64_t bytes;
};

static int
write_drain(void *arg, const void *bytes, size_t len, struct err *reterr unused_arg)
{
    struct drain *d = arg;
    hash_sha256_update(&d->hash, bytes, len);
    if (d->fd >= 0 && pwrite(d->fd, bytes, len, (off_t)d->bytes) != (ssize_t)len)
        return -EIO;
    d->bytes += len;
    return 0;
}

TEST(parity_mends_packs_of_more_than_a_span)
{
    const size_t len = 140 * MIB + 3;
    static uint8_t zeros[MIB];
    _cleanup_close_ int pack_fd = memfd_create("pack", MFD_CLOEXEC);
    _cleanup_close_ int parity_fd = memfd_create("parity", MFD_CLOEXEC);
    uint8_t name[HASH_SHA256_BYTES], digest[HASH_SHA256_BYTES];
    struct drain drain = {.fd = parity_fd};
    struct parity_told told;
    hash_sha256_init(&drain.hash);
    for (size_t at = 0; at < len; at += sizeof(zeros))
        hash_sha256_update(&drain.hash, zeros, MIN(sizeof(zeros), len - at));
    hash_sha256_final(&drain.hash, name);
    REQUIRE(ftruncate(pack_fd, (off_t)len) == 0);
    const struct flow_source pack = flow_source_fd(&pack_fd, len);
    const struct flow_sink sink = {.write = write_drain, .arg = &drain};
    REQUIRE(parity_make(&pack, name, 1, &sink, NULL) == 0);
    CHECK_EQ(drain.bytes, parity_bytes(len, 1));

    const off_t bad[] = {7, 75 * (off_t)MIB, (off_t)len - 1};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        REQUIRE(pwrite(pack_fd, "x", 1, bad[i]) == 1);
    const struct flow_source parity = flow_source_fd(&parity_fd, drain.bytes);
    drain = (struct drain){.fd = -1};
    hash_sha256_init(&drain.hash);
    REQUIRE(parity_repair(&pack, &parity, name, &sink, &told, NULL) == 0);
    hash_sha256_final(&drain.hash, digest);
    CHECK(drain.bytes == len && memcmp(digest, name, sizeof(name)) == 0);
    CHECK_EQ(told.ranges_count, 3);
    CHECK_EQ(told.ranges[2].at, 140 * MIB);
    CHECK_EQ(told.ranges[2].bytes, 3);
}
