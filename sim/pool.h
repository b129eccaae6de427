#pragma once

/* Requests that need a prompt only: each of their inputs goes through the scheduler once, and when
 * all have, the endpoint answers. */

#include "sim/ask.h"
#include "sim/batch.h"

#define POOL_INPUTS_MAX 2048

struct pool {
    struct call *call;
    struct ask ask;
    void (*answer)(struct pool *pool);
    const char *model;  /* as it was asked for */
    const char *prefix; /* of ids */
    struct pool_input {
        struct seq seq; /* first, so that one is the other */
        struct pool *pool;
        const char *text;
        size_t len;
    } * inputs;
    size_t count, unfinished;
    uint64_t tokens; /* of all */
    bool failed;
    void *more; /* the endpoint's */
};

/* NULL: answered, there is no memory. Reads the model. */
struct pool *pool_new(struct call *call, const struct value *body, const char *prefix,
                      void (*answer)(struct pool *pool));
/* Room for so many inputs, to be set then. */
bool pool_add(struct pool *pool, size_t count);
void pool_set(struct pool *pool, size_t i, const char *text, size_t len);
/* A text, tokens, or a list of either, as a member of the body; or messages. */
void pool_read_input(struct pool *pool);
/* Everything is read. */
void pool_begin(struct pool *pool);

/* {"id", "object": "list", "created", "model", "data": [ */
struct json_writer pool_open(struct pool *pool);
/* ]: and usage; answers. */
void pool_close(struct pool *pool, struct json_writer *w);
