#pragma once

/* Members of a request's body, read as vLLM's models of it read them (pydantic, in its lax mode). The
 * first that is wrong answers the call with 400 in pydantic's words; from then on failed is set, and
 * reading further changes nothing. */

#include "fmt/value.h"
#include "sim/call.h"

struct ask {
    struct call *call;
    const struct value *body;
    bool failed;
};

/* Each leaves what it is given as it was where the member is absent or null, and returns whether it
 * was there and right. */
bool ask_text(struct ask *a, const char *name, const char **text);
bool ask_bool(struct ask *a, const char *name, bool *value);
bool ask_count(struct ask *a, const char *name, uint64_t *n); /* below 0: vLLM's own error */
bool ask_real(struct ask *a, const char *name, double *n);
const struct value *ask_list(struct ask *a, const char *name);
const struct value *ask_map(struct ask *a, const char *name);
const struct value *ask_any(struct ask *a, const char *name); /* NULL: absent or null */

/* The member has to be there; likewise with its type. NULL: the call is answered. */
const struct value *ask_needed(struct ask *a, const char *name);
const struct value *ask_needed_list(struct ask *a, const char *name);
const char *ask_needed_text(struct ask *a, const char *name);

/* In pydantic's words. */
void ask_refuse(struct ask *a, const char *name, const char *type, const char *msg,
                const struct value *input);
/* Of a member that may be of several types, and is of none of them. */
struct ask_type {
    const char *branch, *type, *msg;
};
void ask_refuse_all(struct ask *a, const char *name, const struct ask_type *types, size_t count,
                    const struct value *input);
/* In vLLM's own: BadRequestError. */
void ask_fail(struct ask *a, const char *fmt, ...) printf_like(2, 3);
/* 500: what the request asks for does not fit the memory that it may take. */
void ask_fail_of_memory(struct ask *a);

/* Answers a call whose body is no JSON: 400, in Python's words. */
void ask_refuse_json(struct call *call, const char *text, size_t len, const struct err *err);
