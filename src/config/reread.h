#pragma once

/* A process's own configuration, read anew while it runs: what has changed of that which it reads,
 * and whether it can take it up. */

#include "config/config.h"
#include "config/diff.h"

struct json_writer;

struct config_reread {
    struct config *config;   /* as it is now */
    struct config_diff diff; /* of all, also of what is others' */
    const char *name;        /* whose configuration it is: of a model, "monitor" or "gateway" */
    bool restart;            /* something that it reads only when it starts */
};

/* From the file of `before`; one that is wrong is an error, and `before` holds. */
int config_reread(const struct config *before, const char *name, struct config_reread *ret,
                  struct err *reterr) must_check;
void config_reread_finish(struct config_reread *reread);
#define _cleanup_config_reread_ _cleanup_(config_reread_finish)

/* The answer of who was asked to: {"live": [{"path", "from", "to"}], "restart": [likewise]}. */
void config_reread_print(const struct config_reread *reread, struct json_writer *w);

/* The first line of what is wrong with a file, as an error that ends with it. */
int config_refuse(const struct config_problems *problems, const char *file, struct err *reterr);

/* How much this process tells, unless its command line says. */
void config_set_log_level(const struct config *config);
