#pragma once

/* The numbers of pack.h, for writing and reading. */

#include "backup/bytes_int.h"
#include "backup/pack.h"

#define PACK_MAGIC "citadel pack 1\n" /* with its zero: 16 bytes */
#define PACK_MAGIC_BYTES sizeof(PACK_MAGIC)
#define PACK_RECORD_MAGIC "CBLK"
#define PACK_END_MAGIC "CEND"

#define PACK_HEAD_BYTES 52 /* of a record, as far as all have the same */
#define PACK_CRC_BYTES 4
#define PACK_ENTRY_BYTES 48
#define PACK_END_BYTES 32
#define PACK_HAS_BASE (UINT32_C(1) << 31) /* in an entry */

int pack_by_id(const void *a, const void *b); /* of entries, for qsort */
