/* Any bytes as the beginning of a safetensors file, which claims to have 1 MiB more than there is.
 * In a header that is accepted the tensors fill the data: every byte belongs to exactly one. */

#include "fmt/safetensors.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define CEILING (4 * MIB)
#define FIRST_BYTES 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void
check_tensors(const struct safetensors *st)
{
    unsigned __int128 bits = 0;
    uint64_t end = 0;
    for (size_t i = 0; i < st->count; i++) {
        const struct safetensors_tensor *t = &st->tensors[i];
        assert(t->name && t->dtype < SAFETENSORS_DTYPES);
        assert(t->begin <= t->end && t->end <= st->data_bytes);
        bits += (unsigned __int128)t->elements * safetensors_dtype_bits(t->dtype);
        end = MAX(end, t->end);
    }
    assert(end == st->data_bytes && bits == (unsigned __int128)st->data_bytes * 8);
    assert(!__builtin_add_overflow(st->data_at, st->data_bytes, &end));
}

/* As a file: what it says is what the header alone says. */
static void
check_file(const uint8_t *data, size_t len, uint64_t claimed)
{
    _cleanup_arena_ struct arena arena;
    struct safetensors st;
    struct safetensors_errors errors;
    _cleanup_close_ int fd = memfd_create("safetensors", MFD_CLOEXEC);
    assert(fd >= 0 && write(fd, data, len) == (ssize_t)len);
    arena_init(&arena, CEILING);
    int r = safetensors_read(&arena, fd, claimed, &st, &errors);
    assert((r == 0) == (errors.count == 0));
    if (r == 0) {
        assert(st.data_at <= len);
        check_tensors(&st);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    _cleanup_arena_ struct arena arena;
    struct safetensors st;
    struct safetensors_errors errors;
    arena_init(&arena, CEILING);
    check_file(data, len, len);
    check_file(data, len, len + MIB);
    if (len < FIRST_BYTES)
        return 0;
    /* The header without its length, in memory that ends where it does. */
    size_t header_len = len - FIRST_BYTES;
    char *header = malloc(header_len ? header_len : 1);
    assert(header);
    memcpy(header, data + FIRST_BYTES, header_len);
    int r = safetensors_parse(&arena, header, header_len, &st, &errors);
    assert((r == 0) == (errors.count == 0));
    if (r == 0)
        check_tensors(&st);
    free(header);
    return 0;
}
