#pragma once

/* Is the model alive? The smallest request of its own kind, and what an answer to it means. A
 * canary costs one token; health routes cost none, and prove nothing. */

#include "engine/kind.h"
#include "engine/request.h"

#include "base/err.h"

struct buf;

/* What to try for a model of this kind: itself, or for `auto` one kind after the other until one
 * is not ENGINE_OTHER_KIND. ENGINE_KIND_COUNT after the last. */
enum engine_kind engine_canary_attempt(enum engine_kind kind, size_t attempt);

/* The body is written to the buffer, which must outlive the request. kind is not AUTO. */
int engine_canary_make(enum engine_kind kind, const char *model, struct buf *body,
                       struct engine_request *ret_request) must_check;

enum engine_answer {
    ENGINE_ALIVE,       /* it did the work */
    ENGINE_OTHER_KIND,  /* it lives, but does not answer requests of this kind */
    ENGINE_NO_MODEL,    /* it lives, but knows the model by another name */
    ENGINE_BUSY,        /* it is loading, or its queue is full: no verdict */
    ENGINE_KEY_REFUSED, /* it wants another key */
    ENGINE_BROKEN,      /* it answered with an error of its own, or with nonsense */
};

/* Whatever is not ENGINE_ALIVE is told in *reterr. */
enum engine_answer engine_canary_judge(enum engine_kind kind, const char *model, int status,
                                       const char *body, size_t len, struct err *reterr);
