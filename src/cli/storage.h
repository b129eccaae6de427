#pragma once

/* What the verbs of storage show of the machine and of what they do to it. */

#include "cli/cli.h"
#include "storage/layout.h"

struct config;

/* The configuration, and what of this machine differs from it. */
int cli_storage_look(struct cli *cli, struct config **ret, struct storage_report *ret_report)
    must_check;

/* Puts right what can be, or with `dry` only tells it; each thing as a line, or as an item of the open
 * list of JSON. Returns how many there were, or a negative errno. What models can do without is only
 * warned of. */
int cli_storage_mend(struct cli *cli, const struct config *config,
                     const struct storage_report *report, bool dry) must_check;

/* What is left for a person, and is not what this verb will do (NULL: it does no more): degradations are
 * told as messages, of the rest all but the first is spoken. Returns 0, or the negative errno of that one. */
int cli_storage_rest(struct cli *cli, const struct storage_report *report,
                     bool (*will)(const struct storage_finding *)) must_check;

/* Around what is changed, or with `dry` would be: the object {"dry_run", "changes", "left"} of JSON, of
 * which the last are those findings of the report that are left for a person. Without --json nothing. */
void cli_storage_begin(struct cli *cli, bool dry);
void cli_storage_end(struct cli *cli, const struct storage_report *report);

/* A finding as an item of a list of JSON. */
void cli_storage_json(struct json_writer *w, const struct storage_finding *finding);
