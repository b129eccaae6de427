#pragma once

/* CRC-32C (Castagnoli; RFC 3720), which finds every single flipped bit, and every burst of up to 32. */

#include "base/util.h"

/* Of more bytes behind those that came to `crc`; 0 before the first. */
uint32_t crc32c(uint32_t crc, const void *bytes, size_t len);
