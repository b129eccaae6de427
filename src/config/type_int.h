#pragma once

/* The types of options: how each is read from a value, written as one, told to people and told to
 * machines. Reading notes what is wrong itself, so that a list can have several errors. */

#include "config/option_int.h"
#include "config/problem_int.h"

struct reading {
    struct arena *arena;
    struct config_problems *problems;
    const struct trail *trail;
    const struct option *option;
    const struct config_paths
        *paths;  /* what {root} and the like stand for; read before all others */
    bool preset; /* the value is the default of the row */
};

struct type {
    size_t bytes;        /* of the field */
    const char *name;    /* for manuals: "port" */
    const char *what;    /* for sentences: "a port" */
    const char *example; /* "90s, 15m or 2h"; may be NULL */
    bool (*read)(const struct reading *r, const struct value *v, void *field);
    struct value *(*write)(struct arena *arena, const struct option *o, const void *field);
    /* Of texts: */
    bool (*fits)(const char *text);
    bool path; /* lies under the root */
    /* Of lists: the type of an item; of others OPTION_TYPES. */
    enum option_type item;
    /* For the schema: the JSON type, and of strings what they look like. */
    const char *json;
    const char *pattern;
};

extern const struct type types[OPTION_TYPES];

/* Reads the value, or the word that stands for nothing. False when it was noted as wrong; the field
 * is zero then. */
bool type_read(const struct reading *r, const struct value *v, void *field);

/* Likewise the default that the row gives. */
void type_read_preset(const struct reading *r, void *field);

/* The value as it would stand in a file; NULL when the arena is full. */
struct value *type_write(struct arena *arena, const struct option *o, const void *field);

/* "a port from 1 to 65535, or auto" */
void type_tell_allowed(const struct option *o, struct buf *out);

/* The ends of a row's range as a file has them; false when there is none. */
struct type_range {
    char low[24];
    char high[24];
};
bool type_range(const struct option *o, struct type_range *ret_range);
