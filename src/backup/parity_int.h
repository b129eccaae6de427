#pragma once

/* The shape of parity (parity.h), for making and reading. */

#include "backup/parity.h"

#define PARITY_MAGIC "citadel mend 1\n" /* with its zero: 16 bytes */
#define PARITY_CELL ((size_t)4096)
#define PARITY_DATA_MAX 200
#define PARITY_SPAN_CELLS 34816
#define PARITY_TABLE_CELL (PARITY_CELL / 4 - 1) /* CRCs in a cell */
#define PARITY_PACK_MAX (UINT64_C(4) << 30)
#define PARITY_HEAD_BYTES 96

struct parity_shape {
    uint64_t bytes;        /* of the pack, 1 to PARITY_PACK_MAX */
    unsigned data, parity; /* k and m */
    unsigned columns;
    unsigned spans;
    unsigned table_cells; /* of one table */
};

/* False where there is no such shape. */
bool parity_shape_make(struct parity_shape *ret, uint64_t bytes, unsigned data, unsigned parity)
    must_check;

/* What a share of a pack takes. One cell of a column more than it comes to: damage does not begin where a
 * cell does. */
struct parity_shape parity_shape_wanted(uint64_t bytes, unsigned percent);

uint64_t parity_shape_bytes(const struct parity_shape *s); /* of the whole file */
uint64_t parity_span_at(const struct parity_shape *s, unsigned span);
static inline size_t
parity_span_cells(const struct parity_shape *s) /* with those of parity */
{
    return (size_t)(s->data + s->parity) * s->columns;
}
/* Where a cell of a span lies in the pack: behind its end, where it is one of the zeros. */
static inline uint64_t
parity_cell_at(const struct parity_shape *s, unsigned span, size_t cell)
{
    return ((uint64_t)span * s->data * s->columns + cell) * PARITY_CELL;
}

uint8_t parity_factor(const struct parity_shape *s, unsigned row, unsigned shard);

void parity_head_print(const struct parity_shape *s, const uint8_t name[HASH_SHA256_BYTES],
                       uint8_t ret_cell[PARITY_CELL]);
bool parity_head_parse(const uint8_t cell[PARITY_CELL], struct parity_shape *ret,
                       uint8_t ret_name[HASH_SHA256_BYTES]) must_check;

/* As much of the pack from there as there is, then zeros. */
int parity_read_pack(const struct flow_source *pack, uint64_t pack_bytes, uint64_t at,
                     uint8_t *ret_bytes, size_t len) must_check;

/* For tests: as where there is no ISA-L. */
int parity_make_slowly(const struct flow_source *pack, const uint8_t name[HASH_SHA256_BYTES],
                       unsigned percent, const struct flow_sink *sink, struct err *reterr)
    must_check;
