#pragma once

/* What a job has come to, for who was not there: STATE/jobs/NAME.json, replaced as a whole when the job ends,
 * however it ends, and read by everybody. What it tells of a success stays when the next run fails.
 *
 *   {"job": "configs", "began_us": 1795330000000000, "ended_us": ..., "result": "ok",
 *    "error": null, "success_us": ..., "snapshot": "3f0c...", "files": 40, "bytes": 81920,
 *    "new_bytes": 512, "stored_bytes": 300, "took_us": 41000, "rate_bytes": 1998048,
 *    "dedup_ratio": 160, "compression_ratio": 1.7, "verified_ratio": null,
 *    "free_bytes": ..., "full_us": null,
 *    "rooms": [{"at_us": ..., "free_bytes": ...}], "memory": "..."}
 *
 * Times are since 1970. A ratio is null where nothing was new. */

#include "base/buf.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/text.h"

#define JOB_BYTES_MAX ((size_t)(64 * KIB)) /* of the file */
#define JOB_ROOMS_MAX 60
#define JOB_ROOMS_APART_US UINT64_C(3600000000) /* jobs may run more often */
#define JOB_MEMORY_MAX 8192

struct job {
    uint64_t began_us, ended_us; /* of the last run */
    struct err err;              /* of it; id ERR_NONE: all was well */

    /* of the last that was well; 0: none was */
    uint64_t success_us;
    char snapshot[HASH_SHA256_HEX]; /* the last that was made; "" */
    uint64_t files, bytes, new_bytes, stored_bytes, took_us;
    bool has_verified;
    double verified; /* share of what there is that was read and found whole */

    /* What there was left of the repository's storage, from the oldest on. */
    struct job_room {
        uint64_t at_us, free_bytes;
    } rooms[JOB_ROOMS_MAX];
    size_t rooms_count;

    char memory[JOB_MEMORY_MAX]; /* what the job wants to know the next time */
};

/* 0 and nothing: it has never run, or what is there cannot be read, which the next run mends; 1. */
int job_load(const char *state, const char *name, struct job *ret);
int job_save(const char *state, const char *name, const struct job *job, struct err *reterr)
    must_check;

/* All that there are, by name. */
#define JOBS_MAX 32
struct jobs {
    struct jobs_item {
        char name[TEXT_NAME_MAX + 1];
        struct job job;
    } * items; /* on the heap */
    size_t count;
};
void jobs_load(const char *state, struct jobs *ret);
void jobs_finish(struct jobs *j);

bool job_parse(const char *text, size_t len, struct job *ret) must_check;
void job_print(const char *name, const struct job *job, struct buf *out);

void job_add_room(struct job *job, uint64_t at_us, uint64_t free_bytes);
/* When nothing will be left, if that goes on as it went on average; 0: it does not become less, or nobody
 * can say yet. */
uint64_t job_full_us(const struct job *job);
