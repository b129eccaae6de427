#pragma once

/* What runs, by whom, and as which configuration; and what the file of this command says beside that, which
 * somebody may have edited and not applied. */

#include "cli/cli.h"
#include "config/config.h"
#include "service/client.h"

struct cli_running {
    struct config *file;         /* of this command */
    struct config *other;        /* that runs, where it is another; else NULL */
    const struct config *config; /* the one of them that runs */
    unsigned generation;         /* that this is; 0: none */
    struct service_view view;
    VEC(struct service_seen) missing; /* models that only the file asks for */
};

/* To be finished in any case. Where nobody supervises, or cannot be asked, that is the error, and only the
 * view is not there; where there is no configuration at all, `config` is NULL. */
int cli_load_running(struct cli *cli, struct cli_running *ret) must_check;
/* Likewise anew, with the file as it was loaded. */
int cli_read_running(struct cli *cli, struct cli_running *running) must_check;
void cli_running_finish(struct cli_running *running);
#define _cleanup_cli_running_ _cleanup_(cli_running_finish)

/* ERR_SERVICE_NONE: no service of that name runs, or could; then why. */
int cli_check_running(struct cli *cli, const struct cli_running *running, const char *name)
    must_check;
const struct service_seen *cli_find_missing(const struct cli_running *running, const char *name);
bool cli_asks_for(const struct config *config, const char *name); /* for a model */

/* That the file says something else: a line where it does; and what runs, as a member of a map. */
void cli_print_running(struct cli *cli, const struct cli_running *running);
void cli_print_running_json(const struct cli_running *running, struct json_writer *w);
