#include "fmt/gguf.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HEAD_BYTES 24
/* The least that one of them takes: a name's length, a type and a value; a name's length, the
 * number of dimensions, a type and a place. */
#define PAIR_BYTES 13
#define TENSOR_BYTES 24

#define NAME_MAX_BYTES 65535 /* the format's own limit, of names of pairs */
#define DIMENSIONS_MAX 4     /* ggml's own */
#define LISTS_MAX 4          /* one within the other */
#define ALIGNMENT 32
#define ALIGNMENT_MAX (1U << 20)

static uint64_t
read_number(const unsigned char *bytes, size_t len)
{
    uint64_t n = 0;
    while (len-- > 0)
        n = n << 8 | bytes[len];
    return n;
}

int
gguf_read(int fd, uint64_t file_bytes, struct gguf *ret, struct err *reterr)
{
    unsigned char head[HEAD_BYTES];
    ssize_t n = pread(fd, head, sizeof(head), 0);
    if (n < 0)
        return err_set_errno(reterr, errno, "it cannot be read");
    if (n < HEAD_BYTES)
        return err_set(reterr, ERR_GGUF, "it has %zd bytes, fewer than the %d of a head", n,
                       HEAD_BYTES);
    struct gguf g = {.version = (unsigned)read_number(head + 4, 4),
                     .tensors = read_number(head + 8, 8),
                     .pairs = read_number(head + 16, 8)};
    if (memcmp(head, "GGUF", 4) != 0)
        return err_set(reterr, ERR_GGUF, "it does not begin with 'GGUF'");
    if (g.version < 2 || g.version > 3)
        return err_set(reterr, ERR_GGUF, "its version is %u, and known are 2 and 3", g.version);
    unsigned __int128 least = (unsigned __int128)g.tensors * TENSOR_BYTES;
    least += (unsigned __int128)g.pairs * PAIR_BYTES;
    if (file_bytes < HEAD_BYTES || least > file_bytes - HEAD_BYTES)
        return err_set(reterr, ERR_GGUF,
                       "its %" PRIu64 " bytes cannot hold %" PRIu64 " tensors and %" PRIu64
                       " pairs",
                       file_bytes, g.tensors, g.pairs);
    *ret = g;
    return 0;
}

/* ---- what is before the tensors ---- */

struct reader {
    int fd;
    uint64_t at, end; /* of the file, and as far as it may be read */
    uint64_t piece_at;
    size_t piece_len;
    unsigned char piece[16384];
};

static int
past_end(const struct reader *r, struct err *reterr)
{
    return err_set(reterr, ERR_GGUF,
                   "what is before its tensors does not end within its first %" PRIu64 " bytes",
                   r->end);
}

static int
fill(struct reader *r, struct err *reterr)
{
    ssize_t n;
    do
        n = pread(r->fd, r->piece, sizeof(r->piece), (off_t)r->at);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return err_set_errno(reterr, errno, "it cannot be read");
    r->piece_at = r->at;
    r->piece_len = (size_t)n;
    return n > 0 ? 0 : past_end(r, reterr);
}

static int
take(struct reader *r, void *to, size_t len, struct err *reterr)
{
    char *out = to;
    if (len > r->end - r->at)
        return past_end(r, reterr);
    while (len > 0) {
        bool there = r->at >= r->piece_at && r->at < r->piece_at + r->piece_len;
        int k = there ? 0 : fill(r, reterr);
        if (k < 0)
            return k;
        size_t from = (size_t)(r->at - r->piece_at), n = MIN(len, r->piece_len - from);
        memcpy(out, r->piece + from, n);
        out += n;
        len -= n;
        r->at += n;
    }
    return 0;
}

static int
skip(struct reader *r, uint64_t count, uint64_t each, struct err *reterr)
{
    uint64_t bytes;
    if (__builtin_mul_overflow(count, each, &bytes) || bytes > r->end - r->at)
        return past_end(r, reterr);
    r->at += bytes;
    return 0;
}

