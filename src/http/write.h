#pragma once

/* Heads and chunks, into a buffer. A head in which something could not be read back as it is fails
 * as a whole: a field with CR, LF, NUL or any control byte in it, with white space at an end, with
 * a name that is no token, a second one where our own parser takes one only. */

#include "base/buf.h"
#include "http/http1.h"

struct http_writer {
    struct buf *out;
    size_t start;  /* of the head in out */
    uint64_t seen; /* a bit for each known field */
    bool failed;
};

/* A start line; method and target of a request as they shall stand there. */
void http_write_request(struct http_writer *w, struct buf *out, const char *method,
                        const char *target);
void http_write_response(struct http_writer *w, struct buf *out, unsigned status);

/* Any field but those of framing and connection (http_field_is_hop()), which fail. */
void http_write_field(struct http_writer *w, const char *name, const char *value);
void http_write_field_n(struct http_writer *w, const char *name, const char *value, size_t len);

void http_write_length(struct http_writer *w, uint64_t bytes);         /* Content-Length */
void http_write_chunked(struct http_writer *w);                        /* Transfer-Encoding */
void http_write_connection(struct http_writer *w, const char *option); /* "close" or "keep-alive" */

/* The empty line. -EINVAL, and out as it was before the head, when something in it was wrong;
 * -ENOBUFS when it does not fit. */
int http_write_end(struct http_writer *w) must_check;

void http_write_chunk(struct buf *out, const void *bytes, size_t len); /* nothing for len 0 */
void http_write_last_chunk(struct buf *out);

const char *http_status_phrase(unsigned status); /* "" when it has none here */

/* A date as in RFC 9110, 5.6.7, made anew only when the second changes. */
struct http_date {
    uint64_t second;
    char text[30];
};
const char *http_date(struct http_date *date, uint64_t wall_us);
