#pragma once

/* A few fields of a form (multipart/form-data, RFC 7578), found while it arrives: what they
 * say, and where in the body that stands. Files are passed over at the speed of memchr;
 * nothing of them is kept.
 *
 * One way to read a form, or none, since an engine reads it again: lines end with CR LF; a line
 * that begins like a boundary is one; a field that is asked for is there once, is no file, and is
 * not encoded for its transfer; names have no escapes but \" and \\. The verdict does not depend
 * on how the bytes arrive. */

#include "base/err.h"

#define MULTIPART_BOUNDARY_MAX 70 /* of RFC 2046 */
#define MULTIPART_HEAD_MAX 4096   /* of one part */
#define MULTIPART_PARTS_MAX 256
#define MULTIPART_TEXT_MAX 255 /* of a field that is asked for */

enum multipart_field {
    MULTIPART_MODEL,
    MULTIPART_STREAM,
    MULTIPART_STREAM_INCLUDE_USAGE,
    MULTIPART_FIELD_COUNT,
    MULTIPART_OTHER = MULTIPART_FIELD_COUNT
};

struct multipart_value {
    bool there;
    size_t at, len; /* in the body */
    char text[MULTIPART_TEXT_MAX + 1];
};

struct multipart {
    struct multipart_value fields[MULTIPART_FIELD_COUNT];
    size_t first; /* where in the body the first boundary stands: another part may be put there */
    char mark[MULTIPART_BOUNDARY_MAX + 5]; /* CR LF -- boundary */

    /* the rest is the reader's own */
    size_t mark_len;
    size_t matched; /* so many bytes of the mark were the last that came; */
    size_t lead;    /* of these, so many that were only taken for there */
    size_t bytes;   /* read so far */
    size_t parts;
    enum multipart_field field; /* that this part is */
    uint8_t state;
    size_t head_len;
    char head[MULTIPART_HEAD_MAX];
};

/* The boundary from the value of Content-Type. */
int multipart_init(struct multipart *m, const char *type, size_t len, struct err *reterr)
    must_check;
/* Reads on. After a failure nothing may follow. */
int multipart_read(struct multipart *m, const char *bytes, size_t len, struct err *reterr)
    must_check;
/* No more comes. */
int multipart_end(const struct multipart *m, struct err *reterr) must_check;
