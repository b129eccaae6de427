#pragma once

/* A directory of archives that stand alone, for people who have no Citadel: NAME-DATE-ID.tar.zst of
 * each snapshot (export.h), SHA256SUMS of these, and a README. An archive has its line in SHA256SUMS
 * only when it was read back from the disk, and was what had been written: so one that has none, or
 * another, is none, and is written anew. Other lines and files stay as they are. */

#include "backup/snapshots.h"

#define ARCHIVE_NAME_MAX 160
const char *archive_name(const struct snapshot_row *row, char ret[ARCHIVE_NAME_MAX]);

/* 1: it is there, and as its line says; 0: it is not. */
int archive_is_whole(const char *dir, const char *name, struct err *reterr) must_check;

/* Reads back what was written, and compares it; then it has its line. BACKUP_UNSOUND. */
int archive_confirm(const char *dir, const char *name, const char sha256[HASH_SHA256_HEX],
                    struct err *reterr) must_check;
