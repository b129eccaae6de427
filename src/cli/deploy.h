#pragma once

/* What the verbs that deploy have in common: what would change, told; and the change itself, done as a
 * unit of its own, which outlives the terminal that follows it. */

#include "cli/candidate.h"
#include "cli/cli.h"
#include "deploy/host.h"

/* Who runs the services. */
enum cli_keeper {
    CLI_KEEPER_SYSTEMD,
    CLI_KEEPER_UP,
    CLI_KEEPER_NONE, /* only files are changed */
};

struct cli_deploy {
    const struct config *config;
    struct arena arena;
    struct deploy_machine machine;
    struct deploy_host host;
    struct deploy_wish wish; /* files or number are for the verb to set */
    struct deploy_outlook outlook;
    char by[64];
    enum cli_keeper keeper;
    const char *const *args; /* of the command, for the unit that repeats it */
    size_t args_count;
    int (*agreed)(struct cli *cli,
                  void *arg); /* it is about to be done; NULL: nobody wants to know */
    void *arg;
};

/* To be closed in any case. why: of the generation; for cli_deploy_do(): the words of the verb. */
int cli_deploy_open(struct cli *cli, const struct config *config, const char *why,
                    struct cli_deploy *ret) must_check;
void cli_deploy_close(struct cli_deploy *d);
#define _cleanup_cli_deploy_ _cleanup_(cli_deploy_close)

/* Fills the outlook. */
int cli_deploy_look(struct cli *cli, struct cli_deploy *d) must_check;

/* What it comes to: options of the configuration, files, and what is done about units; for people, and
 * as members of a map. */
void cli_deploy_print(struct cli *cli, const struct cli_deploy *d);
void cli_deploy_print_json(const struct cli_deploy *d, struct json_writer *w);

/* What is not as it was deployed; nothing, where all is. As lines, and as a member of a map.
 * by_systemd: who runs what is deployed. */
void cli_print_drift(struct cli *cli, const struct config *config, bool by_systemd);
void cli_print_drift_json(const struct config *config, bool by_systemd, struct json_writer *w);

/* Tells, asks where somebody sits there, and does it. words: of the verb, which is what the unit runs,
 * with the arguments that were given here. An exit code, or an error. */
int cli_deploy_do(struct cli *cli, struct cli_deploy *d, const char *words) must_check;

/* The parts of that, for verbs that do something else: whether it may be done now, how it ended, and the
 * same command as a unit of its own, with --here. What a restore has left that was interrupted is ended
 * first, and told. */
int cli_deploy_check(const struct cli_deploy *d, struct err *reterr) must_check;
void cli_deploy_print_end(struct cli *cli, const struct cli_deploy *d,
                          const struct deploy_end *end);
int cli_deploy_apart(struct cli *cli, struct cli_deploy *d, const char *words) must_check;

/* That a model is to be kept loaded and cannot be, unless --force is given. */
int cli_check_conflicts(struct cli *cli, const struct plan *plan) must_check;

/* "7" as the number of a generation. */
int cli_read_generation(struct cli *cli, const char *text, unsigned *ret_number) must_check;
