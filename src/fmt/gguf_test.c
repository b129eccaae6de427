#include "fmt/gguf.h"

#include "tests/tap.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

TEST(gguf_heads_are_read_or_refused)
{
    static const struct {
        char head[24];
        size_t len;
        uint64_t file_bytes;
        const char *want; /* NULL: 2 tensors, 1 pair */
    } rows[] = {
        {"GGUF\3\0\0\0\2\0\0\0\0\0\0\0\1\0\0\0\0\0\0", 24, 24 + 2 * 24 + 13, NULL},
        {"GGUF\2\0\0\0\2\0\0\0\0\0\0\0\1\0\0\0\0\0\0", 24, UINT64_C(1) << 40, NULL},
        {"GGUF\3\0\0\0\2\0\0\0\0\0\0\0\1\0\0\0\0\0\0", 24, 24 + 2 * 24 + 12,
         "its 84 bytes cannot hold 2 tensors and 1 pairs"},
        {"GGUF\3\0\0\0\0\0\0\0\0\0\0\200\0\0\0\0\0\0\0\200", 24, 24,
         "its 24 bytes cannot hold 9223372036854775808 tensors and 9223372036854775808 pairs"},
        {"GGUF", 4, 4, "it has 4 bytes, fewer than the 24 of a head"},
        {"", 0, 0, "it has 0 bytes, fewer than the 24 of a head"},
        {"GGML\3", 24, 24, "it does not begin with 'GGUF'"},
        {"GGUF\1", 24, 24, "its version is 1, and known are 2 and 3"},
        {"GGUF\0\0\0\3", 24, 24, "its version is 50331648, and known are 2 and 3"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct gguf g = {0};
        struct err err = {0};
        tap_note("row %zu", i);
        _cleanup_close_ int fd = memfd_create("gguf", MFD_CLOEXEC);
        CHECK(pwrite(fd, rows[i].head, rows[i].len, 0) == (ssize_t)rows[i].len);
        CHECK_EQ(gguf_read(fd, rows[i].file_bytes, &g, &err), rows[i].want ? -EBADMSG : 0);
        CHECK_STR(err.what, rows[i].want ? rows[i].want : "");
        CHECK_EQ(g.tensors, rows[i].want ? 0 : 2);
        CHECK_EQ(g.pairs, rows[i].want ? 0 : 1);
    }
}

/* ---- its tensors ---- */

struct bytes {
    unsigned char data[1024];
    size_t len;
};

static void
add(struct bytes *b, uint64_t number, size_t len)
{
    for (size_t i = 0; i < len; i++)
        b->data[b->len++] = (unsigned char)(i < 8 ? number >> 8 * i : 0);
}

static void
add_text(struct bytes *b, const char *text)
{
    add(b, strlen(text), 8);
    memcpy(b->data + b->len, text, strlen(text));
    b->len += strlen(text);
}

static void
begin(struct bytes *b, uint64_t tensors, uint64_t pairs)
{
    *b = (struct bytes){.data = "GGUF\3", .len = 8};
    add(b, tensors, 8);
    add(b, pairs, 8);
}

static void
add_tensor(struct bytes *b, const char *name, uint64_t elements, unsigned type, uint64_t offset)
{
    add_text(b, name);
    add(b, 2, 4);
    add(b, elements, 8);
    add(b, 1, 8);
    add(b, type, 4);
    add(b, offset, 8);
}

/* The file ends as many bytes behind the multiple of its alignment at which the tensors begin. */
static int
read_all(struct bytes *b, size_t alignment, size_t data, struct gguf_tensors *ret, struct err *err)
{
    static struct arena arena;
    arena_finish(&arena);
    arena_init(&arena, 64 * KIB);
    _cleanup_close_ int fd = memfd_create("gguf", MFD_CLOEXEC);
    size_t file_bytes = (b->len + alignment - 1) / alignment * alignment + data;
    CHECK(pwrite(fd, b->data, b->len, 0) == (ssize_t)b->len && ftruncate(fd, file_bytes) == 0);
    int r = gguf_read_tensors(&arena, fd, file_bytes, ret, err);
    if (r < 0)
        arena_finish(&arena);
    return r;
}

/* They come by place; what is said before them is passed over, but for their alignment. */
TEST(gguf_tensors_are_found_at_their_places)
{
    struct bytes b;
    struct gguf_tensors t = {0};
    struct err err = {0};
    begin(&b, 3, 4);
    add_text(&b, "general.architecture");
    add(&b, 8, 4);
    add_text(&b, "llama");
    add_text(&b, "tokens"); /* a list of texts */
    add(&b, 9, 4);
    add(&b, 8, 4);
    add(&b, 2, 8);
    add_text(&b, "a");
    add_text(&b, "");
    add_text(&b, "lists"); /* a list of lists of 2 bytes */
    add(&b, 9, 4);
    add(&b, 9, 4);
    add(&b, 1, 8);
    add(&b, 2, 4);
    add(&b, 3, 8);
    add(&b, 0, 6);
    add_text(&b, "general.alignment");
    add(&b, 4, 4);
    add(&b, 64, 4);
    add_tensor(&b, "second", 10, GGUF_BF16, 128);
    add_tensor(&b, "first", 100, 12, 0);
    add_tensor(&b, "nothing", 0, GGUF_F32, 64);
    const uint64_t data = (b.len + 63) / 64 * 64;
    CHECK_EQ(read_all(&b, 64, 150, &t, &err), 0);
    CHECK_STR(err.what, "");
    REQUIRE(t.count == 2);
    CHECK_STR(t.items[0].name, "first");
    CHECK_EQ(t.items[0].begin, data);
    CHECK_EQ(t.items[0].end, data + 128);
    CHECK_EQ(t.items[0].type, 12);
    CHECK_STR(t.items[1].name, "second");
    CHECK_EQ(t.items[1].type, GGUF_BF16);
    CHECK_EQ(t.items[1].end, data + 150);
    struct bytes none = {0};
    CHECK_EQ(read_all(&none, 64, 0, &t, &err), -EBADMSG); /* and the arena is gone */
}

static void
refuse(struct bytes *b, const char *want)
{
    struct gguf_tensors t = {0};
    struct err err = {0};
    CHECK_EQ(read_all(b, 32, 96, &t, &err), -EBADMSG);
    CHECK_STR(err.what, want);
    CHECK_EQ(t.count, 0);
}

static void
begin_pair(struct bytes *b, const char *name, unsigned type)
{
    begin(b, 1, 1);
    add_text(b, name);
    add(b, type, 4);
}

TEST(gguf_tensors_that_cannot_be_are_refused)
{
    static const char beyond[] =
        "what is before its tensors does not end within its first 192 bytes";
    static const struct {
        uint64_t elements, offset;
        const char *want;
    } rows[] = {
        {1, 31, "tensor 'a' has the offset 31, no multiple of 32"},
        {1, 96, "tensor 'a' has the offset 96, behind the end of the file"},
        {1, UINT64_MAX - 31,
         "tensor 'a' has the offset 18446744073709551584, behind the end of the file"},
        {1, 32, "the tensors 'a' and 'b' lie at the same place"},
    };
    struct bytes b;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        tap_note("row %zu", i);
        begin(&b, 2, 0);
        add_tensor(&b, "a", rows[i].elements, 0, rows[i].offset);
        add_tensor(&b, "b", 1, 0, 32);
        refuse(&b, rows[i].want);
    }
    begin(&b, 1, 0);
    add_text(&b, "a");
    add(&b, 2, 4);
    add(&b, UINT64_C(1) << 40, 8);
    add(&b, UINT64_C(1) << 40, 8);
    add(&b, 0, 12);
    refuse(&b, "tensor 'a' has more than 2^64 elements");
    begin(&b, 1, 0);
    add_text(&b, "a");
    add(&b, 5, 4);
    add(&b, 0, 40);
    refuse(&b, "tensor 'a' has 5 dimensions, of at most 4");
    begin(&b, 1, 0);
    add(&b, UINT64_C(1) << 63, 8);
    add(&b, 0, 40);
    refuse(&b, "a tensor's name has 9223372036854775808 bytes, of at most 65535");
    begin_pair(&b, "general.alignment", 4);
    add(&b, 48, 4);
    add_tensor(&b, "a", 1, 0, 0);
    refuse(&b, "its alignment is 48, not a power of 2 up to 1048576");
    begin_pair(&b, "x", 13);
    add_tensor(&b, "a", 1, 0, 0);
    refuse(&b, "a value has the type 13, which is not known");
    begin_pair(&b, "x", 9); /* 2^62 numbers of 8 bytes: as a product, none */
    add(&b, 10, 4);
    add(&b, UINT64_C(1) << 61, 8);
    add_tensor(&b, "a", 1, 0, 0);
    refuse(&b, beyond);
    begin_pair(&b, "x", 9);
    for (int i = 0; i < 6; i++) {
        add(&b, 9, 4);
        add(&b, 1, 8);
    }
    refuse(&b, "it has more than 4 lists, one within the other");
}
