#include "backup/bytes_int.h"
#include "backup/field.h"
#include "backup/parity_int.h"
#include "base/crc32c.h"
#include "base/mem.h"

#include <stdlib.h>

#define PIECE_CELLS 64

enum cell_state {
    CELL_GOOD,
    CELL_LOST,
    CELL_UNKNOWN, /* neither table has its CRC any more */
};

struct repair {
    struct parity_shape shape;
    const struct flow_source *pack, *parity;
    const struct flow_sink *sink;
    const uint8_t *name;
    struct parity_told *told;
    uint8_t *states; /* of all cells, span by span */
    uint8_t *mended; /* of one span: cells, and at_mended says which */
    size_t *at_mended, mended_count;
    struct hash_sha256 hash;
    uint8_t piece[PIECE_CELLS * PARITY_CELL];
};

static uint8_t *
span_states(const struct repair *r, unsigned span)
{
    return r->states + span * parity_span_cells(&r->shape);
}

static size_t
data_cells(const struct repair *r)
{
    return (size_t)r->shape.data * r->shape.columns;
}

/* ---- what there is ---- */

/* Data first, then parity, as tables have them. */
static int
read_cells(const struct repair *r, unsigned span, size_t cell, size_t count, uint8_t *ret)
{
    const struct parity_shape *s = &r->shape;
    if (cell < data_cells(r))
        return parity_read_pack(r->pack, s->bytes, parity_cell_at(s, span, cell), ret,
                                count * PARITY_CELL);
    uint64_t at = parity_span_at(s, span) + (s->table_cells + cell - data_cells(r)) * PARITY_CELL;
    return r->parity->read(r->parity->arg, at, ret, count * PARITY_CELL);
}

static bool
read_table_cell(const struct repair *r, uint64_t at, uint8_t ret[PARITY_CELL])
{
    return r->parity->read(r->parity->arg, at, ret, PARITY_CELL) == 0 &&
           get_u32(ret + PARITY_CELL - 4) == crc32c(0, ret, PARITY_CELL - 4);
}

/* CRCs of the cells from `first` on, of whichever of both tables still has them. */
static bool
read_crcs(const struct repair *r, unsigned span, size_t first, uint8_t ret[PARITY_CELL])
{
    const struct parity_shape *s = &r->shape;
    uint64_t at = parity_span_at(s, span) + first / PARITY_TABLE_CELL * PARITY_CELL;
    uint64_t other = at + (s->table_cells + (uint64_t)s->parity * s->columns) * PARITY_CELL;
    uint8_t spare[PARITY_CELL];
    bool has_first = read_table_cell(r, at, ret);
    bool has_other = read_table_cell(r, other, has_first ? spare : ret);
    r->told->parity_lost_bytes += (uint64_t)(!has_first + !has_other) * PARITY_CELL;
    return has_first || has_other;
}

static bool
is_beyond(const struct repair *r, unsigned span, size_t cell)
{
    return cell < data_cells(r) && parity_cell_at(&r->shape, span, cell) >= r->shape.bytes;
}

/* What cannot be read at once is read cell by cell: one bad sector shall not lose its neighbours. */
static void
look_at_piece(struct repair *r, unsigned span, size_t first, size_t count, const uint8_t *crcs)
{
    uint8_t *states = span_states(r, span) + first;
    bool is_read = read_cells(r, span, first, count, r->piece) == 0;
    for (size_t i = 0; i < count; i++) {
        uint8_t *cell = r->piece + i * PARITY_CELL;
        if (is_beyond(r, span, first + i))
            states[i] = CELL_GOOD;
        else if (!is_read && read_cells(r, span, first + i, 1, cell) < 0)
            states[i] = CELL_LOST;
        else if (!crcs)
            states[i] = CELL_UNKNOWN;
        else if (crc32c(0, cell, PARITY_CELL) != get_u32(crcs + 4 * i))
            states[i] = CELL_LOST;
    }
}

