#pragma once

/* What several verbs do with services: show a table, change them, wait. */

#include "cli/cli.h"
#include "cli/running.h"
#include "cli/service_look.h"

#define SERVICE_COLUMNS 8
extern const struct table_column service_columns[SERVICE_COLUMNS];
void cli_add_service(struct table *table, const struct service_look *look, uint64_t now_us);

/* One state as a line: "phi3: ready: answers chat completions". */
void cli_service_line(const struct service_status *status, struct buf *out);

/* Asks for `verb` of the named services (none, or `all`: all of them), and waits until they have got
 * there; with --json they are printed as `status` has them. Returns an exit code, or a negative errno. */
int cli_change_services(struct cli *cli, const char *verb, enum service_state goal);
/* Likewise, of services that are known already. */
int cli_change_running(struct cli *cli, struct cli_running *running, const char *verb,
                       enum service_state goal) must_check;

/* Whether the arguments name it, or a group that it is in, when it is to become `goal`; and that they all
 * name anything. */
bool cli_means_service(const struct cli *cli, const struct service_seen *seen,
                       enum service_state goal);
int cli_check_services(struct cli *cli, const struct cli_running *running) must_check;

/* Its state; of a model that is started or ready, the phase, which says more. */
const char *service_seen_word(const struct service_seen *seen);
