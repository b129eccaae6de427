#include "backup/bytes_int.h"
#include "backup/field.h"
#include "backup/isal.h"
#include "backup/parity_int.h"
#include "base/crc32c.h"
#include "base/mem.h"

#include <stdlib.h>

#define PIECE_CELLS 16 /* of a row at a time: small enough to stay near the processor */

struct maker {
    struct parity_shape shape;
    const struct flow_source *pack;
    const struct flow_sink *sink;
    const uint8_t *name;
    struct hash_sha256 hash;
    const struct isal *isal;
    uint8_t *tables;                        /* its own, of the factors */
    uint8_t *rows[PARITY_DATA_MAX / 4 + 2]; /* of parity, of one span */
    uint32_t *crcs;                         /* of its cells */
    uint8_t piece[PIECE_CELLS * PARITY_CELL];
};

static size_t
row_bytes(const struct maker *m)
{
    return m->shape.columns * PARITY_CELL;
}

static void
prepare_isal(struct maker *m)
{
    const struct parity_shape *s = &m->shape;
    _cleanup_free_ uint8_t *factors = mem_alloc((size_t)s->parity * s->data);
    m->tables = mem_alloc((size_t)32 * s->parity * s->data);
    for (unsigned row = 0; row < s->parity; row++)
        for (unsigned shard = 0; shard < s->data; shard++)
            factors[row * s->data + shard] = parity_factor(s, row, shard);
    m->isal->ec_init_tables((int)s->data, (int)s->parity, factors, m->tables);
}

static void
add_piece(struct maker *m, unsigned shard, size_t at, size_t len)
{
    uint8_t *to[ARRAY_SIZE(m->rows)];
    for (unsigned row = 0; row < m->shape.parity; row++)
        to[row] = m->rows[row] + at;
    if (m->isal) {
        m->isal->ec_encode_data_update((int)len, (int)m->shape.data, (int)m->shape.parity,
                                       (int)shard, m->tables, m->piece, to);
        return;
    }
    for (unsigned row = 0; row < m->shape.parity; row++)
        field_add_product(parity_factor(&m->shape, row, shard), m->piece, to[row], len);
}

static void
note_crcs(struct maker *m, size_t cell, const uint8_t *bytes, size_t len)
{
    for (size_t at = 0; at < len; at += PARITY_CELL)
        m->crcs[cell++] = crc32c(0, bytes + at, PARITY_CELL);
}

static int
read_row(struct maker *m, unsigned span, unsigned shard, struct err *reterr)
{
    const struct parity_shape *s = &m->shape;
    for (size_t at = 0, len; at < row_bytes(m); at += len) {
        size_t cell = (size_t)shard * s->columns + at / PARITY_CELL;
        uint64_t from = parity_cell_at(s, span, cell);
        len = MIN(sizeof(m->piece), row_bytes(m) - at);
        int r = parity_read_pack(m->pack, s->bytes, from, m->piece, len);
        if (r < 0)
            return err_set_errno(reterr, -r, "cannot read the pack at byte %llu",
                                 (unsigned long long)from);
        if (from < s->bytes)
            hash_sha256_update(&m->hash, m->piece, MIN(len, s->bytes - from));
        note_crcs(m, cell, m->piece, len);
        add_piece(m, shard, at, len);
    }
    return 0;
}

static int
write_table(const struct maker *m, struct err *reterr)
{
    size_t count = parity_span_cells(&m->shape);
    int r = 0;
    for (size_t at = 0; at < count && r == 0; at += PARITY_TABLE_CELL) {
        uint8_t cell[PARITY_CELL] = {0};
        for (size_t i = 0; i < PARITY_TABLE_CELL && at + i < count; i++)
            put_u32(cell + 4 * i, m->crcs[at + i]);
        put_u32(cell + PARITY_CELL - 4, crc32c(0, cell, PARITY_CELL - 4));
        r = m->sink->write(m->sink->arg, cell, PARITY_CELL, reterr);
    }
    return r;
}

