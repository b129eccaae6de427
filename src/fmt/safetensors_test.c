#include "fmt/safetensors.h"

#include "base/buf.h"
#include "tests/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#define T(name, dtype, shape, begin, end)                                                          \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":[" shape "],\"data_offsets\":[" begin "," end \
    "]}"

static const struct {
    const char *header;
    const char *want; /* "COUNT DATA_BYTES", or what is wrong */
} headers[] = {
    {"{}", "0 0"},
    {"{}      ", "0 0"},
    {"{\"__metadata__\":{\"format\":\"pt\"}}", "0 0"},
    {"{" T("a", "BF16", "2,3", "0", "12") "}", "1 12"},
    {"{" T("a", "F32", "", "0", "4") "}", "1 4"},
    {"{" T("a", "F32", "0,7", "0", "0") "}", "1 0"},
    {"{" T("a", "F4", "3,2", "0", "3") "}", "1 3"},
    {"{" T("a", "F8_E4M3", "3", "0", "3") "," T("b", "U8", "5", "3", "8") "}", "2 8"},
    /* any order is good, as long as nothing is left out */
    {"{" T("b", "U8", "5", "3", "8") "," T("a", "I8", "3", "0", "3") "}", "2 8"},
    {"{" T("b", "U8", "5", "3", "8") "," T("e", "U8", "0", "3", "3") "," T("a", "I8", "3", "0",
                                                                           "3") "}",
     "3 8"},
    {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,8],\"dtype\":\"I64\",\"more\":null}}", "1 8"},

    {"", "its header does not begin with '{'"},
    {" {}", "its header does not begin with '{'"},
    {"[]", "its header does not begin with '{'"},
    {"{", "its header, column 2: expected a name in quotes, or '}', found the end of the document"},
    {"{}\x01", "its header, column 3: expected the end of the document, found byte 0x01"},
    {"{\"a\":1}", "tensor 'a' has no dtype"},
    {"{\"a\":[]}", "tensor 'a' has no dtype"},
    {"{\"a\":{\"dtype\":\"F32\"}}", "tensor 'a' has no shape"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", "tensor 'a' has no data_offsets"},
    {"{" T("a", "F33", "1", "0", "4") "}", "tensor 'a' has the dtype 'F33', which is not known"},
    {"{" T("a", "f32", "1", "0", "4") "}", "tensor 'a' has the dtype 'f32', which is not known"},
    {"{\"a\":{\"dtype\":4,\"shape\":[1],\"data_offsets\":[0,4]}}",
     "tensor 'a' has the dtype a number, which is not known"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":4,\"data_offsets\":[0,4]}}",
     "the shape of tensor 'a' is a number, not a list"},
    {"{" T("a", "F32", "-1", "0", "4") "}", "the shape of tensor 'a' holds -1"},
    {"{" T("a", "F32", "1.0", "0", "4") "}", "the shape of tensor 'a' holds 1.0"},
    {"{" T("a", "F32", "1e0", "0", "4") "}", "the shape of tensor 'a' holds 1e0"},
    {"{" T("a", "F32", "null", "0", "4") "}", "the shape of tensor 'a' holds nothing"},
    {"{" T("a", "F32", "18446744073709551616", "0", "4") "}",
     "the shape of tensor 'a' holds 18446744073709551616"},
    {"{" T("a", "F32", "4294967296,4294967296", "0", "4") "}",
     "the shape of tensor 'a' has more than 2^64 elements"},
    {"{" T("a", "F32", "4611686018427387905", "0", "4") "}",
     "tensor 'a' has 4 bytes, which is not 4611686018427387905 times F32"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]}}",
     "the data_offsets of tensor 'a' are not two sizes"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,\"4\"]}}",
     "the data_offsets of tensor 'a' are not two sizes"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":{}}}",
     "the data_offsets of tensor 'a' are not two sizes"},
    {"{" T("a", "F32", "1", "4", "0") "}", "tensor 'a' cannot reach from byte 4 to 0"},
    {"{" T("a", "U8", "9223372036854775808", "0", "9223372036854775808") "}",
     "tensor 'a' cannot reach from byte 0 to 9223372036854775808"},
    {"{" T("a", "F32", "1", "0", "5") "}", "tensor 'a' has 5 bytes, which is not 1 times F32"},
    {"{" T("a", "F4", "3", "0", "1") "}", "tensor 'a' has 1 bytes, which is not 3 times F4"},
    {"{" T("a", "U8", "4", "0", "4") "," T("b", "U8", "4", "2", "6") "}",
     "tensor 'b' overlaps tensor 'a'"},
    {"{" T("a", "U8", "4", "0", "4") "," T("b", "U8", "4", "0", "4") "}",
     "tensor 'b' overlaps tensor 'a'"},
    {"{" T("a", "U8", "4", "0", "4") "," T("b", "U8", "4", "8", "12") "}",
     "bytes 4 to 8, before tensor 'b', are of no tensor"},
    {"{" T("a", "U8", "4", "8", "12") "}", "bytes 0 to 8, before tensor 'a', are of no tensor"},
    {"{" T("a", "U8", "1", "0", "1") "," T("a", "U8", "1", "1", "2") "}",
     "its header, column 54: the name 'a' stands twice in a map"},
    {"{" T("a\\u001b[2J", "F33", "1", "0", "4") "}",
     "tensor 'a?[2J' has the dtype 'F33', which is not known"},
};

