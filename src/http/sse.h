#pragma once

/* Server-sent events (the HTML standard, 9.2), in and out. */

#include "base/buf.h"

struct sse_event {
    const char *type; /* "message" unless the sender names another */
    const char *data; /* its lines, with '\n' between them; '\0' behind it */
    size_t len;       /* of data */
    const char *id;   /* "" unless this event has one */
};

#define SSE_NAME_MAX 127

/* Reads a stream piece by piece. Memory is bounded by the ceiling; what was begun when the stream
 * ends is no event. */
struct sse_reader {
    struct buf line;
    struct buf data;
    char type[SSE_NAME_MAX + 1];
    char id[SSE_NAME_MAX + 1];
    bool began;  /* the first line was seen: from here on no byte order mark */
    bool has_cr; /* the last byte was a CR: an LF would belong to it */
    bool told;   /* the event in data was told and ends with the next call */
};

void sse_init(struct sse_reader *r, size_t ceiling_bytes);
void sse_finish(struct sse_reader *r);

/* Reads on in len bytes, of which *ret_used are taken. 1: *ret_event is one, until the next call;
 * 0: all bytes are taken; -EMSGSIZE: a line, an event or a name above its ceiling. */
int sse_read(struct sse_reader *r, const char *bytes, size_t len, size_t *ret_used,
             struct sse_event *ret_event) must_check;

/* Where the line that has the byte at `at` ends: at its CR or LF; len: it does not end here. */
size_t sse_line_end(const char *bytes, size_t at, size_t len);

/* Nothing is begun: a stream that ends here lost nothing. */
bool sse_is_between(const struct sse_reader *r);

/* type may be NULL. Data of several lines is written as several; CR and CR LF end lines too. */
void sse_write(struct buf *out, const char *type, const char *data, size_t len);
void sse_write_comment(struct buf *out, const char *text); /* of one line; keeps proxies awake */