static int
make_span(struct maker *m, unsigned span, struct err *reterr)
{
    const struct parity_shape *s = &m->shape;
    int r = 0;
    for (unsigned row = 0; row < s->parity; row++)
        memset(m->rows[row], 0, row_bytes(m));
    for (unsigned shard = 0; shard < s->data && r == 0; shard++)
        r = read_row(m, span, shard, reterr);
    if (r < 0)
        return r;
    for (unsigned row = 0; row < s->parity; row++)
        note_crcs(m, (size_t)(s->data + row) * s->columns, m->rows[row], row_bytes(m));
    r = write_table(m, reterr);
    for (unsigned row = 0; row < s->parity && r == 0; row++)
        r = m->sink->write(m->sink->arg, m->rows[row], row_bytes(m), reterr);
    return r < 0 ? r : write_table(m, reterr);
}

static int
write_head(const struct maker *m, struct err *reterr)
{
    uint8_t cell[PARITY_CELL];
    parity_head_print(&m->shape, m->name, cell);
    return m->sink->write(m->sink->arg, cell, PARITY_CELL, reterr);
}

static int
check_name(struct maker *m, struct err *reterr)
{
    uint8_t digest[HASH_SHA256_BYTES];
    char is[HASH_SHA256_HEX], want[HASH_SHA256_HEX];
    hash_sha256_final(&m->hash, digest);
    if (memcmp(digest, m->name, sizeof(digest)) == 0)
        return 0;
    hash_sha256_hex(digest, is);
    hash_sha256_hex(m->name, want);
    int r = err_set(reterr, ERR_PACK_DAMAGED,
                    "the SHA-256 of pack %s is %s: no parity is made of it", want, is);
    err_fix(reterr, "citadel backup verify --all");
    return r;
}

static int
make_all(struct maker *m, struct err *reterr)
{
    int r = write_head(m, reterr);
    for (unsigned span = 0; span < m->shape.spans && r == 0; span++)
        r = make_span(m, span, reterr);
    if (r == 0)
        r = check_name(m, reterr);
    return r < 0 ? r : write_head(m, reterr);
}

static int
make(const struct flow_source *pack, const uint8_t name[HASH_SHA256_BYTES], unsigned percent,
     const struct isal *isal, const struct flow_sink *sink, struct err *reterr)
{
    if (pack->bytes == 0 || pack->bytes > PARITY_PACK_MAX)
        return err_set(reterr, ERR_TOO_LARGE, "a pack of %llu bytes has no parity: 1 to %llu can",
                       (unsigned long long)pack->bytes, (unsigned long long)PARITY_PACK_MAX);
    _cleanup_free_ struct maker *m = mem_new(struct maker);
    *m = (struct maker){.shape = parity_shape_wanted(pack->bytes, percent),
                        .pack = pack,
                        .sink = sink,
                        .name = name,
                        .isal = isal};
    _cleanup_free_ uint8_t *rows = mem_alloc(m->shape.parity * row_bytes(m));
    _cleanup_free_ uint32_t *crcs = mem_alloc(parity_span_cells(&m->shape) * sizeof(*crcs));
    m->crcs = crcs;
    for (unsigned row = 0; row < m->shape.parity; row++)
        m->rows[row] = rows + row * row_bytes(m);
    if (isal)
        prepare_isal(m);
    hash_sha256_init(&m->hash);
    int r = make_all(m, reterr);
    free(m->tables);
    return r;
}

int
parity_make(const struct flow_source *pack, const uint8_t name[HASH_SHA256_BYTES], unsigned percent,
            const struct flow_sink *sink, struct err *reterr)
{
    return make(pack, name, percent, isal_load(NULL), sink, reterr);
}

int
parity_make_slowly(const struct flow_source *pack, const uint8_t name[HASH_SHA256_BYTES],
                   unsigned percent, const struct flow_sink *sink, struct err *reterr)
{
    return make(pack, name, percent, NULL, sink, reterr);
}
