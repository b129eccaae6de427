#pragma once

/* Where requests may go by one configuration: what its names mean, and a back end for each of its
 * servers. It never changes, and a request keeps the one it came under until its end: so another
 * configuration cuts nothing. A server that is in both has one back end, with its queue and its
 * connections; one that only the former has goes with the last request that may still ask it. */

#include "base/err.h"
#include "base/vec.h"

struct backend;
struct config;
struct config_model;
struct loop;
struct papers;
struct params;
struct target_back;
struct target_table;

struct routing {
    const struct config *config;
    struct config *owned; /* the same, where it goes with the routing; else NULL */
    struct target_table *targets;
    struct backend **backends; /* models, then peers, by place in the configuration; NULL: a model
                                  that is not enabled */
    size_t count;              /* of these */
    struct params *params;     /* of models, by place */
    VEC(const char *) members; /* that bodies are looked for: ask.h's, and those of parameters */
    char *spool;               /* directory for large bodies */
    unsigned holders;
};

/* Held once. papers: of its peers; new back ends take from them. before: whose back ends are taken
 * over where they ask the same server; NULL: none are. */
int routing_new(struct loop *loop, const struct config *config, struct papers *papers,
                const struct routing *before, struct routing **ret_routing, struct err *reterr)
    must_check;
/* From here on its back ends go by its limits. */
void routing_enter(struct routing *routing);

struct routing *routing_hold(struct routing *routing);
void routing_drop(struct routing *routing); /* NULL is none */

struct backend *routing_backend_of(const struct routing *routing, const struct target_back *back);
/* NULL: it is of another host, which has its own. */
const struct params *routing_params_of(const struct routing *routing,
                                       const struct target_back *back);
