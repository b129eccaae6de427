#pragma once

/* What can be asked of monitor and gateway: a table. */

#include "base/err.h"
#include "base/text.h"
#include "http/http1.h"

enum operation_owner { OPERATION_OF_MONITOR, OPERATION_OF_GATEWAY };
enum operation_role { OPERATION_READ, OPERATION_NEED, OPERATION_CHANGE };

enum operation_id {
#define OPERATION(owner, name, method, path, argument, role, summary) OPERATION_##name,
#include "api/operations.def"
#undef OPERATION
    OPERATION_COUNT
};

struct operation {
    enum operation_owner owner;
    enum http_method method;
    const char *path; /* without slashes */
    bool named;       /* a service is named behind it */
    enum operation_role role;
    const char *summary;
};
extern const struct operation operations[OPERATION_COUNT];

/* Which of its owner's is asked for by a request, and of which service ("" where none is named).
 * ERR_NOT_FOUND lists what there is. */
int operation_find(const struct http1_head *head, enum operation_owner owner,
                   enum operation_id *ret_id, char ret_name[TEXT_NAME_MAX + 1], struct err *reterr)
    must_check;
