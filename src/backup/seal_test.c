#include "backup/seal.h"

#include "backup/bytes_int.h"
#include "backup/seal_int.h"
#include "base/buf.h"
#include "base/crc32c.h"
#include "base/mem.h"
#include "base/text.h"
#include "flow_rig.h"
#include "tap.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PIECE 65536
#define HEAD 128

/* As cheap as it may be: these tests are not about guessing. */
static const struct seal_cost cheap = {1, 8 * KIB};

static struct err err;

/* ---- locks ---- */

static int
lock(const struct seal_keys *k, const char *with, bool only_adds, uint8_t *file)
{
    _cleanup_secret_ struct secret secret = {0};
    struct seal_lock wish = {.label = "the vault", .only_adds = only_adds, .cost = cheap};
    secret_set(&secret, with);
    err = (struct err){0};
    return seal_keys_lock(k, &wish, &secret, file, &err);
}

static int
unlock(const uint8_t *file, const char *with, struct seal_keys **ret)
{
    _cleanup_secret_ struct secret secret = {0};
    secret_set(&secret, with);
    err = (struct err){0};
    return seal_keys_unlock(file, SEAL_KEY_BYTES, &secret, ret, &err);
}

static bool
are_same(const struct seal_keys *a, const struct seal_keys *b)
{
    return a->can_read == b->can_read && memcmp(&a->root, &b->root, sizeof(a->root)) == 0 &&
           memcmp(&a->private, &b->private, sizeof(a->private)) == 0 &&
           memcmp(a->public, b->public, sizeof(a->public)) == 0 &&
           memcmp(&a->write, &b->write, sizeof(a->write)) == 0 &&
           memcmp(&a->names, &b->names, sizeof(a->names)) == 0;
}

TEST(seal_keys_open_with_what_they_were_locked_with)
{
    _cleanup_seal_keys_ struct seal_keys *k = NULL, *a = NULL, *b = NULL;
    _cleanup_secret_ struct secret recovery = {0};
    uint8_t with_passphrase[SEAL_KEY_BYTES], with_recovery[SEAL_KEY_BYTES];
    REQUIRE(seal_keys_make(&k, &err) == 0);
    REQUIRE(seal_recovery_make(&recovery, NULL) == 0);
    REQUIRE(lock(k, "correct horse", false, with_passphrase) == 0);
    REQUIRE(lock(k, secret_reveal(&recovery), false, with_recovery) == 0);
    REQUIRE(unlock(with_passphrase, "correct horse", &a) == 0);
    REQUIRE(unlock(with_recovery, secret_reveal(&recovery), &b) == 0);
    CHECK(are_same(k, a) && are_same(k, b) && seal_keys_can_read(a));
    CHECK(!memmem(with_recovery, SEAL_KEY_BYTES, k->root.bytes, 16));
}

