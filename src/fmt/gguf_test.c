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
