#include "backup/cut.h"

#include "base/hash.h"
#include "fmt/safetensors.h"

#include <endian.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WINDOW 64 /* bytes: what is further back has left the sum by its highest bit */

/* ---- by content ---- */

static uint64_t gear[256];

static void
make_gear(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(gear); i++) {
        const uint8_t byte = (uint8_t)i;
        uint8_t digest[HASH_SHA256_BYTES];
        struct hash_sha256 hash;
        hash_sha256_init(&hash);
        hash_sha256_update(&hash, &byte, 1);
        hash_sha256_final(&hash, digest);
        memcpy(&gear[i], digest, sizeof(gear[i]));
        gear[i] = le64toh(gear[i]);
    }
}

static size_t
length_by_content(const uint8_t *bytes, size_t len)
{
    static pthread_once_t made = PTHREAD_ONCE_INIT;
    const int r = pthread_once(&made, make_gear);
    assert(r == 0);
    uint64_t sum = 0;
    for (size_t i = CUT_MIN - WINDOW; i < len; i++) {
        sum = (sum << 1) + gear[bytes[i]];
        if (sum >> (64 - CUT_BITS) == 0 && i + 1 >= CUT_MIN)
            return i + 1;
    }
    return len;
}

uint64_t
cut_reach(const struct cut_region *region, uint64_t at)
{
    uint64_t segment = region->begin + ((at - region->begin) / CUT_SEGMENT + 1) * CUT_SEGMENT;
    uint64_t most = at + (region->tensor ? CUT_BLOCK : CUT_MAX);
    assert(at >= region->begin && at < region->end);
    return MIN(MIN(region->end, most), segment);
}

size_t
cut_length(const struct cut_region *region, const uint8_t *bytes, size_t len)
{
    return region->tensor || len <= CUT_MIN ? len : length_by_content(bytes, len);
}

/* ---- weights ---- */

/* Numbers without a form of their own are bytes: many weights of eight bits and less are. */
static enum codec_form
form_of(enum safetensors_dtype dtype)
{
    switch (safetensors_dtype_bits(dtype)) {
    case 16:
        return dtype == SAFETENSORS_BF16  ? CODEC_BF16
               : dtype == SAFETENSORS_F16 ? CODEC_F16
                                          : CODEC_PLAIN;
    case 32:
        return dtype == SAFETENSORS_F32 ? CODEC_F32 : CODEC_PLAIN;
    case 64:
        return CODEC_PLAIN;
    default:
        return CODEC_F8;
    }
}

static int
by_place(const void *a, const void *b)
{
    const struct cut_region *x = a, *y = b;
    return (x->begin > y->begin) - (x->begin < y->begin);
}

static int
take_tensors(struct arena *arena, const struct safetensors *file, struct cut_layout *ret)
{
    struct cut_region *r = arena_alloc(arena, (file->count + 1) * sizeof(*r));
    size_t n = 0;
    if (!r)
        return -ENOMEM;
    r[n++] = (struct cut_region){0, file->data_at, NULL, CODEC_PLAIN};
    for (size_t i = 0; i < file->count; i++) {
        const struct safetensors_tensor *t = &file->tensors[i];
        if (t->end > t->begin)
            r[n++] = (struct cut_region){file->data_at + t->begin, file->data_at + t->end, t->name,
                                         form_of(t->dtype)};
    }
    qsort(r, n, sizeof(*r), by_place);
    *ret = (struct cut_layout){r, n};
    return 0;
}

static int
take_whole(struct arena *arena, uint64_t file_bytes, struct cut_layout *ret)
{
    struct cut_region *r = arena_alloc(arena, sizeof(*r));
    if (!r)
        return -ENOMEM;
    *r = (struct cut_region){0, file_bytes, NULL, CODEC_PLAIN};
    *ret = (struct cut_layout){r, file_bytes > 0};
    return 0;
}

/* Reading a header costs more than seeing that it can be none: 8 bytes of length, then a brace. */
static bool
may_be_safetensors(int fd, uint64_t file_bytes)
{
    uint8_t head[9];
    uint64_t len;
    if (pread(fd, head, sizeof(head), 0) != sizeof(head) || head[8] != '{')
        return false;
    memcpy(&len, head, sizeof(len));
    len = le64toh(len);
    return len <= SAFETENSORS_HEADER_MAX && len <= file_bytes - 8;
}

int
cut_layout(struct arena *arena, int fd, uint64_t file_bytes, struct cut_layout *ret)
{
    struct safetensors_errors *errors = arena_new(arena, struct safetensors_errors);
    struct safetensors file;
    if (!errors)
        return -ENOMEM;
    if (!may_be_safetensors(fd, file_bytes))
        return take_whole(arena, file_bytes, ret);
    int r = safetensors_read(arena, fd, file_bytes, &file, errors);
    if (arena->full) { /* more tensors than there is room for */
        arena_clear(arena);
        return take_whole(arena, file_bytes, ret);
    }
    if (r < 0 && r != -EBADMSG && r != -ENODATA)
        return r;
    if (r < 0 || file.data_at + file.data_bytes != file_bytes)
        return take_whole(arena, file_bytes, ret);
    return take_tensors(arena, &file, ret);
}
