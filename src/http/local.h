#pragma once

/* What the control sockets have in common, at which processes of ours are asked: who may ask, and
 * how an error is told. Its body is {"id", "what", "fix", "exit"}, by the row of the error. */

#include "http/server.h"

/* Whether root may ask, or also the account of this process. Whoever may not is answered so. */
enum http_local_who { HTTP_LOCAL_ROOT, HTTP_LOCAL_OWN };
bool http_local_admits(struct http_request *r, enum http_local_who who);

/* JSON; a body that found no room is 500. */
void http_local_answer(struct http_request *r, unsigned status, const struct buf *body);
void http_local_answer_error(struct http_request *r, const struct err *err);

/* Such an answer as an error of ours; of any other body, the status. who: who answered. */
int http_local_read_error(const char *who, unsigned status, const char *body, size_t len,
                          struct err *reterr);