TEST(seal_keys_tell_a_wrong_passphrase_from_damage)
{
    _cleanup_seal_keys_ struct seal_keys *k = NULL, *none = NULL;
    _cleanup_secret_ struct secret recovery = {0};
    uint8_t file[SEAL_KEY_BYTES];
    REQUIRE(seal_keys_make(&k, &err) == 0);
    REQUIRE(seal_recovery_make(&recovery, NULL) == 0 && lock(k, "right", false, file) == 0);
    CHECK(unlock(file, "wrong", &none) < 0);
    CHECK_EQ(err.id, ERR_SEAL_WRONG_KEY);
    CHECK_STR(err.what, "this passphrase does not open key 'the vault', which is whole");
    CHECK(unlock(file, secret_reveal(&recovery), &none) < 0);
    CHECK_EQ(err.id, ERR_SEAL_WRONG_KEY);
    CHECK_STR(err.what, "key 'the vault' is locked with a passphrase, not with a recovery key");
    for (size_t bit = 0; bit < 8 * SEAL_KEY_BYTES; bit++) {
        file[bit / 8] ^= (uint8_t)(1 << bit % 8);
        tap_note("bit %zu", bit);
        CHECK(unlock(file, "right", &none) < 0);
        CHECK_EQ(err.id, ERR_SEAL_DAMAGED);
        file[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    CHECK(none == NULL);
}

/* Somebody who can compute a CRC: nothing that he writes is taken for a key, nor costs more than may be. */
TEST(seal_keys_bear_what_a_stranger_has_written)
{
    _cleanup_seal_keys_ struct seal_keys *k = NULL, *none = NULL;
    uint8_t file[SEAL_KEY_BYTES];
    static const struct {
        size_t at;
        uint64_t value;
        enum err_id id;
    } rows[] = {
        {20, 17, ERR_SEAL_DAMAGED},        {20, 0, ERR_SEAL_DAMAGED},
        {24, GIB + 1, ERR_SEAL_DAMAGED},   {24, 0, ERR_SEAL_DAMAGED},
        {24, 9 * KIB, ERR_SEAL_WRONG_KEY}, {16, 0x0103, ERR_SEAL_DAMAGED},
        {16, 0x0102, ERR_SEAL_WRONG_KEY},  {96, UINT64_MAX, ERR_SEAL_DAMAGED},
        {40, 1, ERR_SEAL_WRONG_KEY},       {110, 1, ERR_SEAL_WRONG_KEY},
    };
    REQUIRE(seal_keys_make(&k, &err) == 0);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        tap_note("%llu at %zu", (unsigned long long)rows[i].value, rows[i].at);
        REQUIRE(lock(k, "right", false, file) == 0);
        if (rows[i].at == 20)
            put_u32(file + 20, (uint32_t)rows[i].value);
        else if (rows[i].at == 16)
            put_u16(file + 16, (uint16_t)rows[i].value);
        else
            put_u64(file + rows[i].at, rows[i].value);
        put_u32(file + SEAL_KEY_BYTES - 4, crc32c(0, file, SEAL_KEY_BYTES - 4));
        CHECK(unlock(file, "right", &none) < 0);
        CHECK_EQ(err.id, rows[i].id);
    }
    struct seal_lock told;
    CHECK(seal_lock_read(file, SEAL_KEY_BYTES - 1, &told, &err) < 0);
    CHECK_STR(err.what, "a key has 187 bytes instead of 188");
    CHECK(strstr(err.fix, "another key"));
}

TEST(seal_keys_can_be_given_to_those_who_only_add)
{
    _cleanup_seal_keys_ struct seal_keys *k = NULL, *adds = NULL, *none = NULL;
    uint8_t file[SEAL_KEY_BYTES];
    struct seal_lock told;
    REQUIRE(seal_keys_make(&k, &err) == 0);
    REQUIRE(lock(k, "host", true, file) == 0);
    REQUIRE(seal_lock_read(file, sizeof(file), &told, NULL) == 0);
    CHECK(told.only_adds && told.is_passphrase);
    CHECK_STR(told.label, "the vault");
    REQUIRE(unlock(file, "host", &adds) == 0);
    seal_keys_forget_reading(k);
    CHECK(are_same(k, adds) && !seal_keys_can_read(adds));
    CHECK(lock(adds, "more", false, file) < 0);
    CHECK_EQ(err.id, ERR_SEAL_ONLY_ADDS);
    REQUIRE(lock(adds, "another host", true, file) == 0);
    REQUIRE(unlock(file, "another host", &none) == 0);
}

/* ---- recovery keys ---- */

TEST(seal_recovery_keys_are_read_as_people_write)
{
    _cleanup_secret_ struct secret text = {0}, typed = {0};
    struct seal_secret key, back;
    for (size_t i = 0; i < sizeof(key.bytes); i++)
        key.bytes[i] = (uint8_t)(i * 37 + 1);
    seal_recovery_print(&key, &text);
    CHECK_STR(secret_reveal(&text),
              "citadel-04K4-PW4N-QBFG-8AAE-EECB-VRG7-5H8Q-D6Y0-WM52-YN3S-KV1Y-G39J-AXY0-WEF5");
    CHECK_EQ(strlen(secret_reveal(&text)), 77);
    REQUIRE(seal_recovery_parse(&text, &back, &err) == 1);
    CHECK(memcmp(&key, &back, sizeof(key)) == 0);

    _cleanup_free_ char *small = mem_strdup(secret_reveal(&text));
    for (char *c = small; *c; c++)
        *c = *c == '-' && c > small + 7 ? ' '
             : *c == '0'                ? 'o'
             : *c == '1'                ? 'l'
                                        : (char)(*c | 0x20);
    small[7] = '-';
    secret_set(&typed, small);
    REQUIRE(seal_recovery_parse(&typed, &back, &err) == 1);
    CHECK(memcmp(&key, &back, sizeof(key)) == 0);
}

TEST(seal_recovery_keys_tell_how_they_are_mistyped)
{
    static const char right[] =
        "citadel-04K4-PW4N-QBFG-8AAE-EECB-VRG7-5H8Q-D6Y0-WM52-YN3S-KV1Y-G39J-AXY0-WEF5";
    static const struct {
        const char *text, *what;
    } rows[] = {
        {"citadel-", "the recovery key has 0 letters instead of 56"},
        {"citadel-04K4", "the recovery key has 4 letters instead of 56"},
        {"citadel-04U4", "letter 3 of the recovery key is none that it can have"},
        {"citadel-04K4-PW4N-QBFG-8AAE-EECB-VRG7-5H8Q-D6Y0-WM52-YN3S-KV1Y-G39J-AXY0-WEF5-0",
         "the recovery key has 57 letters instead of 56"},
    };
    _cleanup_secret_ struct secret text = {0};
    struct seal_secret key;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        secret_set(&text, rows[i].text);
        CHECK_EQ(seal_recovery_parse(&text, &key, &err), -EINVAL);
        CHECK_STR(err.what, rows[i].what);
    }
    /* Each letter exchanged for each other: found, though not always told where. */
    for (size_t at = 8; right[at]; at++) {
        _cleanup_free_ char *wrong = mem_strdup(right);
        if (right[at] == '-')
            continue;
        wrong[at] = right[at] == '7' ? '8' : '7';
        secret_set(&text, wrong);
        tap_note("letter at %zu", at);
        CHECK_EQ(seal_recovery_parse(&text, &key, &err), -EINVAL);
    }
    secret_set(&text, "a passphrase");
    CHECK_EQ(seal_recovery_parse(&text, &key, &err), 0);
    secret_set(&text, right);
    CHECK_EQ(seal_recovery_parse(&text, &key, &err), 1);
}

