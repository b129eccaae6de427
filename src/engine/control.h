#pragma once

/* Putting an engine to sleep and waking it, as requests in the order that is safe: weights before
 * cache, and none of them while requests run. The routes are open only to the shim (sleep mode, and
 * a loopback address or a socket). */

#include "base/err.h"
#include "engine/request.h"

struct engine_step {
    const char *what; /* "loading the weights" */
    struct engine_request request;
};

/* Ends with a step whose what is NULL. level 1: weights to host memory, fast to wake; 2: weights
 * dropped, read again from disk. Each step must be answered with 200 before the next. */
const struct engine_step *engine_sleep_steps(unsigned level);
const struct engine_step *engine_wake_steps(unsigned level);

extern const struct engine_request engine_sleep_question;
int engine_sleep_answer(const char *body, size_t len, bool *ret_asleep, struct err *reterr)
    must_check;
