#pragma once

/* Arithmetic of GF(2^8), the field of 256 bytes, in which sums are XOR and products are those of polynomials
 * modulo x^8 + x^4 + x^3 + x^2 + 1 (0x11d): what parity is made of (parity.h). */

#include "base/util.h"

uint8_t field_multiply(uint8_t a, uint8_t b);
uint8_t field_invert(uint8_t a); /* a is not 0 */

/* to[i] += factor * from[i] */
void field_add_product(uint8_t factor, const uint8_t *from, uint8_t *to, size_t len);

/* A square matrix, row by row, is replaced by its inverse; false, and it is spoiled, where it has none. */
#define FIELD_MATRIX_MAX 64
bool field_invert_matrix(uint8_t *matrix, size_t rows) must_check;
