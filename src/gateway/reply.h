#pragma once

/* What every answer of the gateway has: the id of its request; whether a script in a browser may
 * read it; how the limits of the caller's key stand. And errors in the shape of the API. */

#include "base/err.h"
#include "gateway/dialect.h"

struct config_list;
struct holder;
struct http_request;

#define REPLY_ID_MAX 128
#define REPLY_OWN_ID_MAX 36
#define REPLY_ORIGIN_MAX 255
#define REPLY_NEXT_S 5 /* when to come again, to the next gateway: this one ends */

struct reply {
    char id[REPLY_ID_MAX + 1]; /* the client's own where it is short and printable */
    /* Towards engines, which take two requests of one id for the same: so no client may choose
     * it, or foresee another's. */
    char own_id[REPLY_OWN_ID_MAX + 1];
    char origin[REPLY_ORIGIN_MAX + 1]; /* "": a browser shows it to no script; "*": to any */
    struct holder *caller;             /* NULL: it has shown no key */
};

/* Of a request; to be called in service->request(), where heads are valid. origins: whose scripts
 * may call, gateway.cors_origins. The caller is not known yet. */
void reply_read(const struct http_request *r, const struct config_list *origins,
                struct reply *ret_reply);

void reply_begin(struct http_request *r, unsigned status, const struct reply *reply);
/* retry_after_s: 0: nobody can say. allow: of a 405, or NULL. */
void reply_problem(struct http_request *r, enum dialect dialect, const struct err *err,
                   const struct reply *reply, uint64_t retry_after_s, const char *allow);

/* Whether it is a browser that asks whether a script may make a request; then it is answered: allow
 * has the methods of its path. */
bool reply_preflight(struct http_request *r, const struct reply *reply, const char *allow);
