#include "fmt/safetensors.h"

#include "base/buf.h"
#include "base/text.h"
#include "fmt/json.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Nearly every header comes with the first read. */
#define FIRST_READ_BYTES (64 * KIB)
#define LENGTH_BYTES 8

static const struct {
    const char *name;
    unsigned bits;
} dtypes[] = {
#define DTYPE(name, bits) [SAFETENSORS_##name] = {#name, bits},
#include "fmt/safetensors.def"
};

const char *
safetensors_dtype_name(enum safetensors_dtype dtype)
{
    return dtypes[dtype].name;
}

unsigned
safetensors_dtype_bits(enum safetensors_dtype dtype)
{
    return dtypes[dtype].bits;
}

/* Where the next error goes; NULL: it is counted, and no more. */
static struct err *
next_error(struct safetensors_errors *errors)
{
    size_t i = errors->count++;
    return i < SAFETENSORS_TOLD_MAX ? &errors->told[i] : NULL;
}

static int
too_large(const struct arena *arena, struct safetensors_errors *errors)
{
    return err_set(next_error(errors), ERR_TOO_LARGE,
                   "its header needs more than %zu bytes of memory", arena->ceiling_bytes);
}

/* Digits only: the format knows no other spelling of a size. */
static bool
read_size(const struct value *v, uint64_t *ret_size)
{
    uint64_t size = 0;
    if (v->type != VALUE_NUMBER)
        return false;
    for (const char *p = v->text; *p; p++) {
        if (*p < '0' || *p > '9' || __builtin_mul_overflow(size, 10, &size) ||
            __builtin_add_overflow(size, (uint64_t)(*p - '0'), &size))
            return false;
    }
    *ret_size = size;
    return true;
}

static int
read_dtype(const struct value *v, struct safetensors_tensor *tensor, struct err *reterr)
{
    const char *name = value_str(v);
    for (size_t i = 0; name && i < ARRAY_SIZE(dtypes); i++) {
        if (strcmp(name, dtypes[i].name) == 0) {
            tensor->dtype = (enum safetensors_dtype)i;
            return 0;
        }
    }
    return err_set(reterr, ERR_SAFETENSORS, "tensor '%s' has the dtype %s%s%s, which is not known",
                   tensor->name, name ? "'" : "", name ? name : value_type_name(v->type),
                   name ? "'" : "");
}

static int
read_shape(const struct value *v, struct safetensors_tensor *tensor, struct err *reterr)
{
    if (v->type != VALUE_LIST)
        return err_set(reterr, ERR_SAFETENSORS, "the shape of tensor '%s' is %s, not a list",
                       tensor->name, value_type_name(v->type));
    uint64_t elements = 1, size;
    for (const struct value *n = v->first; n; n = n->next) {
        if (!read_size(n, &size))
            return err_set(reterr, ERR_SAFETENSORS, "the shape of tensor '%s' holds %s",
                           tensor->name,
                           n->type == VALUE_NUMBER ? n->text : value_type_name(n->type));
        if (__builtin_mul_overflow(elements, size, &elements))
            return err_set(reterr, ERR_SAFETENSORS,
                           "the shape of tensor '%s' has more than 2^64 elements", tensor->name);
    }
    tensor->elements = elements;
    return 0;
}

static int
read_offsets(const struct value *v, struct safetensors_tensor *tensor, struct err *reterr)
{
    if (v->type != VALUE_LIST || v->count != 2 || !read_size(v->first, &tensor->begin) ||
        !read_size(v->first->next, &tensor->end))
        return err_set(reterr, ERR_SAFETENSORS, "the data_offsets of tensor '%s' are not two sizes",
                       tensor->name);
    if (tensor->begin > tensor->end || tensor->end > INT64_MAX)
        return err_set(reterr, ERR_SAFETENSORS,
                       "tensor '%s' cannot reach from byte %" PRIu64 " to %" PRIu64, tensor->name,
                       tensor->begin, tensor->end);
    return 0;
}

static int
read_tensor(const struct value *v, struct safetensors_tensor *tensor, struct err *reterr)
{
    static const struct {
        const char *name;
        int (*read)(const struct value *v, struct safetensors_tensor *tensor, struct err *reterr);
    } fields[] = {{"dtype", read_dtype}, {"shape", read_shape}, {"data_offsets", read_offsets}};

    tensor->name = v->name;
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        const struct value *field = value_get(v, fields[i].name);
        if (!field)
            return err_set(reterr, ERR_SAFETENSORS, "tensor '%s' has no %s", v->name,
                           fields[i].name);
        int err = fields[i].read(field, tensor, reterr);
        if (err < 0)
            return err;
    }
    unsigned __int128 bits = (unsigned __int128)tensor->elements * dtypes[tensor->dtype].bits;
    if (bits != (unsigned __int128)(tensor->end - tensor->begin) * 8)
        return err_set(reterr, ERR_SAFETENSORS,
                       "tensor '%s' has %" PRIu64 " bytes, which is not %" PRIu64 " times %s",
                       tensor->name, tensor->end - tensor->begin, tensor->elements,
                       dtypes[tensor->dtype].name);
    return 0;
}

static int
by_place(const void *a, const void *b)
{
    const struct safetensors_tensor *const *x = a, *const *y = b;
    if ((*x)->begin != (*y)->begin)
        return (*x)->begin < (*y)->begin ? -1 : 1;
    return ((*x)->end > (*y)->end) - ((*x)->end < (*y)->end);
}

