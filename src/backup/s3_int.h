#pragma once

/* One request to a bucket: an ask is signed, and tried until there is an answer that counts. */

#include "backup/curl.h"
#include "backup/s3.h"
#include "base/buf.h"

#include <pthread.h>

#define S3_IDLE_MAX 16
#define S3_ETAG_MAX 128
#define S3_ANSWER_MAX ((size_t)(2 * MIB)) /* of what is XML: a thousand keys of 1 KiB */
#define S3_URL_MAX ((size_t)(16 * KIB))

struct s3 {
    const struct curl *curl;
    struct s3_place place;
    char *key_id, *authorities;
    struct secret secret;
    pthread_mutex_t lock;
    CURL *idle[S3_IDLE_MAX];
    size_t idle_count;
    bool was_reached;    /* of all threads */
    uint64_t part_bytes; /* what is larger is stored in such parts */
};

/* What goes there: bytes in memory, or of a file. */
struct s3_body {
    const char *text; /* NULL: of the file */
    int file;
    uint64_t at, bytes;
    uint64_t sent;
    char sha256[HASH_SHA256_HEX];
};

/* Where an answer goes, if it is no error. */
struct s3_target {
    uint8_t *memory; /* NULL: to the file; no file: it is kept as text */
    int file;
    uint64_t bytes; /* that have come */
    uint64_t most;  /* that may */
    int r;          /* that could not be kept */
};

struct s3_ask {
    const char *method;
    const char *key;          /* NULL: the bucket itself */
    const char *query;        /* encoded, and sorted by name; "": none */
    const char *range;        /* NULL: all of it */
    bool only_new;            /* where there is none yet */
    bool from_itself;         /* it is a copy of itself */
    struct s3_body *body;     /* NULL: none */
    struct s3_target *target; /* NULL: kept as text */
};

struct s3_answer {
    unsigned status;
    uint64_t bytes;    /* that it would have, of HEAD */
    int64_t changed_s; /* -1: nobody says */
    struct buf text;
    char etag[S3_ETAG_MAX];
};

/* What an error says of itself. */
struct s3_said {
    char code[128], message[256];
};

/* 0: an answer of 2xx. */
int s3_do(struct s3 *s, const struct s3_ask *ask, struct s3_answer *ret, struct err *reterr)
    must_check;
void s3_answer_finish(struct s3_answer *a);
#define _cleanup_s3_answer_ _cleanup_(s3_answer_finish)
#define S3_ANSWER_INIT                  \
    {                                   \
        .text = BUF_INIT(S3_ANSWER_MAX) \
    }

/* An s3_xml_each, of a struct s3_said. */
int s3_hear_error(void *arg, const char *path, const char *text);
