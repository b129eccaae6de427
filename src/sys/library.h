#pragma once

/* Libraries that few of our processes need: linked, they would be most of the memory of all others. */

#include "base/err.h"

struct library_call {
    const char *symbol;
    size_t at; /* of a pointer to it, in the struct of all calls */
};

/* Fills the struct, of which nothing is used on failure. A library that is loaded stays. id: of the error;
 * its sentence names the file, and what is wrong with it. */
int library_load(const char *file, const struct library_call *calls, size_t count, void *ret_calls,
                 enum err_id id, struct err *reterr) must_check;