TEST(headers_are_read_or_refused)
{
    for (size_t i = 0; i < ARRAY_SIZE(headers); i++) {
        _cleanup_arena_ struct arena arena;
        struct safetensors st = {0};
        struct safetensors_errors errors;
        char got[64];
        tap_note("%s", headers[i].header);
        arena_init(&arena, MIB);
        int r =
            safetensors_parse(&arena, headers[i].header, strlen(headers[i].header), &st, &errors);
        (void)snprintf(got, sizeof(got), "%zu %llu", st.count, (unsigned long long)st.data_bytes);
        CHECK_STR(r < 0 ? errors.told[0].what : got, headers[i].want);
        CHECK_EQ(r, r < 0 ? -EBADMSG : 0);
        CHECK_EQ(errors.count, r < 0);
    }
}

TEST(every_tensor_that_is_wrong_is_told)
{
    static const struct {
        const char *header, *want[4];
    } rows[] = {
        {"{" T("a", "F33", "1", "0", "4") "," T("b", "U8", "1", "0",
                                                "1") ",\"c\":7," T("d", "U8", "-1", "0", "1") "}",
         {"tensor 'a' has the dtype 'F33', which is not known", "tensor 'c' has no dtype",
          "the shape of tensor 'd' holds -1"}},
        {"{" T("a", "U8", "4", "0", "4") "," T("b", "U8", "1", "1", "2") "," T(
             "c", "U8", "1", "3", "4") "," T("d", "U8", "1", "6", "7") "}",
         {"tensor 'b' overlaps tensor 'a'", "tensor 'c' overlaps tensor 'a'",
          "bytes 4 to 6, before tensor 'd', are of no tensor"}},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_arena_ struct arena arena;
        struct safetensors_errors errors;
        struct safetensors st;
        size_t count = 0;
        arena_init(&arena, MIB);
        CHECK_EQ(safetensors_parse(&arena, rows[i].header, strlen(rows[i].header), &st, &errors),
                 -EBADMSG);
        for (; rows[i].want[count]; count++)
            CHECK_STR(count < errors.count ? errors.told[count].what : NULL, rows[i].want[count]);
        CHECK_EQ(errors.count, count);
    }
}

TEST(what_is_told_of_a_header_has_a_ceiling)
{
    _cleanup_buf_ struct buf header = BUF_INIT(MIB);
    _cleanup_arena_ struct arena arena;
    struct safetensors_errors errors;
    struct safetensors st;
    for (int i = 0; i < 1000; i++)
        buf_printf(&header, "%c\"%d\":0", i ? ',' : '{', i);
    buf_add_char(&header, '}');
    arena_init(&arena, MIB);
    CHECK_EQ(safetensors_parse(&arena, header.data, header.len, &st, &errors), -EBADMSG);
    CHECK_EQ(errors.count, 1000);
    CHECK_STR(errors.told[SAFETENSORS_TOLD_MAX - 1].what, "tensor '7' has no dtype");
}

TEST(tensors_are_told)
{
    static const char header[] = "{\"__metadata__\":{\"format\":\"pt\"}," T(
        "b", "BF16", "2,3", "4", "16") "," T("a", "F32", "", "0", "4") "}";
    _cleanup_arena_ struct arena arena;
    struct safetensors_errors errors;
    struct safetensors st;
    arena_init(&arena, MIB);
    REQUIRE(safetensors_parse(&arena, header, strlen(header), &st, &errors) == 0);
    REQUIRE(st.count == 2);
    CHECK_STR(st.tensors[0].name, "b");
    CHECK_STR(safetensors_dtype_name(st.tensors[0].dtype), "BF16");
    CHECK_EQ(safetensors_dtype_bits(st.tensors[0].dtype), 16);
    CHECK_EQ(st.tensors[0].elements, 6);
    CHECK_EQ(st.tensors[1].elements, 1);
    CHECK_EQ(st.tensors[0].begin, 4);
    CHECK_EQ(st.data_at, 8 + strlen(header));
    CHECK_EQ(st.data_bytes, 16);
    CHECK_STR(value_str(value_get(st.metadata, "format")), "pt");
}

