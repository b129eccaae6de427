#pragma once

/* What the verbs that deploy have in common: what would change, told; and the change itself,
 * done as a unit of its own, which outlives the terminal that follows it, and does what was
 * shown there. */

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
    struct deploy_wish wish; /* files or number are for the verb to set; `expect` is of --expect */
    struct deploy_outlook outlook;
    char by[64];
    enum cli_keeper keeper;
    const char *const *args; /* of the command, for the unit that repeats it */
    size_t args_count;
    const char *digest; /* of what is shown, and is handed on with the command; NULL: none is */
    const struct plan *plan; /* of the candidate; NULL: nothing is planned, and nothing lacking */
    const char *option;      /* that lets conflicts and losses of it pass */
};

/* To be closed in any case. why: of the generation; for cli_deploy_do(): the words of the verb. */
int cli_deploy_open(struct cli *cli, const struct config *config, const char *why,
                    struct cli_deploy *ret) must_check;
void cli_deploy_close(struct cli_deploy *d);
#define _cleanup_cli_deploy_ _cleanup_(cli_deploy_close)

/* To deploy it: what that would lose, or cannot hold, is refused unless the option is given; NULL: it
 * is only looked at. */
int cli_deploy_take(struct cli *cli, struct cli_deploy *d, const struct cli_candidate *candidate,
                    const char *option) must_check;

/* Whether it may be done now. What a restore has left that was interrupted is ended first, and
 * told. */
int cli_deploy_check(const struct cli_deploy *d, struct err *reterr) must_check;

/* A change of what is deployed, as a verb makes it; arg is for its functions. What is NULL is done
 * as `apply` does it. */
struct cli_deed {
    const char *words;    /* of the verb, which is what the unit runs */
    const char *question; /* "Do it?" */
    /* Finds out what would be done, and sets d->digest. > 0: nothing, and nobody is asked. */
    int (*look)(struct cli *cli, struct cli_deploy *d, void *arg);
    void (*print)(struct cli *cli, const struct cli_deploy *d, void *arg); /* that, for people */
    int (*agreed)(struct cli *cli, void *arg); /* it is about to be done */
    /* Does it, with the lock held, if it is what was shown, and prints how it ended. */
    int (*work)(struct cli *cli, struct cli_deploy *d, void *arg);
    void *arg;
};

/* Shows it, asks, and does it: as a unit of its own where systemd runs the services, which is the
 * same command with --here and --expect. An exit code, or an error. */
int cli_deploy_do(struct cli *cli, struct cli_deploy *d, const struct cli_deed *deed) must_check;

/* What `apply` does at each step, for it and for others; print_end is of deploy_apply(), and
 * returns the exit code. */
int cli_deploy_look(struct cli *cli, struct cli_deploy *d, void *unused) must_check;
void cli_deploy_print(struct cli *cli, const struct cli_deploy *d, void *unused);
int cli_deploy_work(struct cli *cli, struct cli_deploy *d, void *unused) must_check;
int cli_deploy_print_end(struct cli *cli, const struct cli_deploy *d, const struct deploy_end *end);

/* What it comes to, as members of a map. */
void cli_deploy_print_json(const struct cli_deploy *d, struct json_writer *w);

/* What is not as it was deployed; nothing, where all is. As lines, and as a member of a map.
 * by_systemd: who runs what is deployed. */
void cli_print_drift(struct cli *cli, const struct config *config, bool by_systemd);
void cli_print_drift_json(const struct config *config, bool by_systemd, struct json_writer *w);

/* "7" as the number of a generation. */
int cli_read_generation(struct cli *cli, const char *text, unsigned *ret_number) must_check;
