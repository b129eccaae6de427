#pragma once

/* Numbers, sizes and durations as people write them.
 *
 *   size      bytes: 17, 17B, 4KiB, 1.5GiB, 500GB (binary units with i, decimal ones without)
 *   duration  s: 90, 90s, 1.5m, 2h, 7d, 250ms, 1h30m; parts run from large to small
 *   percent   85, 85%, 0..100
 *
 * What quantity_print_* write reads back as the same value: bytes as the shortest whole number of a
 * unit (500GB, not 488281250KiB), durations in parts from large to small. */

#include "base/err.h"

int quantity_parse_u64(const char *text, uint64_t *ret_n, struct err *reterr) must_check;
int quantity_parse_i64(const char *text, int64_t *ret_n, struct err *reterr) must_check;
int quantity_parse_real(const char *text, double *ret_n, struct err *reterr) must_check;
int quantity_parse_bytes(const char *text, uint64_t *ret_bytes, struct err *reterr) must_check;
int quantity_parse_us(const char *text, uint64_t *ret_us, struct err *reterr) must_check;
int quantity_parse_percent(const char *text, double *ret_percent, struct err *reterr) must_check;

#define QUANTITY_TEXT_MAX 48
typedef char quantity_text[QUANTITY_TEXT_MAX];

const char *quantity_print_bytes(uint64_t bytes, quantity_text text);
const char *quantity_print_us(uint64_t us, quantity_text text);

/* For tables: three significant digits and a binary unit, "86.9 GiB"; not meant to be read back. */
const char *quantity_show_bytes(uint64_t bytes, quantity_text text);
/* Likewise for counts: "46.7 B", as parameters are told. */
const char *quantity_show_count(uint64_t n, quantity_text text);
