#pragma once

/* A document in memory: what the JSON and the YAML reader make, in an arena that the caller owns.
 * Both give the same tree, with the place of every node, so that whoever reads a document can say
 * where it is wrong.
 *
 * A list or a map is a chain: `for (const struct value *v = map->first; v; v = v->next)`. */

#include "base/err.h"
#include "base/mem.h"

enum value_type {
    VALUE_NULL,
    VALUE_BOOL,
    VALUE_NUMBER, /* its text is kept as written; read it with value_u64() and friends */
    VALUE_STRING,
    VALUE_LIST,
    VALUE_MAP,
};

struct value_at {
    uint32_t line;   /* 1-based; 0: not known */
    uint32_t column; /* 1-based, in characters */
};

struct value {
    enum value_type type;
    bool boolean;
    struct value_at at;
    struct value_at name_at;
    const char *name;    /* as a member of a map, else NULL */
    const char *text;    /* of a scalar, '\0' behind it; a string may hold '\0' inside */
    size_t len;          /* of text */
    struct value *first; /* of a list or a map */
    struct value *next;  /* of the list or map that this is in */
    size_t count;        /* members of a list or map */
};

const char *value_type_name(enum value_type type); /* "a list": for sentences */

/* The member of a map; NULL when v is NULL, no map, or has none of that name. */
const struct value *value_get(const struct value *v, const char *name);

/* What a scalar holds; false, and nothing written, when v is NULL or holds something else.
 * value_u64() also takes 1e3, 4.0 and YAML's 0x1F: the number counts, not its spelling. */
bool value_u64(const struct value *v, uint64_t *ret_n);
bool value_i64(const struct value *v, int64_t *ret_n);
bool value_real(const struct value *v, double *ret_n);
bool value_bool(const struct value *v, bool *ret);
const char *value_str(const struct value *v); /* NULL unless a string without '\0' inside */

/* For what programs of ours say, of whatever release: a string, cut to its room and without what
 * could drive a terminal, "" where there is none; a number, 0 where there is none that fits. */
void value_copy_str(const struct value *v, char *to, size_t room);
unsigned value_u32(const struct value *v);
