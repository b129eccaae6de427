#pragma once

/* Engines that more than one verb runs, until they have ended: what they have told, and how long it took. */

#include "backup/export.h"
#include "backup/restore.h"
#include "cli/backup.h"

int cli_backup_run_restore(struct cli_backup *b, const char *what, const struct restore_wish *wish,
                           struct restore_told *ret, uint64_t *ret_us) must_check;
int cli_backup_run_export(struct cli_backup *b, const char *what, const struct export_wish *wish,
                          struct export_told *ret, uint64_t *ret_us) must_check;
