#pragma once

/* Parity: what is kept beside a pack, so that sectors of it that are lost can be made again.
 *
 * A pack is cut into cells of 4,096 bytes, the last filled with zeros. Its cells, in their
 * order, are the rows of spans, each of k rows (shards) and so many columns as the pack needs, a
 * span being at most some 136 MiB; what is behind the pack's end is zeros. Each column has k
 * cells from places far apart, and m cells of parity: of those k + m any m may be lost. So any m
 * sectors may be lost, wherever they are, and any one piece of the promised share of the pack;
 * and often far more.
 *
 * Parity cell i of a column is the sum over its data cells j of 1 / ((k + i) ^ j) times cell j,
 * in the field of field.h, byte by byte: Cauchy's matrix, every square part of which can be
 * inverted. All lies at multiples of 4,096, filled with zeros; numbers are little-endian:
 *
 *   head       16 bytes "citadel mend 1\n", and a zero; bytes of the pack (8), k (4), m (4), the
 *              pack's name (32), 28 zero, CRC-32C of the 92 bytes before (4)
 *   each span  its table, its parity cells, row by row, and its table again
 *   head       again
 *
 *   table      the CRC-32C of each cell of the span, first of the pack's, row by row, then of the
 *              parity's, 1,023 (4 each) in a cell, whose last 4 bytes are the CRC-32C of its others
 *
 * k is 200, or as many as the pack has cells; columns are ceil(cells / spans / k), with the
 * fewest spans of at most 34,816 cells each. m is at most k / 4 + 2.
 *
 * CRCs only say where to mend. What comes of it is right when its SHA-256 is the pack's name, and never
 * otherwise. */

#include "backup/flow.h"
#include "base/hash.h"

#define PARITY_PERCENT_MAX 20

/* Of a pack that is whole: one that does not fit its name is PACK_DAMAGED, and what was written
 * is to be thrown away. The pack is read once. Memory: the parity of a span, at most 37 MiB.
 * Without ISA-L it is slow. */
int parity_make(const struct flow_source *pack, const uint8_t name[HASH_SHA256_BYTES],
                unsigned percent, const struct flow_sink *sink, struct err *reterr) must_check;

/* How long it becomes. */
uint64_t parity_bytes(uint64_t pack_bytes, unsigned percent);

#define PARITY_RANGES_MAX 64
struct parity_told {
    uint64_t lost_bytes;        /* of the pack, in cells that are not what they were */
    uint64_t parity_lost_bytes; /* of what is beside it: it should be made anew */
    struct parity_range {
        uint64_t at, bytes;
    } ranges[PARITY_RANGES_MAX]; /* where the pack has lost some: the first */
    size_t ranges_count;
};

/* Writes the pack as it was, from front to back; 0 when that is what has its name, whatever was
 * lost. PARITY_DAMAGED: it is not the parity of this pack, or nothing is left that says how to
 * read it. PARITY_SHORT: more is lost than it brings back. What cannot be read is lost. Nothing
 * is replaced here: what was written is a draft until then. */
int parity_repair(const struct flow_source *pack, const struct flow_source *parity,
                  const uint8_t name[HASH_SHA256_BYTES], const struct flow_sink *sink,
                  struct parity_told *ret_told, struct err *reterr) must_check;