static void
look_at_span(struct repair *r, unsigned span)
{
    size_t total = parity_span_cells(&r->shape), first = 0;
    for (size_t in_table = 0; in_table < total; in_table += PARITY_TABLE_CELL) {
        uint8_t crcs[PARITY_CELL];
        bool has_crcs = read_crcs(r, span, in_table, crcs);
        size_t end = MIN(in_table + PARITY_TABLE_CELL, total);
        for (size_t n; first < end; first += n) {
            n = MIN(PIECE_CELLS, end - first);
            if (first < data_cells(r))
                n = MIN(n, data_cells(r) - first);
            look_at_piece(r, span, first, n, has_crcs ? crcs + 4 * (first - in_table) : NULL);
        }
    }
}

/* ---- what is told ---- */

static void
tell_lost(struct parity_told *told, uint64_t at, uint64_t bytes)
{
    struct parity_range *last = told->ranges_count ? &told->ranges[told->ranges_count - 1] : NULL;
    bool is_full = told->ranges_count == PARITY_RANGES_MAX;
    told->lost_bytes += bytes;
    if (last && last->at + last->bytes == at)
        last->bytes += bytes;
    else if (!is_full)
        told->ranges[told->ranges_count++] = (struct parity_range){at, bytes};
}

static void
tell_span(struct repair *r, unsigned span)
{
    const uint8_t *states = span_states(r, span);
    for (size_t i = 0; i < parity_span_cells(&r->shape); i++) {
        uint64_t at = parity_cell_at(&r->shape, span, i);
        if (states[i] != CELL_LOST)
            continue;
        if (i < data_cells(r))
            tell_lost(r->told, at, MIN(PARITY_CELL, r->shape.bytes - at));
        else
            r->told->parity_lost_bytes += PARITY_CELL;
    }
}

/* ---- a column ---- */

struct column {
    size_t lost[FIELD_MATRIX_MAX], lost_count; /* shards to be made again */
    size_t rows[FIELD_MATRIX_MAX], rows_count; /* of parity, to make them from */
};

static size_t
count_in_column(const struct repair *r, unsigned span, unsigned column, enum cell_state state)
{
    const uint8_t *states = span_states(r, span);
    size_t n = 0;
    for (size_t i = column; i < parity_span_cells(&r->shape); i += r->shape.columns)
        n += states[i] == state;
    return n;
}

/* What nobody knows of is taken as lost where parity reaches for it, else as good: the name of the pack
 * tells whether it was. False: more is lost than there is parity. */
static bool
plan_column(const struct repair *r, unsigned span, unsigned column, struct column *ret)
{
    const struct parity_shape *s = &r->shape;
    const uint8_t *states = span_states(r, span);
    size_t lost = count_in_column(r, span, column, CELL_LOST);
    size_t unknown = count_in_column(r, span, column, CELL_UNKNOWN);
    uint8_t worst_good = lost + unknown > s->parity ? CELL_UNKNOWN : CELL_GOOD;
    ret->lost_count = ret->rows_count = 0;
    if (lost > s->parity)
        return false;
    for (size_t shard = 0; shard < s->data; shard++) {
        uint8_t state = states[shard * s->columns + column];
        if (state == CELL_LOST || (state == CELL_UNKNOWN && worst_good == CELL_GOOD))
            ret->lost[ret->lost_count++] = shard;
    }
    for (size_t row = 0; row < s->parity && ret->rows_count < ret->lost_count; row++) {
        uint8_t state = states[(s->data + row) * s->columns + column];
        if (state == CELL_GOOD || (state == CELL_UNKNOWN && worst_good == CELL_UNKNOWN))
            ret->rows[ret->rows_count++] = row;
    }
    return true;
}

static bool
is_lost(const struct column *c, size_t shard)
{
    for (size_t i = 0; i < c->lost_count; i++)
        if (c->lost[i] == shard)
            return true;
    return false;
}

