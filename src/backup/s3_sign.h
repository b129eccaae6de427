#pragma once

/* How a request to S3 proves whose it is: version 4 of the signatures of AWS. Pure. */

#include "base/buf.h"
#include "base/hash.h"
#include "base/secret.h"

#include <time.h>

#define S3_TIME_TEXT 17 /* "20130524T000000Z" */
#define S3_EMPTY_SHA256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

struct s3_field {
    const char *name; /* in lower case */
    const char *value;
};

#define S3_FIELDS_MAX 12

struct s3_signing {
    const char *method;
    const char *path;  /* as it goes out (s3_encode()) */
    const char *query; /* likewise, sorted by name; "": none */
    const struct s3_field
        *fields; /* sorted by name; all that are signed, `host` and x-amz-date too */
    size_t fields_count;
    const char *body_sha256; /* in hexadecimal digits */
    const char *region, *key_id;
    const struct secret *secret;
    const char *time; /* as in x-amz-date */
};

void s3_time(time_t now, char ret_text[S3_TIME_TEXT]);
/* What stands in Authorization. */
void s3_sign(const struct s3_signing *s, struct buf *ret_value);

/* Adds bytes as a path or a value of a query has them; `slashes` stay in a path. */
void s3_encode(struct buf *to, const char *text, bool slashes);
