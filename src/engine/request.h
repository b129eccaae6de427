#pragma once

/* A question to an engine over HTTP. */

#include <stddef.h>

struct engine_request {
    const char *method;
    const char *path;         /* with its query */
    const char *content_type; /* NULL: no body */
    const char *body;
    size_t body_len;
};