/* ---- objects ---- */

static uint8_t plain[3 * PIECE];

static bool
seal(const struct seal_keys *k, enum seal_for whom, size_t len, size_t step, struct buf *out)
{
    const struct flow_sink sink = flow_to(out);
    struct seal_writer *w = NULL;
    for (size_t i = 0; i < len; i++)
        plain[i] = (uint8_t)(i >> 8 ^ i);
    buf_clear(out);
    int r = seal_begin(k, whom, &sink, &w, &err);
    for (size_t at = 0; at < len && r == 0; at += step)
        r = seal_write(w, plain + at, MIN(step, len - at), &err);
    if (r == 0)
        r = seal_finish(w, &err);
    seal_writer_free(w);
    return r == 0;
}

/* All of it, or one of its errors. */
static int
read_all(const struct seal_keys *k, struct buf *sealed, uint8_t *ret, uint64_t *ret_len)
{
    const struct flow_source source = flow_from(sealed);
    struct seal_reader *r = NULL;
    err = (struct err){0};
    int error = seal_open(k, &source, &r, &err);
    if (error == 0) {
        *ret_len = seal_bytes(r);
        error = seal_read(r, 0, ret, (size_t)*ret_len, &err);
    }
    seal_reader_free(r);
    return error;
}

TEST(seal_objects_come_back)
{
    static const size_t lens[] = {0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 3 * PIECE};
    static const size_t steps[] = {1000, PIECE, sizeof(plain)};
    static uint8_t back[sizeof(plain)];
    _cleanup_seal_keys_ struct seal_keys *k = NULL;
    _cleanup_buf_ struct buf sealed = BUF_INIT(MIB);
    uint64_t len;
    REQUIRE(seal_keys_make(&k, &err) == 0);
    for (size_t i = 0; i < ARRAY_SIZE(lens); i++)
        for (size_t j = 0; j < ARRAY_SIZE(steps); j++) {
            tap_note("%zu bytes, %zu at a time", lens[i], steps[j]);
            REQUIRE(seal(k, SEAL_FOR_READERS, lens[i], steps[j], &sealed));
            CHECK_EQ(sealed.len, seal_sealed_bytes(lens[i]));
            REQUIRE(read_all(k, &sealed, back, &len) == 0);
            CHECK(len == lens[i] && memcmp(plain, back, len) == 0);
            CHECK(lens[i] < 16 || !memmem(sealed.data, sealed.len, plain, 16));
        }
}

