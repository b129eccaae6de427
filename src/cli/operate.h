#pragma once

/* Operations of the monitor and the gateway, at the control socket of whose it is: api/operations.def. */

#include "api/operations.h"
#include "base/buf.h"
#include "fmt/value.h"

struct config;

struct operation_wish {
    enum operation_id id;
    const char *name;       /* of a service or a key; NULL: the operation names none */
    const char *query;      /* the name of its one parameter; NULL: it has none */
    const char *value;      /* of that */
    const struct buf *body; /* JSON; NULL: none */
    uint64_t timeout_us;    /* 0: as long as any request may take */
};

#define OPERATE_ANSWER_BYTES (64 * MIB) /* of an arena for the largest answer */

/* The answer, in the arena. ERR_SERVICE_DOWN when nobody is there; what they refuse is passed on. */
int cli_operate(const struct config *config, const struct operation_wish *wish, struct arena *arena,
                struct value **ret_answer, struct err *reterr) must_check;

/* The service of that name in the answer to OPERATION_SERVICES; NULL: it has none. */
const struct value *cli_operate_service(const struct value *answer, const char *name);
