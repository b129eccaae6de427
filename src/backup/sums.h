#pragma once

/* SHA256SUMS of a snapshot, as sha256sum writes and checks it. */

#include "base/buf.h"
#include "base/hash.h"

/* A line. */
void sums_print(const uint8_t digest[HASH_SHA256_BYTES], const char *path, struct buf *out);
#define SUMS_LINE_MAX ((size_t)(16 * KIB))
