#include "backup/cut.h"

#include "base/hash.h"
#include "fmt/gguf.h"
#include "fmt/safetensors.h"

#include <endian.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WINDOW 64    /* bytes: what is further back has left the sum by its highest bit */
#define HEAD_BYTES 9 /* of a file, which tell what it may be */

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

/* ---- safetensors ---- */

/* 8 bytes of length, then a brace. Reading the rest costs more than seeing that it can be none. */
static bool
may_be_safetensors(const uint8_t head[HEAD_BYTES], uint64_t file_bytes)
{
    uint64_t len;
    memcpy(&len, head, sizeof(len));
    len = le64toh(len);
    return head[8] == '{' && len <= SAFETENSORS_HEADER_MAX && len <= file_bytes - 8;
}

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
find_in_safetensors(struct arena *arena, int fd, uint64_t file_bytes, struct cut_layout *ret)
{
    struct safetensors_errors *errors = arena_new(arena, struct safetensors_errors);
    struct safetensors file;
    int r = errors ? safetensors_read(arena, fd, file_bytes, &file, errors) : -ENOMEM;
    if (r == 0 && file.data_at + file.data_bytes != file_bytes)
        r = -EBADMSG;
    struct cut_region *regions =
        r == 0 ? arena_alloc(arena, (file.count + 1) * sizeof(*regions)) : NULL;
    size_t n = 0;
    if (!regions)
        return r < 0 ? r : -ENOMEM;
    regions[n++] = (struct cut_region){0, file.data_at, NULL, CODEC_PLAIN};
    for (size_t i = 0; i < file.count; i++) {
        const struct safetensors_tensor *t = &file.tensors[i];
        if (t->end > t->begin)
            regions[n++] = (struct cut_region){file.data_at + t->begin, file.data_at + t->end,
                                               t->name, form_of(t->dtype)};
    }
    qsort(regions, n, sizeof(*regions), by_place);
    *ret = (struct cut_layout){regions, n};
    return 0;
}

/* ---- GGUF ---- */

static bool
may_be_gguf(const uint8_t head[HEAD_BYTES], uint64_t file_bytes unused_arg)
{
    return memcmp(head, "GGUF", 4) == 0;
}

/* What is not made of plain numbers has scales among them, and no planes. */
static enum codec_form
form_of_gguf(uint32_t type)
{
    switch (type) {
    case GGUF_F32:
        return CODEC_F32;
    case GGUF_F16:
        return CODEC_F16;
    case GGUF_BF16:
        return CODEC_BF16;
    default:
        return CODEC_PLAIN;
    }
}

static int
find_in_gguf(struct arena *arena, int fd, uint64_t file_bytes, struct cut_layout *ret)
{
    struct gguf_tensors file;
    int r = gguf_read_tensors(arena, fd, file_bytes, &file, NULL);
    if (r == 0 && file.count == 0)
        r = -EBADMSG;
    struct cut_region *regions =
        r == 0 ? arena_alloc(arena, (file.count + 1) * sizeof(*regions)) : NULL;
    if (!regions)
        return r < 0 ? r : -ENOMEM;
    regions[0] = (struct cut_region){0, file.items[0].begin, NULL, CODEC_PLAIN};
    for (size_t i = 0; i < file.count; i++) {
        const struct gguf_tensor *t = &file.items[i];
        regions[i + 1] = (struct cut_region){t->begin, t->end, t->name, form_of_gguf(t->type)};
    }
    *ret = (struct cut_layout){regions, file.count + 1};
    return 0;
}

/* ---- a file ---- */

/* Of weights, by how they begin. find: -EBADMSG or -ENODATA of what is none after all, or not whole;
 * -ENOMEM of more tensors than the arena has room for. */
static const struct {
    bool (*may_be)(const uint8_t head[HEAD_BYTES], uint64_t file_bytes);
    int (*find)(struct arena *arena, int fd, uint64_t file_bytes, struct cut_layout *ret);
} formats[] = {{may_be_safetensors, find_in_safetensors}, {may_be_gguf, find_in_gguf}};

bool
cut_may_have_tensors(const uint8_t *bytes, size_t len, uint64_t file_bytes)
{
    bool may = false;
    for (size_t i = 0; i < ARRAY_SIZE(formats) && len >= HEAD_BYTES; i++)
        may = may || formats[i].may_be(bytes, file_bytes);
    return may;
}

static int
take_whole(struct arena *arena, uint64_t file_bytes, struct cut_layout *ret)
{
    arena_clear(arena);
    struct cut_region *r = arena_alloc(arena, sizeof(*r));
    if (!r)
        return -ENOMEM;
    *r = (struct cut_region){0, file_bytes, NULL, CODEC_PLAIN};
    *ret = (struct cut_layout){r, file_bytes > 0};
    return 0;
}

int
cut_layout(struct arena *arena, int fd, uint64_t file_bytes, struct cut_layout *ret)
{
    uint8_t head[HEAD_BYTES];
    int r = -EBADMSG;
    if (pread(fd, head, sizeof(head), 0) != sizeof(head))
        return take_whole(arena, file_bytes, ret);
    for (size_t i = 0; i < ARRAY_SIZE(formats) && r == -EBADMSG; i++)
        if (formats[i].may_be(head, file_bytes))
            r = formats[i].find(arena, fd, file_bytes, ret);
    return r == -EBADMSG || r == -ENODATA || r == -ENOMEM ? take_whole(arena, file_bytes, ret) : r;
}