/* What the parity of its rows has of the lost shards alone: sums, a cell each. */
static int
sum_column(const struct repair *r, unsigned span, unsigned column, const struct column *c,
           uint8_t *sums)
{
    const struct parity_shape *s = &r->shape;
    uint8_t cell[PARITY_CELL];
    int k = 0;
    for (size_t i = 0; i < c->rows_count && k == 0; i++)
        k = read_cells(r, span, (s->data + c->rows[i]) * s->columns + column, 1,
                       sums + i * PARITY_CELL);
    for (size_t shard = 0; shard < s->data && k == 0; shard++) {
        if (is_lost(c, shard))
            continue;
        k = read_cells(r, span, shard * s->columns + column, 1, cell);
        for (size_t i = 0; i < c->rows_count && k == 0; i++)
            field_add_product(parity_factor(s, (unsigned)c->rows[i], (unsigned)shard), cell,
                              sums + i * PARITY_CELL, PARITY_CELL);
    }
    return k;
}

static int
mend_column(struct repair *r, unsigned span, unsigned column, const struct column *c)
{
    const struct parity_shape *s = &r->shape;
    uint8_t matrix[FIELD_MATRIX_MAX * FIELD_MATRIX_MAX];
    size_t n = c->lost_count;
    _cleanup_free_ uint8_t *sums = mem_alloc(n * PARITY_CELL);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < n; k++)
            matrix[i * n + k] = parity_factor(s, (unsigned)c->rows[i], (unsigned)c->lost[k]);
    bool has_inverse = field_invert_matrix(matrix, n);
    assert(has_inverse);
    int k = sum_column(r, span, column, c, sums);
    for (size_t i = 0; i < n && k == 0; i++) {
        uint8_t *cell = r->mended + r->mended_count * PARITY_CELL;
        memset(cell, 0, PARITY_CELL);
        for (size_t j = 0; j < n; j++)
            field_add_product(matrix[i * n + j], sums + j * PARITY_CELL, cell, PARITY_CELL);
        r->at_mended[r->mended_count++] = c->lost[i] * s->columns + column;
    }
    return k;
}

/* ---- a span ---- */

/* The mended cells of this piece of the pack, put where they belong. */
static void
put_mended(struct repair *r, size_t first, size_t count)
{
    for (size_t i = 0; i < r->mended_count; i++)
        if (r->at_mended[i] >= first && r->at_mended[i] < first + count)
            memcpy(r->piece + (r->at_mended[i] - first) * PARITY_CELL, r->mended + i * PARITY_CELL,
                   PARITY_CELL);
}

static void
read_what_is_there(struct repair *r, unsigned span, size_t first, size_t count)
{
    if (read_cells(r, span, first, count, r->piece) == 0)
        return;
    for (size_t i = 0; i < count; i++)
        if (read_cells(r, span, first + i, 1, r->piece + i * PARITY_CELL) < 0)
            memset(r->piece + i * PARITY_CELL, 0, PARITY_CELL);
}

static int
write_span(struct repair *r, unsigned span, struct err *reterr)
{
    int k = 0;
    for (size_t first = 0, n; first < data_cells(r) && k == 0; first += n) {
        uint64_t at = parity_cell_at(&r->shape, span, first);
        n = MIN(PIECE_CELLS, data_cells(r) - first);
        if (at >= r->shape.bytes)
            break;
        read_what_is_there(r, span, first, n);
        put_mended(r, first, n);
        size_t len = (size_t)MIN(n * PARITY_CELL, r->shape.bytes - at);
        hash_sha256_update(&r->hash, r->piece, len);
        k = r->sink->write(r->sink->arg, r->piece, len, reterr);
    }
    return k;
}

static int
mend_span(struct repair *r, unsigned span, struct err *reterr)
{
    int k = 0;
    r->mended_count = 0;
    for (unsigned column = 0; column < r->shape.columns && k == 0; column++) {
        struct column c;
        bool can = plan_column(r, span, column, &c);
        assert(can);
        if (c.lost_count)
            k = mend_column(r, span, column, &c);
    }
    if (k < 0)
        return err_set_errno(reterr, -k, "cannot read what was there a moment ago");
    return write_span(r, span, reterr);
}

/* ---- all ---- */

/* What mends a pack where its parity does not. */
static void
fix_otherwise(struct err *reterr)
{
    err_fix(reterr,
            "bring the pack back from a copy of the repository; or see what needs it: citadel "
            "backup verify --all");
}

