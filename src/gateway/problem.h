#pragma once

/* An error as the API that was called writes it, so that its client libraries raise what their
 * users expect. The sentence, and what mends it, is that of struct err; words for type and code
 * are rows of problem.def. */

#include "base/buf.h"
#include "base/err.h"
#include "gateway/dialect.h"

/* Enough for any of them, with each byte of its sentences as an escape. */
#define PROBLEM_MAX (8 * KIB)

unsigned problem_status(const struct err *err);

/* A whole body (application/json). request_id may be NULL. */
void problem_write(struct buf *out, enum dialect dialect, const struct err *err,
                   const char *request_id);

/* The last event of a stream that has begun: no end that looks complete follows it. events: how
 * many were sent before it, which Responses counts. */
void problem_write_event(struct buf *out, enum dialect dialect, const struct err *err,
                         const char *request_id, uint64_t events);
