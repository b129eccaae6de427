#pragma once

/* What every answer of the gateway has: the id of its request; and errors in the shape of the API. */

#include "base/err.h"
#include "gateway/dialect.h"

struct http_request;

/* The client's own where it is short and printable, else a new one. */
#define REPLY_ID_MAX 128
typedef char reply_id[REPLY_ID_MAX + 1];
/* To be called in service->request(), where heads are valid. */
void reply_read_id(const struct http_request *r, reply_id id);

void reply_begin(struct http_request *r, unsigned status, const char *id);
/* retry_after_s: 0: nobody can say. allow: of a 405, or NULL. */
void reply_problem(struct http_request *r, enum dialect dialect, const struct err *err,
                   const char *id, uint64_t retry_after_s, const char *allow);
