#pragma once

/* Numbers taken apart into planes of bytes, and put together again (codec.h has the formulas). */

#include "backup/codec.h"

/* Each plane is as long as there are numbers, one behind the other. XOR with the base where there is one. */
void planes_split(enum codec_form form, const uint8_t *bytes, const uint8_t *base, size_t numbers,
                  uint8_t *ret_planes);
void planes_join(enum codec_form form, const uint8_t *const planes[CODEC_PLANES_MAX],
                 const uint8_t *base, size_t numbers, uint8_t *ret_bytes);
