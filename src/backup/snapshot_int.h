#pragma once

/* The numbers of snapshot.h, for writing and reading. */

#include "backup/bytes_int.h"
#include "backup/snapshot.h"

#define SNAPSHOT_MAGIC "citadel snap 1\n" /* with its zero: 16 bytes */
#define SNAPSHOT_MAGIC_BYTES sizeof(SNAPSHOT_MAGIC)

#define SNAPSHOT_TAG_HEAD "HEAD"
#define SNAPSHOT_TAG_ENTRY "ENTR"
#define SNAPSHOT_TAG_XATTR "XATR"
#define SNAPSHOT_TAG_BLOCKS "BLKS"
#define SNAPSHOT_TAG_END "END "

#define SNAPSHOT_RECORD_HEAD 8
#define SNAPSHOT_RECORD_CRC 4
#define SNAPSHOT_RECORD_MAX ((size_t)(128 * KIB)) /* of a payload: the longest attribute and more */
#define SNAPSHOT_ENTRY_BYTES 76                   /* before its strings */
#define SNAPSHOT_BLOCK_BYTES 36
#define SNAPSHOT_BLOCKS_MAX 1024 /* of a record */
#define SNAPSHOT_END_BYTES 96
