#pragma once

/* Asking the monitor, or the gateway, at its control socket: api/operations.def. */

#include "api/operations.h"
#include "base/buf.h"
#include "fmt/value.h"

struct config;

struct monitor_wish {
    enum operation_id id;
    const char *service;    /* or a key; NULL: the operation names none */
    const char *query;      /* the name of its one parameter; NULL: it has none */
    const char *value;      /* of that */
    const struct buf *body; /* JSON; NULL: none */
    uint64_t timeout_us;    /* 0: as long as any request may take */
};

#define MONITOR_ANSWER_BYTES (64 * MIB) /* of an arena for the largest answer */

/* Its answer, in the arena. ERR_SERVICE_DOWN when there is none; its own errors are passed on. */
int cli_ask_monitor(const struct config *config, const struct monitor_wish *wish,
                    struct arena *arena, struct value **ret_answer, struct err *reterr) must_check;

/* The service of that name in the answer to OPERATION_SERVICES; NULL: it has none. */
const struct value *cli_monitor_service(const struct value *answer, const char *name);