/* A file in memory: the length of the header as told, the header, and a size of its own. */
static int
make_file(uint64_t told, const char *header, uint64_t file_bytes)
{
    int fd = memfd_create("safetensors", MFD_CLOEXEC);
    unsigned char len[8];
    for (int i = 0; i < 8; i++)
        len[i] = (unsigned char)(told >> (8 * i));
    CHECK(pwrite(fd, len, 8, 0) == 8);
    CHECK(pwrite(fd, header, strlen(header), 8) == (ssize_t)strlen(header));
    CHECK(ftruncate(fd, (off_t)file_bytes) == 0);
    return fd;
}

TEST(files_may_lie_about_the_header)
{
    static const struct {
        uint64_t told, file_bytes;
        int err;
        const char *want;
    } files[] = {
        {2, 10, 0, ""},
        {2, 2048, 0, ""},
        {0, 0, -ENODATA, "it has 0 bytes, fewer than the length of a header takes"},
        {2, 7, -ENODATA, "it has 7 bytes, fewer than the length of a header takes"},
        {0, 8, -EBADMSG, "its header does not begin with '{'"},
        {2, 9, -ENODATA, "it has 9 bytes, and its header alone needs 10"},
        {3, 10, -ENODATA, "it has 10 bytes, and its header alone needs 11"},
        {1, 10, -EBADMSG,
         "its header, column 2: expected a name in quotes, or '}', found the end "
         "of the document"},
        {100000000, 10, -ENODATA, "it has 10 bytes, and its header alone needs 100000008"},
        {100000001, 10, -EBADMSG,
         "its header claims 100000001 bytes, more than the 100000000 that are allowed"},
        {UINT64_C(1) << 63, 4096, -EBADMSG,
         "its header claims 9223372036854775808 bytes, more than the 100000000 that are allowed"},
        {UINT64_MAX, 4096, -EBADMSG,
         "its header claims 18446744073709551615 bytes, more than the 100000000 that are allowed"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        _cleanup_arena_ struct arena arena;
        struct safetensors st;
        struct safetensors_errors errors;
        tap_note("row %zu", i);
        _cleanup_close_ int fd = make_file(files[i].told, "{}", files[i].file_bytes);
        arena_init(&arena, MIB);
        CHECK_EQ(safetensors_read(&arena, fd, files[i].file_bytes, &st, &errors), files[i].err);
        CHECK_STR(errors.count ? errors.told[0].what : "", files[i].want);
    }
}

TEST(long_headers_take_a_second_read)
{
    _cleanup_buf_ struct buf header = BUF_INIT(4 * MIB);
    _cleanup_arena_ struct arena arena;
    struct safetensors_errors errors;
    struct safetensors st;
    buf_add_char(&header, '{');
    for (int i = 0; i < 5000; i++)
        buf_printf(&header,
                   "%s\"layer.%d\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[%d,%d]}",
                   i ? "," : "", i, 2 * i, 2 * i + 2);
    buf_add_char(&header, '}');
    CHECK(header.len > 200 * KIB);
    _cleanup_close_ int fd = make_file(header.len, header.data, header.len + 8 + 10000);
    arena_init(&arena, SAFETENSORS_ARENA_MAX);
    REQUIRE(safetensors_read(&arena, fd, header.len + 8 + 10000, &st, &errors) == 0);
    CHECK_EQ(st.count, 5000);
    CHECK_EQ(st.data_bytes, 10000);
    CHECK_STR(st.tensors[4999].name, "layer.4999");
}

TEST(a_file_that_shrinks_is_noticed)
{
    _cleanup_arena_ struct arena arena;
    struct safetensors st;
    struct safetensors_errors errors;
    _cleanup_close_ int fd = make_file(2, "{}", 10);
    arena_init(&arena, MIB);
    CHECK_EQ(safetensors_read(&arena, fd, 4096, &st, &errors), -ENODATA);
    CHECK_STR(errors.told[0].what, "it ended while it was read");
}

TEST(header_memory_has_a_ceiling)
{
    static const char header[] =
        "{" T("a", "U8", "1", "1", "2") "," T("b", "U8", "1", "0", "1") "}";
    int refused = 0;
    for (size_t ceiling = 0; ceiling < 4096; ceiling += 16) {
        _cleanup_arena_ struct arena arena;
        struct safetensors_errors errors;
        struct safetensors st;
        arena_init(&arena, ceiling);
        int r = safetensors_parse(&arena, header, strlen(header), &st, &errors);
        CHECK(r == 0 || r == -EFBIG);
        refused += r < 0;
    }
    CHECK(refused > 10 && refused < 200);
}
