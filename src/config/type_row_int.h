#pragma once

/* Between the files of types. */

#include "config/type_int.h"

/* Notes "PATH is VALUE: ALLOWED" and returns false. */
bool type_refuse(const struct reading *r, const struct value *v);

/* Notes "PATH FOUND: ALLOWED" and returns false. */
bool type_refuse_because(const struct reading *r, struct value_at at, const char *allowed,
                         const char *found_fmt, ...) printf_like(4, 5);

/* A scalar as a text; NULL when it is none, or has line ends or control characters. */
const char *type_text(const struct value *v);

struct value *type_new(struct arena *arena, enum value_type type, const char *text);

/* The two functions of a row of the table. */
#define TYPE_FUNCTIONS(noun)                                                            \
    bool type_read_##noun(const struct reading *r, const struct value *v, void *field); \
    struct value *type_write_##noun(struct arena *arena, const struct option *o, const void *field)

TYPE_FUNCTIONS(bool);
TYPE_FUNCTIONS(switch);
TYPE_FUNCTIONS(count);
TYPE_FUNCTIONS(port);
TYPE_FUNCTIONS(fraction);
TYPE_FUNCTIONS(quantity);
TYPE_FUNCTIONS(text);
TYPE_FUNCTIONS(choice);
TYPE_FUNCTIONS(schedule);
TYPE_FUNCTIONS(list);
TYPE_FUNCTIONS(pairs);
TYPE_FUNCTIONS(chains);
TYPE_FUNCTIONS(secret);
TYPE_FUNCTIONS(schedules);

bool type_is_text(const char *text); /* also an empty one */
bool type_is_any(const char *text);  /* any but an empty one */
bool type_is_user(const char *text);
bool type_is_host(const char *text);
bool type_is_address(const char *text);
bool type_is_listen(const char *text);
bool type_is_network(const char *text);
bool type_is_url(const char *text);
bool type_is_repository(const char *text);
bool type_is_device(const char *text);
