#include "backup/parity_int.h"

#include "backup/bytes_int.h"
#include "backup/field.h"
#include "base/crc32c.h"

static uint64_t
divide_up(uint64_t n, uint64_t by)
{
    return (n + by - 1) / by;
}

bool
parity_shape_make(struct parity_shape *ret, uint64_t bytes, unsigned data, unsigned parity)
{
    uint64_t cells = divide_up(bytes, PARITY_CELL);
    if (bytes == 0 || bytes > PARITY_PACK_MAX || data != MIN(cells, PARITY_DATA_MAX) ||
        parity == 0 || parity > data / 4 + 2)
        return false;
    uint64_t columns = divide_up(divide_up(cells, divide_up(cells, PARITY_SPAN_CELLS)), data);
    *ret = (struct parity_shape){.bytes = bytes,
                                 .data = data,
                                 .parity = parity,
                                 .columns = (unsigned)columns,
                                 .spans = (unsigned)divide_up(cells, columns * data)};
    ret->table_cells = (unsigned)divide_up(parity_span_cells(ret), PARITY_TABLE_CELL);
    return true;
}

struct parity_shape
parity_shape_wanted(uint64_t bytes, unsigned percent)
{
    struct parity_shape shape;
    unsigned data = (unsigned)MIN(divide_up(bytes, PARITY_CELL), PARITY_DATA_MAX);
    assert(percent >= 1 && percent <= PARITY_PERCENT_MAX);
    bool has_shape =
        parity_shape_make(&shape, bytes, data, (unsigned)divide_up(data * percent, 100) + 1);
    assert(has_shape);
    return shape;
}

static uint64_t
span_bytes(const struct parity_shape *s)
{
    return (2 * (uint64_t)s->table_cells + (uint64_t)s->parity * s->columns) * PARITY_CELL;
}

uint64_t
parity_shape_bytes(const struct parity_shape *s)
{
    return 2 * PARITY_CELL + s->spans * span_bytes(s);
}

uint64_t
parity_bytes(uint64_t pack_bytes, unsigned percent)
{
    struct parity_shape shape = parity_shape_wanted(pack_bytes, percent);
    return parity_shape_bytes(&shape);
}

uint64_t
parity_span_at(const struct parity_shape *s, unsigned span)
{
    return PARITY_CELL + span * span_bytes(s);
}

uint8_t
parity_factor(const struct parity_shape *s, unsigned row, unsigned shard)
{
    return field_invert((uint8_t)((s->data + row) ^ shard));
}

/* ---- heads ---- */

void
parity_head_print(const struct parity_shape *s, const uint8_t name[HASH_SHA256_BYTES],
                  uint8_t ret_cell[PARITY_CELL])
{
    memset(ret_cell, 0, PARITY_CELL);
    memcpy(ret_cell, PARITY_MAGIC, sizeof(PARITY_MAGIC));
    put_u64(ret_cell + 16, s->bytes);
    put_u32(ret_cell + 24, s->data);
    put_u32(ret_cell + 28, s->parity);
    memcpy(ret_cell + 32, name, HASH_SHA256_BYTES);
    put_u32(ret_cell + PARITY_HEAD_BYTES - 4, crc32c(0, ret_cell, PARITY_HEAD_BYTES - 4));
}

bool
parity_head_parse(const uint8_t cell[PARITY_CELL], struct parity_shape *ret,
                  uint8_t ret_name[HASH_SHA256_BYTES])
{
    memcpy(ret_name, cell + 32, HASH_SHA256_BYTES);
    return memcmp(cell, PARITY_MAGIC, sizeof(PARITY_MAGIC)) == 0 &&
           get_u32(cell + PARITY_HEAD_BYTES - 4) == crc32c(0, cell, PARITY_HEAD_BYTES - 4) &&
           parity_shape_make(ret, get_u64(cell + 16), get_u32(cell + 24), get_u32(cell + 28));
}

/* ---- the pack ---- */

int
parity_read_pack(const struct flow_source *pack, uint64_t pack_bytes, uint64_t at,
                 uint8_t *ret_bytes, size_t len)
{
    size_t there = at < pack_bytes ? (size_t)MIN(len, pack_bytes - at) : 0;
    memset(ret_bytes + there, 0, len - there);
    return there ? pack->read(pack->arg, at, ret_bytes, there) : 0;
}
