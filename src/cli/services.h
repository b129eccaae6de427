#pragma once

/* What several verbs do with services: find the supervisor, show a table, wait. */

#include "cli/cli.h"
#include "cli/service_look.h"
#include "config/config.h"
#include "service/client.h"

/* The configuration, and what the supervisor of its run directory tells. name: one that must be
 * there; NULL: none need be. */
int cli_load_services(struct cli *cli, const char *name, struct config **ret_config,
                      struct service_view *ret_view) must_check;

/* Of a configuration that is loaded: what our own supervisor tells where one answers, else systemd. */
int cli_read_services(struct cli *cli, const struct config *config, struct service_view *ret_view)
    must_check;

#define SERVICE_COLUMNS 8
extern const struct table_column service_columns[SERVICE_COLUMNS];
void cli_add_service(struct table *table, const struct service_look *look, uint64_t now_us);

/* Whether one is deployed at all. */
bool cli_has_services(const struct service_view *view);

/* One state as a line: "phi3: ready: answers chat completions". */
void cli_service_line(const struct service_status *status, struct buf *out);

/* Asks for `verb` of the named services (none, or `all`: all of them), and waits until they have got
 * there; with --json they are printed as `status` has them. Returns an exit code, or a negative errno. */
int cli_change_services(struct cli *cli, const char *verb, enum service_state goal);
/* Likewise, of services that are known already. */
int cli_change_loaded(struct cli *cli, const struct config *config, struct service_view *view,
                      const char *verb, enum service_state goal) must_check;

/* Whether the arguments name it, or a group that it is in, when it is to become `goal`; and that an
 * argument names anything. */
bool cli_means_service(const struct cli *cli, const struct service_seen *seen,
                       enum service_state goal);
int cli_check_service(struct cli *cli, const struct service_view *view, const char *name)
    must_check;

/* Its state; of a model that is started or ready, the phase, which says more. */
const char *service_seen_word(const struct service_seen *seen);