TEST(seal_objects_are_read_from_anywhere)
{
    _cleanup_seal_keys_ struct seal_keys *k = NULL;
    _cleanup_buf_ struct buf sealed = BUF_INIT(MIB);
    static uint8_t back[2 * PIECE];
    REQUIRE(seal_keys_make(&k, &err) == 0);
    REQUIRE(seal(k, SEAL_FOR_ALL, 2 * PIECE + 5, 999, &sealed));
    const struct flow_source source = flow_from(&sealed);
    static const struct {
        uint64_t at;
        size_t len;
        bool is_there;
    } rows[] = {{0, 1, true},          {PIECE - 1, 2, true},     {2 * PIECE + 4, 1, true},
                {5, 2 * PIECE, true},  {2 * PIECE + 5, 0, true}, {2 * PIECE + 4, 2, false},
                {UINT64_MAX, 1, false}};
    struct seal_reader *r = NULL;
    REQUIRE(seal_open(k, &source, &r, &err) == 0);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        tap_note("%zu at %llu", rows[i].len, (unsigned long long)rows[i].at);
        bool is_there = seal_read(r, rows[i].at, back, rows[i].len, &err) == 0;
        CHECK_EQ(is_there, rows[i].is_there);
        if (is_there)
            CHECK(memcmp(back, plain + rows[i].at, rows[i].len) == 0);
    }
    seal_reader_free(r);
}

TEST(seal_objects_never_repeat_themselves)
{
    _cleanup_seal_keys_ struct seal_keys *k = NULL;
    _cleanup_buf_ struct buf one = BUF_INIT(MIB), other = BUF_INIT(MIB);
    REQUIRE(seal_keys_make(&k, &err) == 0);
    REQUIRE(seal(k, SEAL_FOR_ALL, 3 * PIECE, PIECE, &one));
    REQUIRE(seal(k, SEAL_FOR_ALL, 3 * PIECE, PIECE, &other));
    CHECK(memcmp(one.data + HEAD, other.data + HEAD, 1000) != 0);
}

