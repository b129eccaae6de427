#pragma once

/* multipart/form-data (RFC 7578): files of an audio request among its fields. */

#include "base/err.h"
#include "base/mem.h"

#define FORM_BOUNDARY_MAX 70 /* of RFC 2046 */
#define FORM_PARTS_MAX 64

struct form_part {
    const char *name, *file; /* file: its name; NULL: a field */
    const char *bytes;
    size_t len;
};

struct form {
    struct form_part parts[FORM_PARTS_MAX];
    size_t count;
};

/* From the value of Content-Type; false: it is no form, or has no usable boundary. */
bool form_boundary(const char *type, size_t len, char boundary[FORM_BOUNDARY_MAX + 1]);

/* Parts point into the body; names are in the arena. */
int form_parse(struct form *form, struct arena *arena, const char *body, size_t len,
               const char *boundary, struct err *reterr) must_check;
