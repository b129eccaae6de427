#pragma once

/* A verb run as a transient unit of systemd, which this process only follows. */

#include "cli/cli.h"

struct cli_transient {
    const char *name; /* "citadel_apply-123.service" */
    const char *what;
    const char *dir;         /* in which NAME.messages and NAME.results lie meanwhile */
    const char *const *args; /* of this program; NULL at the end */
};

/* Its exit code, or an error of our own. What it says is said here, too. */
int cli_run_transient(struct cli *cli, const struct cli_transient *wish) must_check;
