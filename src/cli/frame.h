#pragma once

/* The frame around the verbs: arguments in, one verb run, errors spoken, exit code out. */

#include "cli/cli.h"

#define CLI_GIVEN_MAX 32

struct cli_frame {
    struct cli_given {
        const struct verb_option *option;
        const char *value; /* NULL for a flag */
    } given[CLI_GIVEN_MAX];
    size_t given_count;
    const char **args;
    char words[VERB_WORDS_MAX]; /* of the verb, or of what begins some: "config" */
    struct buf out;
    struct json_writer writer;
    struct table_look err_look;       /* of stderr */
    int write_error;                  /* errno of the first write to stdout that failed */
    bool json;                        /* --json, known before anything else is read */
    struct config_problems *problems; /* of a configuration, for the error that they end in */
};

int cli_main(int argc, char *argv[]);

void cli_init(struct cli *cli, struct cli_frame *frame);
void cli_finish(struct cli *cli);

/* Reads a command line by the tables, into cli. With --help or --version the verb may be missing:
 * then cli->verb is NULL. */
int cli_parse(struct cli *cli, const struct verb *verbs, const struct verb_option *common, int argc,
              char *const argv[]) must_check;

/* The error for words that are neither a verb nor the beginning of one. */
int cli_refuse_words(struct cli *cli, const struct verb *verbs, const char *const *words);

/* Whether an option was given; its value, if it has one. */
bool cli_given(const struct cli *cli, const char *name, const char **ret_value);

/* Help of the verb with these words, or of all that begin with them; false if there is neither.
 * "" is all of them. */
bool cli_help(struct cli *cli, const char *words);
