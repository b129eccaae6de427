#pragma once

/* One request and its answer, for programs that have nothing else to do meanwhile. */

#include "base/buf.h"
#include "base/err.h"

struct http_fetch {
    const char *address; /* as in sys/sock.h */
    const char *host;    /* NULL: the address */
    const char *method;  /* NULL: GET */
    const char *target;
    const char *type;          /* of the body; NULL: it has none */
    const char *authorization; /* NULL: none */
    const void *body;
    size_t len;
    uint64_t timeout_us; /* 0: ten seconds */
};

/* 0 when there is an answer, whatever its status; its body in ret_body, whose ceiling holds. */
int http_fetch(const struct http_fetch *fetch, unsigned *ret_status, struct buf *ret_body,
               struct err *reterr) must_check;
