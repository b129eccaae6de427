#pragma once

/* HTTP/1.1 messages, read strictly: one way to read a message, or none.
 *
 * The bytes stay the caller's. What is found in them is told as slices: distances from the first
 * byte of the message, which hold when the buffer moves. Nothing is allocated or copied, time is
 * linear however the bytes arrive, and the verdict does not depend on how they arrive. */

#include "base/util.h"

#include <string.h>

enum http_method {
    HTTP_OTHER, /* any other token */
#define METHOD(name, idempotent) HTTP_##name,
#include "http/method.def"
#undef METHOD
};

enum http_field {
    HTTP_FIELD_OTHER,
#define FIELD(name, text, first, last, repeated, reach) HTTP_FIELD_##name,
#include "http/field.def"
#undef FIELD
    HTTP_FIELD_COUNT
};

enum http1_reason {
    HTTP1_NONE,
#define REASON(name, text, status, why) HTTP1_##name,
#include "http/reason.def"
#undef REASON
    HTTP1_REASON_COUNT
};

struct http1_reason_row {
    const char *name;
    int status;
    const char *why;
};

const struct http1_reason_row *http1_reason_row(enum http1_reason reason);

struct http1_limits {
    uint32_t target_bytes;
    uint32_t head_bytes;      /* start line, fields and the empty line */
    uint32_t fields;          /* HTTP1_FIELDS_MAX at most */
    uint32_t extension_bytes; /* of all chunks of a message together */
    uint32_t trailer_bytes;
};

enum http1_verdict {
    HTTP1_MORE,    /* so far nothing is wrong */
    HTTP1_PIECE,   /* of a body: here are some bytes of it */
    HTTP1_DONE,    /* the head, or the body, is whole */
    HTTP1_REFUSED, /* and it stays refused */
};

struct http1_slice {
    uint32_t at;
    uint32_t len;
};

enum http1_form {
    HTTP1_ORIGIN,    /* /path?query */
    HTTP1_ABSOLUTE,  /* http://host/path?query */
    HTTP1_AUTHORITY, /* host:port, of CONNECT */
    HTTP1_ASTERISK,  /* *, of OPTIONS */
};

enum http1_framing {
    HTTP1_NO_BODY,
    HTTP1_LENGTH,
    HTTP1_CHUNKED,
    HTTP1_UNTIL_CLOSE, /* of responses only */
};

#define HTTP1_FIELDS_MAX 128

struct http1_field {
    struct http1_slice name;
    struct http1_slice value; /* without the white space around it */
    enum http_field id;
};

struct http1_head {
    const char *bytes; /* what slices count from; whoever moves the bytes sets it again */
    uint32_t len;      /* of the head with its empty line */

    /* of a request */
    enum http_method method;
    enum http1_form form;
    struct http1_slice method_name;
    struct http1_slice target; /* as sent */
    struct http1_slice path;   /* as sent; empty in `GET http://host`, and in the last two forms */
    struct http1_slice query;  /* without '?' */
    struct http1_slice host;   /* and port: of the target, or else of Host; may be empty in 1.0 */
    bool expect_continue;

    /* of a response */
    unsigned status;
    struct http1_slice phrase;

    unsigned minor; /* 0 or 1: of the version */
    bool keep_alive;
    bool names_hops; /* Connection names other fields than those of its own */
    enum http1_framing framing;
    uint64_t content_length; /* of the body with HTTP1_LENGTH, else 0 */
    unsigned field_count;
    struct http1_field fields[HTTP1_FIELDS_MAX];

    /* the rest is the parser's own */
    uint8_t first[HTTP_FIELD_COUNT]; /* 1 + index of the first field of that id */
    uint8_t state;
    bool is_response;
    enum http_method asked; /* the method that a response answers */
    enum http1_reason reason;
    uint32_t at;                       /* so far everything before this byte was read */
    uint32_t mark;                     /* where what is being read began */
    const struct http1_limits *limits; /* outlive the head */
};

void http1_request_init(struct http1_head *head, const struct http1_limits *limits);
void http1_response_init(struct http1_head *head, const struct http1_limits *limits,
                         enum http_method asked);

/* Reads on in the len bytes that the message has so far, from its first one; those that were given
 * before are there again, unchanged, perhaps at another address. After HTTP1_DONE the body begins
 * at bytes + head->len; after HTTP1_REFUSED head->reason tells why. */
enum http1_verdict http1_head_read(struct http1_head *head, const char *bytes, size_t len);

/* The first field of that id, or NULL. */
static inline const struct http1_field *
http1_find(const struct http1_head *head, enum http_field id)
{
    return head->first[id] ? &head->fields[head->first[id] - 1] : NULL;
}

/* Likewise, by a name that is not in http/field.def. */
const struct http1_field *http1_find_other(const struct http1_head *head, const char *name);
/* Of an answer: in how many seconds it is to be asked for again, as Retry-After says, and an hour
 * at the most; 0: it does not say, or by a date. */
uint64_t http1_retry_after_s(const struct http1_head *head);
/* Whether it is for the next one only: of framing or connection, or named by Connection. */
bool http1_is_hop(const struct http1_head *head, const struct http1_field *field);

static inline bool
http1_is(const struct http1_head *head, struct http1_slice slice, const char *text)
{
    return strlen(text) == slice.len && memcmp(head->bytes + slice.at, text, slice.len) == 0;
}

/* A body: which bytes are its own, and where it ends. */
struct http1_body {
    enum http1_framing framing;
    uint64_t left;       /* of the length, or of the chunk */
    uint64_t seen_bytes; /* of content */
    uint64_t most_bytes; /* of content; may be changed at any time */
    enum http1_reason reason;

    /* of the chunks */
    uint8_t state;
    uint8_t digits;
    uint32_t extension_bytes;
    uint32_t trailer_bytes;
    const struct http1_limits *limits;
};

void http1_body_init(struct http1_body *body, const struct http1_head *head, uint64_t most_bytes);

/* Reads on in len bytes, of which *ret_used are taken. HTTP1_PIECE: the last *ret_piece of these
 * are content; call again with the rest. HTTP1_DONE: what follows is the next message.
 * Trailers are checked and thrown away. */
enum http1_verdict http1_body_read(struct http1_body *body, const char *bytes, size_t len,
                                   size_t *ret_used, size_t *ret_piece);

/* The connection ended: HTTP1_DONE where that ends the body, else HTTP1_REFUSED. */
enum http1_verdict http1_body_end(struct http1_body *body);

enum http_method http_method_of(const char *name, size_t len);
const char *http_method_name(enum http_method method); /* NULL for HTTP_OTHER */
bool http_method_is_idempotent(enum http_method method);

enum http_field http_field_of(const char *name, size_t len);
bool http_field_is_hop(enum http_field id); /* of framing or connection: see http/field.def */