/* The tensors must fill the data from its beginning, in whatever order the header lists them. */
static int
check_layout(struct arena *arena, struct safetensors *st, struct safetensors_errors *errors)
{
    size_t next = 0;
    for (; next < st->count && st->tensors[next].begin == st->data_bytes; next++)
        st->data_bytes = st->tensors[next].end;
    if (next == st->count)
        return 0;
    const struct safetensors_tensor **order = arena_alloc(arena, st->count * sizeof(*order));
    if (!order)
        return too_large(arena, errors);
    for (size_t i = 0; i < st->count; i++)
        order[i] = &st->tensors[i];
    qsort(order, st->count, sizeof(const struct safetensors_tensor *), by_place);
    const struct safetensors_tensor *last = NULL; /* the one that reaches farthest */
    int error = 0;
    st->data_bytes = 0;
    for (size_t i = 0; i < st->count; i++) {
        const struct safetensors_tensor *t = order[i];
        if (last && t->begin < st->data_bytes)
            error = err_set(next_error(errors), ERR_SAFETENSORS, "tensor '%s' overlaps tensor '%s'",
                            t->name, last->name);
        else if (t->begin > st->data_bytes)
            error =
                err_set(next_error(errors), ERR_SAFETENSORS,
                        "bytes %" PRIu64 " to %" PRIu64 ", before tensor '%s', are of no tensor",
                        st->data_bytes, t->begin, t->name);
        last = last && last->end > t->end ? last : t;
        st->data_bytes = last->end;
    }
    return error;
}

static int
read_tensors(struct arena *arena, const struct value *root, struct safetensors *st,
             struct safetensors_errors *errors)
{
    int error = 0;
    st->tensors = arena_alloc(arena, root->count * sizeof(*st->tensors));
    if (!st->tensors)
        return too_large(arena, errors);
    for (const struct value *v = root->first; v; v = v->next) {
        struct err err;
        if (strcmp(v->name, "__metadata__") == 0) {
            st->metadata = v;
        } else if (read_tensor(v, &st->tensors[st->count], &err) == 0) {
            st->count++;
        } else {
            struct err *told = next_error(errors);
            error = -EBADMSG;
            if (told)
                *told = err;
        }
    }
    return error < 0 ? error : check_layout(arena, st, errors);
}

int
safetensors_parse(struct arena *arena, const char *header, size_t len, struct safetensors *ret,
                  struct safetensors_errors *ret_errors)
{
    struct safetensors st = {.data_at = LENGTH_BYTES + len};
    struct value *root;
    struct value_at at;
    ret_errors->count = 0;
    if (len == 0 || header[0] != '{')
        return err_set(next_error(ret_errors), ERR_SAFETENSORS,
                       "its header does not begin with '{'");
    struct err *first = &ret_errors->told[0];
    int error = json_parse(arena, header, len, JSON_STRICT, &root, &at, first);
    if (error < 0) {
        err_prefix(first, "its header, column %u", at.column);
        ret_errors->count = 1;
        return error == -EFBIG ? error : -EBADMSG;
    }
    error = read_tensors(arena, root, &st, ret_errors);
    if (error == 0)
        *ret = st;
    return error;
}

static int
read_at(int fd, struct buf *b, size_t want, struct err *reterr)
{
    while (b->len < want) {
        void *to = buf_reserve(b, want - b->len);
        if (!to)
            return err_set(reterr, ERR_TOO_LARGE, "no memory for a header of %zu bytes", want);
        ssize_t n = pread(fd, to, want - b->len, (off_t)b->len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set_errno(reterr, errno, "it cannot be read");
        if (n == 0)
            return err_set(reterr, ERR_SAFETENSORS_CUT, "it ended while it was read");
        buf_commit(b, (size_t)n);
    }
    return 0;
}

/* The length and the header into *b. */
static int
read_bytes(int fd, uint64_t file_bytes, struct buf *b, struct err *reterr)
{
    uint64_t len = 0;
    if (file_bytes < LENGTH_BYTES)
        return err_set(reterr, ERR_SAFETENSORS_CUT,
                       "it has %" PRIu64 " bytes, fewer than the length of a header takes",
                       file_bytes);
    int error = read_at(fd, b, (size_t)MIN(file_bytes, FIRST_READ_BYTES), reterr);
    if (error < 0)
        return error;
    for (int i = 0; i < LENGTH_BYTES; i++)
        len |= (uint64_t)(unsigned char)b->data[i] << (8 * i);
    if (len > SAFETENSORS_HEADER_MAX)
        return err_set(reterr, ERR_SAFETENSORS,
                       "its header claims %" PRIu64 " bytes, more than the %d that are allowed",
                       len, SAFETENSORS_HEADER_MAX);
    if (len > file_bytes - LENGTH_BYTES)
        return err_set(reterr, ERR_SAFETENSORS_CUT,
                       "it has %" PRIu64 " bytes, and its header alone needs %" PRIu64, file_bytes,
                       LENGTH_BYTES + len);
    error = read_at(fd, b, LENGTH_BYTES + (size_t)len, reterr);
    if (error == 0)
        buf_truncate(b, LENGTH_BYTES + (size_t)len); /* the first read may have gone beyond */
    return error;
}

int
safetensors_read(struct arena *arena, int fd, uint64_t file_bytes, struct safetensors *ret,
                 struct safetensors_errors *ret_errors)
{
    _cleanup_buf_ struct buf b = BUF_INIT(LENGTH_BYTES + SAFETENSORS_HEADER_MAX);
    int error = read_bytes(fd, file_bytes, &b, &ret_errors->told[0]);
    ret_errors->count = error < 0;
    return error < 0 ? error
                     : safetensors_parse(arena, b.data + LENGTH_BYTES, b.len - LENGTH_BYTES, ret,
                                         ret_errors);
}