static int
take_number(struct reader *r, size_t len, uint64_t *ret, struct err *reterr)
{
    unsigned char bytes[8];
    int k = take(r, bytes, len, reterr);
    if (k == 0)
        *ret = read_number(bytes, len);
    return k;
}

static int
skip_text(struct reader *r, struct err *reterr)
{
    uint64_t len = 0;
    int k = take_number(r, 8, &len, reterr);
    return k < 0 ? k : skip(r, len, 1, reterr);
}

#define TYPE_UINT32 4
#define TYPE_TEXT 8
#define TYPE_LIST 9

static const uint8_t type_bytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

static int skip_list(struct reader *r, unsigned depth, struct err *reterr);

/* `count` of them, one behind the other. */
static int
skip_values(struct reader *r, uint64_t type, uint64_t count, unsigned depth, struct err *reterr)
{
    int k = 0;
    if (type >= ARRAY_SIZE(type_bytes))
        return err_set(reterr, ERR_GGUF, "a value has the type %" PRIu64 ", which is not known",
                       type);
    if (type_bytes[type] > 0)
        return skip(r, count, type_bytes[type], reterr);
    for (uint64_t i = 0; i < count && k == 0; i++)
        k = type == TYPE_TEXT ? skip_text(r, reterr) : skip_list(r, depth + 1, reterr);
    return k;
}

static int
skip_list(struct reader *r, unsigned depth, struct err *reterr)
{
    uint64_t type = 0, count = 0;
    if (depth > LISTS_MAX)
        return err_set(reterr, ERR_GGUF, "it has more than %d lists, one within the other",
                       LISTS_MAX);
    int k = take_number(r, 4, &type, reterr);
    if (k == 0)
        k = take_number(r, 8, &count, reterr);
    return k < 0 ? k : skip_values(r, type, count, depth, reterr);
}

/* Of all pairs only one says where tensors are. */
static int
take_pair(struct reader *r, uint64_t *alignment, struct err *reterr)
{
    static const char key[] = "general.alignment";
    char name[sizeof(key) - 1];
    uint64_t len = 0, type = 0;
    int k = take_number(r, 8, &len, reterr);
    bool is_it = k == 0 && len == sizeof(name);
    if (k == 0)
        k = is_it ? take(r, name, sizeof(name), reterr) : skip(r, len, 1, reterr);
    is_it = is_it && k == 0 && memcmp(name, key, sizeof(name)) == 0;
    if (k == 0)
        k = take_number(r, 4, &type, reterr);
    if (k < 0 || !is_it || type != TYPE_UINT32)
        return k < 0 ? k : skip_values(r, type, 1, 0, reterr);
    k = take_number(r, 4, alignment, reterr);
    if (k == 0 && (*alignment == 0 || *alignment > ALIGNMENT_MAX || *alignment & (*alignment - 1)))
        k = err_set(reterr, ERR_GGUF, "its alignment is %" PRIu64 ", not a power of 2 up to %u",
                    *alignment, ALIGNMENT_MAX);
    return k;
}

static int
take_name(struct reader *r, struct arena *arena, const char **ret, struct err *reterr)
{
    uint64_t len = 0;
    int k = take_number(r, 8, &len, reterr);
    if (k == 0 && len > NAME_MAX_BYTES)
        k = err_set(reterr, ERR_GGUF, "a tensor's name has %" PRIu64 " bytes, of at most %d", len,
                    NAME_MAX_BYTES);
    if (k < 0)
        return k;
    char *name = arena_alloc(arena, len + 1);
    *ret = name;
    return name ? take(r, name, len, reterr)
                : err_set_errno(reterr, ENOMEM, "it has too many tensors");
}

