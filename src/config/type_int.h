#pragma once

/* Between the files of types. */

#include "config/type.h"

/* Notes "PATH is VALUE: ALLOWED" and returns false. */
bool type_refuse(const struct reading *r, const struct value *v);

/* Notes "PATH FOUND: ALLOWED" and returns false. */
bool type_refuse_because(const struct reading *r, struct value_at at, const char *allowed,
                         const char *found_fmt, ...) printf_like(4, 5);

/* A scalar as a text; NULL when it is none, or has line ends or control characters. */
const char *type_text(const struct value *v);

struct value *type_new(struct arena *arena, enum value_type type, const char *text);

#define TYPE_READ(noun) \
    bool type_read_##noun(const struct reading *r, const struct value *v, void *field)
#define TYPE_WRITE(noun) \
    struct value *type_write_##noun(struct arena *arena, const struct option *o, const void *field)

TYPE_READ(bool);
TYPE_WRITE(bool);
TYPE_READ(switch);
TYPE_WRITE(switch);
TYPE_READ(count);
TYPE_WRITE(count);
TYPE_READ(port);
TYPE_WRITE(port);
TYPE_READ(fraction);
TYPE_WRITE(fraction);
TYPE_READ(quantity);
TYPE_WRITE(quantity);
TYPE_READ(text);
TYPE_WRITE(text);
TYPE_READ(choice);
TYPE_WRITE(choice);
TYPE_READ(schedule);
TYPE_WRITE(schedule);
TYPE_READ(list);
TYPE_WRITE(list);
TYPE_READ(pairs);
TYPE_WRITE(pairs);
TYPE_READ(chains);
TYPE_WRITE(chains);
TYPE_READ(secret);
TYPE_WRITE(secret);
TYPE_READ(schedules);
TYPE_WRITE(schedules);

bool type_is_text(const char *text); /* also an empty one */
bool type_is_any(const char *text);  /* any but an empty one */
bool type_is_user(const char *text);
bool type_is_host(const char *text);
bool type_is_address(const char *text);
bool type_is_network(const char *text);
bool type_is_url(const char *text);
bool type_is_repository(const char *text);
bool type_is_device(const char *text);