TEST(seal_objects_tell_every_flipped_bit)
{
    static uint8_t back[sizeof(plain)];
    _cleanup_seal_keys_ struct seal_keys *k = NULL;
    _cleanup_buf_ struct buf sealed = BUF_INIT(MIB);
    uint64_t len;
    REQUIRE(seal_keys_make(&k, &err) == 0);
    for (size_t bytes = 0; bytes <= 40; bytes += 40) {
        REQUIRE(seal(k, SEAL_FOR_READERS, bytes, PIECE, &sealed));
        for (size_t bit = 0; bit < 8 * sealed.len; bit++) {
            sealed.data[bit / 8] = (char)(sealed.data[bit / 8] ^ 1 << bit % 8);
            tap_note("bit %zu of %zu bytes", bit, bytes);
            CHECK(read_all(k, &sealed, back, &len) < 0);
            CHECK_EQ(err.id, ERR_SEAL_DAMAGED);
            sealed.data[bit / 8] = (char)(sealed.data[bit / 8] ^ 1 << bit % 8);
        }
    }
}

/* Cut off at a piece, pieces exchanged, a byte more, of another kind with a CRC that fits. */
TEST(seal_objects_tell_what_was_done_to_them)
{
    static uint8_t back[sizeof(plain)];
    static char spare[PIECE + 16];
    _cleanup_seal_keys_ struct seal_keys *k = NULL;
    _cleanup_buf_ struct buf sealed = BUF_INIT(MIB);
    const size_t piece = PIECE + 16;
    uint64_t len;
    REQUIRE(seal_keys_make(&k, &err) == 0);
    REQUIRE(seal(k, SEAL_FOR_ALL, 3 * PIECE, PIECE, &sealed));
    memcpy(spare, sealed.data + HEAD, piece);
    memcpy(sealed.data + HEAD, sealed.data + HEAD + piece, piece);
    memcpy(sealed.data + HEAD + piece, spare, piece);
    CHECK(read_all(k, &sealed, back, &len) < 0);
    CHECK_STR(err.what, "an encrypted object is not what was written, at bytes 128 to 65679");
    CHECK_STR(err.fix, "bring it back from a copy of the repository");

    static const size_t cuts[] = {2 * (PIECE + 16) + HEAD,
                                  PIECE + 16 + HEAD,
                                  HEAD + 16,
                                  HEAD + 15,
                                  HEAD + PIECE + 16 + 9,
                                  HEAD,
                                  1,
                                  0};
    for (size_t i = 0; i < ARRAY_SIZE(cuts); i++) {
        REQUIRE(seal(k, SEAL_FOR_ALL, 3 * PIECE, PIECE, &sealed));
        buf_truncate(&sealed, cuts[i]);
        tap_note("cut off at %zu", cuts[i]);
        CHECK(read_all(k, &sealed, back, &len) < 0);
        CHECK_EQ(err.id, ERR_SEAL_DAMAGED);
        CHECK_STR(err.fix, "bring it back from a copy of the repository");
    }
    REQUIRE(seal(k, SEAL_FOR_ALL, 100, PIECE, &sealed));
    buf_add_char(&sealed, 'x');
    CHECK(read_all(k, &sealed, back, &len) < 0);
    REQUIRE(seal(k, SEAL_FOR_ALL, 100, PIECE, &sealed));
    sealed.data[110] = 1; /* where there is nothing yet */
    put_u32((uint8_t *)sealed.data + 124, crc32c(0, sealed.data, 124));
    CHECK(read_all(k, &sealed, back, &len) < 0);
    for (int whom = 0; whom < 4; whom++) {
        REQUIRE(seal(k, SEAL_FOR_ALL, 100, PIECE, &sealed));
        sealed.data[16] = (char)whom;
        put_u32((uint8_t *)sealed.data + 124, crc32c(0, sealed.data, 124));
        CHECK_EQ(read_all(k, &sealed, back, &len) == 0, whom == SEAL_FOR_ALL);
    }
}

