#pragma once

/* What is wrong with a configuration: everything in one go, in the order of the file. */

#include "fmt/json.h"

#define CONFIG_PROBLEMS_MAX 100

struct config_problem {
    struct value_at at; /* line 0: of the file as a whole */
    bool warning;       /* the configuration is accepted all the same */
    const char *found;
    const char *allowed; /* may be empty */
};

struct config_problems {
    struct arena arena;
    const char *file;
    struct buf text; /* of the file, as it was read */
    struct config_problem items[CONFIG_PROBLEMS_MAX];
    size_t count;
    size_t left_out; /* beyond the ceiling */
    size_t errors;   /* of all, without warnings */
};

void config_problems_init(struct config_problems *problems);
void config_problems_finish(struct config_problems *problems);
#define _cleanup_config_problems_ _cleanup_(config_problems_finish)

/* A line each: "citadel.yaml:4:11: models.phi3.port is 70000: a port from 1 to 65535, or auto". */
void config_problems_print(const struct config_problems *problems, struct buf *out);
/* Writes a list of {file, line, column, severity, found, allowed}. */
void config_problems_json(const struct config_problems *problems, struct json_writer *w,
                          const char *name);

/* Stars in place of what looks like a secret, in any text. check_secrets.c */
void config_mask_secrets(char *text);
