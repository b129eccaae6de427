#pragma once

/* A bucket of S3, or of what speaks as S3 does. Calls wait for their answers; any number of
 * threads may call at once. What fails for a while (a connection, 500, 503, "slow down") is tried
 * again (again.h); a server that says nothing for a minute is lost. Bodies are signed,
 * so that none is taken that changed on its way. */

#include "base/err.h"
#include "base/hash.h"
#include "base/secret.h"

/* Of "s3://HOST[:PORT]/BUCKET[/PREFIX][?region=REGION]"; "s3+http://" goes without TLS. */
struct s3_place {
    bool is_plain;
    char host[256]; /* with its port, where that is another than of the scheme */
    char bucket[64];
    char prefix[512]; /* of all keys: "" or "a/b/" */
    char region[64];
};
int s3_parse(const char *text, struct s3_place *ret, struct err *reterr) must_check;

struct s3_wish {
    struct s3_place place;
    const char *key_id;
    const struct secret *secret;
    const char *authorities; /* a file of certificates; NULL: those of the system */
};

struct s3;
int s3_open(const struct s3_wish *wish, struct s3 **ret, struct err *reterr) must_check;
void s3_free(struct s3 *s);
void s3_freep(struct s3 **s);
#define _cleanup_s3_ _cleanup_(s3_freep)

/* All keys are below the place's prefix. -ENOENT: there is none; -EACCES: it may not be done. */

int s3_size(struct s3 *s, const char *key, uint64_t *ret_bytes, struct err *reterr) must_check;

/* Each key that begins so, sorted, without the prefix of the place: a stranger's. */
int s3_list(struct s3 *s, const char *begins,
            int (*each)(void *arg, const char *key, uint64_t bytes), void *arg, struct err *reterr)
    must_check;

/* Exactly len bytes, 1 or more; -ENODATA: it ends before. */
int s3_read(struct s3 *s, const char *key, uint64_t at, void *ret_bytes, size_t len,
            struct err *reterr) must_check;

/* All of it, into a file, from its start on. -EFBIG: it has more than `most` bytes. */
int s3_fetch(struct s3 *s, const char *key, int to, uint64_t most, struct err *reterr) must_check;

/* The other way; it is there as a whole or not at all. */
int s3_store(struct s3 *s, int from, const char *key, struct err *reterr) must_check;

/* Likewise where there is none yet: -EEXIST. A host that does not know that condition replaces it. */
int s3_store_new(struct s3 *s, int from, const char *key, struct err *reterr) must_check;

/* When it was changed, by the clock of the host; and that becomes now. */
int s3_changed(struct s3 *s, const char *key, uint64_t *ret_us, struct err *reterr) must_check;
int s3_touch(struct s3 *s, const char *key, struct err *reterr) must_check;

/* What uploads to keys that begin so, begun before then, have left that were not completed. */
int s3_drop_uploads(struct s3 *s, const char *begins, uint64_t before_us, struct err *reterr)
    must_check;

/* 0, too, where there is none. */
int s3_remove(struct s3 *s, const char *key, struct err *reterr) must_check;