TEST(seal_objects_are_only_for_their_readers)
{
    static uint8_t back[sizeof(plain)];
    _cleanup_seal_keys_ struct seal_keys *k = NULL, *adds = NULL, *other = NULL;
    _cleanup_buf_ struct buf sealed = BUF_INIT(MIB);
    uint8_t file[SEAL_KEY_BYTES], name[32], same[32], digest[32] = {7};
    uint64_t len;
    REQUIRE(seal_keys_make(&k, &err) == 0);
    REQUIRE(seal_keys_make(&other, &err) == 0);
    REQUIRE(lock(k, "host", true, file) == 0 && unlock(file, "host", &adds) == 0);

    REQUIRE(seal(adds, SEAL_FOR_READERS, 100, 100, &sealed));
    CHECK(read_all(adds, &sealed, back, &len) < 0);
    CHECK_EQ(err.id, ERR_SEAL_ONLY_ADDS);
    CHECK(read_all(other, &sealed, back, &len) < 0);
    CHECK_EQ(err.id, ERR_SEAL_WRONG_KEY);
    REQUIRE(read_all(k, &sealed, back, &len) == 0);
    CHECK(len == 100 && memcmp(plain, back, 100) == 0);

    REQUIRE(seal(k, SEAL_FOR_ALL, 100, 100, &sealed));
    CHECK(read_all(adds, &sealed, back, &len) == 0);
    CHECK(read_all(other, &sealed, back, &len) < 0);

    seal_name(k, digest, name);
    seal_name(adds, digest, same);
    CHECK(memcmp(name, same, 32) == 0 && memcmp(name, digest, 32) != 0);
    seal_name(other, digest, same);
    CHECK(memcmp(name, same, 32) != 0);
}

/* Who knows the public key alone cannot make an object: the key to write is part of each. */
TEST(seal_objects_of_strangers_are_refused)
{
    static uint8_t back[sizeof(plain)];
    _cleanup_seal_keys_ struct seal_keys *k = NULL, *stranger = NULL;
    _cleanup_buf_ struct buf sealed = BUF_INIT(MIB);
    uint64_t len;
    REQUIRE(seal_keys_make(&k, &err) == 0);
    REQUIRE(seal_keys_make(&stranger, &err) == 0);
    memcpy(stranger->public, k->public, sizeof(k->public));
    REQUIRE(seal(stranger, SEAL_FOR_READERS, 100, 100, &sealed));
    CHECK(read_all(k, &sealed, back, &len) < 0);
    CHECK_EQ(err.id, ERR_SEAL_DAMAGED);
}

/* ---- what stands in repositories ---- */

static size_t
read_data(const char *name, uint8_t *ret, size_t room)
{
    char path[64];
    (void)snprintf(path, sizeof(path), "tests/data/seal/%s", name);
    FILE *f = fopen(tap_source(path), "rbe");
    size_t len = f ? fread(ret, 1, room, f) : 0;
    if (f)
        (void)fclose(f);
    return len;
}

TEST(seal_reads_what_version_1_has_written)
{
    static const char text[] = "what was sealed in 2026\n";
    _cleanup_seal_keys_ struct seal_keys *none = NULL, *k = NULL, *adds = NULL;
    _cleanup_buf_ struct buf sealed = BUF_INIT(MIB);
    uint8_t file[SEAL_KEY_BYTES], object[256], back[256];
    uint64_t len;
    REQUIRE(seal_keys_make(&none, &err) == 0);
    REQUIRE(read_data("key", file, sizeof(file)) == sizeof(file));
    REQUIRE(unlock(file, "of 2026", &k) == 0);
    REQUIRE(read_data("key_that_adds", file, sizeof(file)) == sizeof(file));
    REQUIRE(unlock(file,
                   "citadel-04K4-PW4N-QBFG-8AAE-EECB-VRG7-5H8Q-D6Y0-WM52-YN3S-KV1Y-G39J-AXY0-WEF5",
                   &adds) == 0);
    buf_add(&sealed, object, read_data("object", object, sizeof(object)));
    REQUIRE(read_all(k, &sealed, back, &len) == 0);
    CHECK(len == sizeof(text) - 1 && memcmp(back, text, len) == 0);
    seal_keys_forget_reading(k);
    CHECK(are_same(k, adds));
}