/* begin: its offset, for now. ret_elements: 0 where it has no numbers. */
static int
take_tensor(struct reader *r, struct arena *arena, struct gguf_tensor *ret, uint64_t *ret_elements,
            struct err *reterr)
{
    uint64_t dimensions = 0, size = 0, type = 0;
    int k = take_name(r, arena, &ret->name, reterr);
    if (k == 0)
        k = take_number(r, 4, &dimensions, reterr);
    if (k == 0 && dimensions > DIMENSIONS_MAX)
        k = err_set(reterr, ERR_GGUF, "tensor '%s' has %" PRIu64 " dimensions, of at most %d",
                    ret->name, dimensions, DIMENSIONS_MAX);
    *ret_elements = 1;
    for (uint64_t i = 0; i < dimensions && k == 0; i++) {
        k = take_number(r, 8, &size, reterr);
        if (k == 0 && __builtin_mul_overflow(*ret_elements, size, ret_elements))
            k = err_set(reterr, ERR_GGUF, "tensor '%s' has more than 2^64 elements", ret->name);
    }
    if (k == 0)
        k = take_number(r, 4, &type, reterr);
    ret->type = (uint32_t)type;
    return k < 0 ? k : take_number(r, 8, &ret->begin, reterr);
}

/* ---- the tensors ---- */

static int
by_place(const void *a, const void *b)
{
    const struct gguf_tensor *x = a, *y = b;
    return (x->begin > y->begin) - (x->begin < y->begin);
}

/* Offsets become places, and each tensor ends where the next begins. */
static int
place(struct gguf_tensors *t, uint64_t data_at, uint64_t alignment, uint64_t file_bytes,
      struct err *reterr)
{
    for (size_t i = 0; i < t->count; i++) {
        struct gguf_tensor *one = &t->items[i];
        if (one->begin % alignment != 0)
            return err_set(reterr, ERR_GGUF,
                           "tensor '%s' has the offset %" PRIu64 ", no multiple of %" PRIu64,
                           one->name, one->begin, alignment);
        if (data_at >= file_bytes || one->begin >= file_bytes - data_at)
            return err_set(reterr, ERR_GGUF,
                           "tensor '%s' has the offset %" PRIu64 ", behind the end of the file",
                           one->name, one->begin);
        one->begin += data_at;
    }
    if (t->count > 1)
        qsort(t->items, t->count, sizeof(*t->items), by_place);
    for (size_t i = 0; i < t->count; i++) {
        t->items[i].end = i + 1 < t->count ? t->items[i + 1].begin : file_bytes;
        if (t->items[i].end == t->items[i].begin)
            return err_set(reterr, ERR_GGUF, "the tensors '%s' and '%s' lie at the same place",
                           t->items[i].name, t->items[i + 1].name);
    }
    return 0;
}

int
gguf_read_tensors(struct arena *arena, int fd, uint64_t file_bytes, struct gguf_tensors *ret,
                  struct err *reterr)
{
    struct reader r = {
        .fd = fd, .at = HEAD_BYTES, .end = MIN(file_bytes, (uint64_t)GGUF_HEADER_MAX)};
    struct gguf_tensors t = {0};
    struct gguf head;
    uint64_t alignment = ALIGNMENT;
    int k = gguf_read(fd, file_bytes, &head, reterr);
    if (k < 0)
        return k;
    for (uint64_t i = 0; i < head.pairs && k == 0; i++)
        k = take_pair(&r, &alignment, reterr);
    if (k == 0 && head.tensors > (r.end - r.at) / TENSOR_BYTES)
        k = past_end(&r, reterr);
    if (k < 0)
        return k;
    t.items = arena_alloc(arena, (head.tensors + 1) * sizeof(*t.items));
    if (!t.items)
        return err_set_errno(reterr, ENOMEM, "it has too many tensors: %" PRIu64, head.tensors);
    for (uint64_t i = 0; i < head.tensors && k == 0; i++) {
        uint64_t elements = 0;
        k = take_tensor(&r, arena, &t.items[t.count], &elements, reterr);
        t.count += k == 0 && elements > 0;
    }
    if (k == 0)
        k = place(&t, (r.at + alignment - 1) / alignment * alignment, alignment, file_bytes,
                  reterr);
    if (k == 0)
        *ret = t;
    return k;
}
