#pragma once

/* Whether what runs is what the configuration says now. */

#include "cli/cli.h"
#include "service/client.h"

struct config;

struct cli_deployed {
    unsigned generation; /* that runs; 0: of none */
    const char *file;    /* then, which file; NULL: nothing is deployed */
    bool differs;        /* the configuration of this command is another */
};

/* Of the services that are seen; the file lives as long as the view. */
int cli_find_deployed(struct cli *cli, const struct config *config, const struct service_view *view,
                      struct cli_deployed *ret) must_check;
/* A line where it differs; and as a member of a map. */
void cli_print_deployed(struct cli *cli, const struct config *config, const struct cli_deployed *d);
void cli_print_deployed_json(const struct cli_deployed *d, struct json_writer *w);