static int
refuse(const struct repair *r, unsigned span, unsigned column, struct err *reterr)
{
    const struct parity_range *first = &r->told->ranges[0];
    char name[HASH_SHA256_HEX];
    hash_sha256_hex(r->name, name);
    int k = err_set(reterr, ERR_PARITY_SHORT,
                    "pack %s has lost %llu bytes, the first of them from %llu on: %zu cells of one "
                    "column are lost, and its parity brings back %u",
                    name, (unsigned long long)r->told->lost_bytes,
                    (unsigned long long)(r->told->ranges_count ? first->at : 0),
                    count_in_column(r, span, column, CELL_LOST), r->shape.parity);
    fix_otherwise(reterr);
    return k;
}

static int
look(struct repair *r, struct err *reterr)
{
    for (unsigned span = 0; span < r->shape.spans; span++) {
        look_at_span(r, span);
        tell_span(r, span);
    }
    for (unsigned span = 0; span < r->shape.spans; span++)
        for (unsigned column = 0; column < r->shape.columns; column++) {
            struct column c;
            if (!plan_column(r, span, column, &c))
                return refuse(r, span, column, reterr);
        }
    return 0;
}

static int
check_name(struct repair *r, struct err *reterr)
{
    uint8_t digest[HASH_SHA256_BYTES];
    char is[HASH_SHA256_HEX], want[HASH_SHA256_HEX];
    hash_sha256_final(&r->hash, digest);
    if (memcmp(digest, r->name, sizeof(digest)) == 0)
        return 0;
    hash_sha256_hex(digest, is);
    hash_sha256_hex(r->name, want);
    int k =
        err_set(reterr, ERR_PARITY_SHORT,
                "what parity makes of pack %s has another SHA-256, %s: it is not used", want, is);
    fix_otherwise(reterr);
    return k;
}

static int
repair(struct repair *r, struct err *reterr)
{
    int k = look(r, reterr);
    hash_sha256_init(&r->hash);
    for (unsigned span = 0; span < r->shape.spans && k == 0; span++)
        k = mend_span(r, span, reterr);
    return k < 0 ? k : check_name(r, reterr);
}

static bool
read_head(struct repair *r, uint64_t at)
{
    uint8_t cell[PARITY_CELL], name[HASH_SHA256_BYTES];
    struct parity_shape shape;
    if (r->parity->read(r->parity->arg, at, cell, PARITY_CELL) == 0 &&
        parity_head_parse(cell, &shape, name) && memcmp(name, r->name, sizeof(name)) == 0) {
        r->shape = shape;
        return true;
    }
    r->told->parity_lost_bytes += PARITY_CELL;
    return false;
}

static int
read_heads(struct repair *r, struct err *reterr)
{
    char name[HASH_SHA256_HEX];
    uint64_t last = r->parity->bytes / PARITY_CELL * PARITY_CELL;
    bool has_last = last && read_head(r, last - PARITY_CELL);
    if (read_head(r, 0) || has_last)
        return 0;
    hash_sha256_hex(r->name, name);
    int k =
        err_set(reterr, ERR_PARITY_DAMAGED,
                "what is kept as the parity of pack %s is not: neither its beginning nor its end "
                "says so",
                name);
    fix_otherwise(reterr);
    return k;
}

int
parity_repair(const struct flow_source *pack, const struct flow_source *parity,
              const uint8_t name[HASH_SHA256_BYTES], const struct flow_sink *sink,
              struct parity_told *ret_told, struct err *reterr)
{
    _cleanup_free_ struct repair *r = mem_new(struct repair);
    *ret_told = (struct parity_told){0};
    *r = (struct repair){
        .pack = pack, .parity = parity, .sink = sink, .name = name, .told = ret_told};
    int k = read_heads(r, reterr);
    if (k < 0)
        return k;
    size_t mendable = (size_t)r->shape.parity * r->shape.columns;
    _cleanup_free_ uint8_t *states = mem_alloc(r->shape.spans * parity_span_cells(&r->shape));
    _cleanup_free_ uint8_t *mended = mem_alloc(mendable * PARITY_CELL);
    _cleanup_free_ size_t *at_mended = mem_alloc(mendable * sizeof(*at_mended));
    r->states = states;
    r->mended = mended;
    r->at_mended = at_mended;
    return repair(r, reterr);
}
