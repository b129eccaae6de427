#pragma once

/* The steps from a tree to a configuration: read.c fills the structs from the tree by the table;
 * complete.c fills in what `auto` stands for; check.c looks at what no single option can tell. */

#include "config/option_int.h"
#include "config/problem_int.h"

#define CONFIG_MODELS_MAX 256 /* entries of any map of sections */

struct loading {
    struct arena *arena;
    struct config *config;
    struct config_problems *problems;
    bool whole;         /* nothing was left out of the tree because it could not be read */
    struct map *served; /* while checking: the names that the gateway answers to */
};

/* Whether commands or units use the name for something else than a model. */
bool config_is_reserved(const char *name);

void config_read(const struct loading *l, const struct value *tree);
void config_complete(const struct loading *l);
void config_check(const struct loading *l);
void config_check_secrets(const struct loading *l, const struct value *tree);
