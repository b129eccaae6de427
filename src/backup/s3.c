/* What is done with the objects of a bucket. */

#include "backup/s3_int.h"

#include "backup/s3_sign.h"
#include "backup/s3_xml.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/vec.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define KEYS_MAX 5000000
#define PARTS_MAX 10000
#define UPLOAD_MAX 1024

int
s3_size(struct s3 *s, const char *key, uint64_t *ret_bytes, struct err *reterr)
{
    _cleanup_s3_answer_ struct s3_answer answer = S3_ANSWER_INIT;
    const struct s3_ask ask = {.method = "HEAD", .key = key, .query = ""};
    int r = s3_do(s, &ask, &answer, reterr);
    if (r == 0)
        *ret_bytes = answer.bytes;
    return r;
}

int
s3_read(struct s3 *s, const char *key, uint64_t at, void *ret_bytes, size_t len, struct err *reterr)
{
    _cleanup_s3_answer_ struct s3_answer answer = S3_ANSWER_INIT;
    char range[64];
    struct s3_target target = {.memory = ret_bytes, .most = len};
    const struct s3_ask ask = {
        .method = "GET", .key = key, .query = "", .range = range, .target = &target};
    (void)snprintf(range, sizeof(range), "bytes=%llu-%llu", (unsigned long long)at,
                   (unsigned long long)(at + len - 1));
    int r = s3_do(s, &ask, &answer, reterr);
    if (answer.status == 416 || (r == 0 && answer.status == 206 && target.bytes < len)) {
        (void)err_set(reterr, ERR_REMOTE_REFUSED, "'%s' ends before byte %llu", key,
                      (unsigned long long)(at + len));
        return -ENODATA;
    }
    if (r == 0 && answer.status != 206)
        return err_set(reterr, ERR_REMOTE_REFUSED, "%s gives no part of '%s'", s->place.host, key);
    return r;
}

int
s3_fetch(struct s3 *s, const char *key, int to, uint64_t most, struct err *reterr)
{
    _cleanup_s3_answer_ struct s3_answer answer = S3_ANSWER_INIT;
    struct s3_target target = {.file = to, .most = most};
    const struct s3_ask ask = {.method = "GET", .key = key, .query = "", .target = &target};
    int r = s3_do(s, &ask, &answer, reterr);
    return target.r == -EMSGSIZE
               ? err_set(reterr, ERR_TOO_LARGE,
                         "'%s' at %s has more than the %llu bytes that it may have", key,
                         s->place.host, (unsigned long long)most)
               : r;
}

int
s3_remove(struct s3 *s, const char *key, struct err *reterr)
{
    _cleanup_s3_answer_ struct s3_answer answer = S3_ANSWER_INIT;
    const struct s3_ask ask = {.method = "DELETE", .key = key, .query = ""};
    int r = s3_do(s, &ask, &answer, reterr);
    return r == -ENOENT ? 0 : r;
}

/* An error may come as 200: the answer begins before it is known. */
static int
do_long(struct s3 *s, const struct s3_ask *ask, struct s3_answer *answer, const char *doing,
        struct err *reterr)
{
    struct s3_said said = {0};
    int r = s3_do(s, ask, answer, reterr);
    if (r == 0)
        r = s3_xml_read(answer->text.data, answer->text.len, s3_hear_error, &said, reterr);
    if (r == 0 && said.code[0])
        r = err_set(reterr, ERR_REMOTE_REFUSED, "%s does not %s '%s': %s: %s", s->place.host, doing,
                    ask->key, said.code, said.message);
    return r;
}

int
s3_changed(struct s3 *s, const char *key, uint64_t *ret_us, struct err *reterr)
{
    _cleanup_s3_answer_ struct s3_answer answer = S3_ANSWER_INIT;
    const struct s3_ask ask = {.method = "HEAD", .key = key, .query = ""};
    int r = s3_do(s, &ask, &answer, reterr);
    if (r == 0 && answer.changed_s < 0)
        r = err_set(reterr, ERR_REMOTE_REFUSED, "%s does not say when '%s' was changed",
                    s->place.host, key);
    if (r == 0)
        *ret_us = (uint64_t)answer.changed_s * 1000000;
    return r;
}

/* What is not there any more is no copy of itself: so nothing comes back that somebody has removed. */
int
s3_touch(struct s3 *s, const char *key, struct err *reterr)
{
    _cleanup_s3_answer_ struct s3_answer answer = S3_ANSWER_INIT;
    struct s3_body nothing = {.text = "", .sha256 = S3_EMPTY_SHA256};
    const struct s3_ask ask = {
        .method = "PUT", .key = key, .query = "", .body = &nothing, .from_itself = true};
    return do_long(s, &ask, &answer, "touch", reterr);
}

/* ---- lists ---- */

struct listing {
    struct s3 *s;
    int (*each)(void *arg, const char *key, uint64_t bytes);
    void *arg;
    char key[1100];
    uint64_t bytes;
    char next[1100];
    bool goes_on;
    size_t count;
};

static int
on_listed(void *arg, const char *path, const char *text)
{
    struct listing *l = arg;
    const char *prefix = l->s->place.prefix;
    if (strcmp(path, "ListBucketResult/Contents/Key") == 0)
        (void)snprintf(l->key, sizeof(l->key), "%s", text);
    else if (strcmp(path, "ListBucketResult/Contents/Size") == 0)
        l->bytes = strtoull(text, NULL, 10);
    else if (strcmp(path, "ListBucketResult/IsTruncated") == 0)
        l->goes_on = strcmp(text, "true") == 0;
    else if (strcmp(path, "ListBucketResult/NextContinuationToken") == 0)
        (void)snprintf(l->next, sizeof(l->next), "%s", text);
    if (strcmp(path, "ListBucketResult/Contents") != 0 || !text_starts(l->key, prefix))
        return 0;
    return ++l->count > KEYS_MAX ? -EFBIG : l->each(l->arg, l->key + strlen(prefix), l->bytes);
}

int
s3_list(struct s3 *s, const char *begins, int (*each)(void *arg, const char *key, uint64_t bytes),
        void *arg, struct err *reterr)
{
    struct listing l = {.s = s, .each = each, .arg = arg, .goes_on = true};
    int r = 0;
    while (r == 0 && l.goes_on) {
        _cleanup_s3_answer_ struct s3_answer answer = S3_ANSWER_INIT;
        _cleanup_buf_ struct buf query = BUF_INIT(S3_URL_MAX);
        if (l.next[0]) {
            buf_add_str(&query, "continuation-token=");
            s3_encode(&query, l.next, false);
            buf_add_char(&query, '&');
        }
        buf_add_str(&query, "list-type=2&prefix=");
        s3_encode(&query, s->place.prefix, false);
        s3_encode(&query, begins, false);
        const struct s3_ask ask = {.method = "GET", .query = query.data};
        l.goes_on = false;
        l.next[0] = '\0';
        r = s3_do(s, &ask, &answer, reterr);
        if (r == 0)
            r = s3_xml_read(answer.text.data, answer.text.len, on_listed, &l, reterr);
        if (r == 0 && l.goes_on && !l.next[0])
            r = err_set(reterr, ERR_REMOTE_REFUSED, "%s breaks off a list", s->place.host);
    }
    return r == -EFBIG ? err_set(reterr, ERR_TOO_LARGE, "%s has more than %d objects of that kind",
                                 s->place.host, KEYS_MAX)
                       : r;
}

/* ---- uploads that broke off ---- */

struct uploads {
    struct s3 *s;
    uint64_t before_us;
    char key[1100], id[UPLOAD_MAX]; /* of the one that is told */
    uint64_t begun_us;
    VEC(char *) queries; /* that drop them, */
    VEC(char *) keys;    /* and of what */
};

/* "2026-11-22T10:11:12.000Z"; 0: none. */
static uint64_t
parse_time(const char *text)
{
    struct tm tm = {0};
    return strptime(text, "%Y-%m-%dT%H:%M:%S", &tm) ? (uint64_t)timegm(&tm) * 1000000 : 0;
}

static int
on_unfinished(void *arg, const char *path, const char *text)
{
    struct uploads *u = arg;
    const char *prefix = u->s->place.prefix;
    if (strcmp(path, "ListMultipartUploadsResult/Upload/Key") == 0)
        (void)snprintf(u->key, sizeof(u->key), "%s", text);
    else if (strcmp(path, "ListMultipartUploadsResult/Upload/UploadId") == 0)
        (void)snprintf(u->id, sizeof(u->id), "%s", text);
    else if (strcmp(path, "ListMultipartUploadsResult/Upload/Initiated") == 0)
        u->begun_us = parse_time(text);
    if (strcmp(path, "ListMultipartUploadsResult/Upload") != 0 || !text_starts(u->key, prefix) ||
        u->begun_us == 0 || u->begun_us >= u->before_us)
        return 0;
    _cleanup_buf_ struct buf query = BUF_INIT(S3_URL_MAX);
    buf_add_str(&query, "uploadId=");
    s3_encode(&query, u->id, false);
    vec_push(&u->queries, mem_strdup(query.data));
    vec_push(&u->keys, mem_strdup(u->key + strlen(prefix)));
    return 0;
}

/* The first thousand: what is left goes another time. */
int
s3_drop_uploads(struct s3 *s, const char *begins, uint64_t before_us, struct err *reterr)
{
    _cleanup_s3_answer_ struct s3_answer answer = S3_ANSWER_INIT;
    _cleanup_buf_ struct buf query = BUF_INIT(S3_URL_MAX);
    struct uploads u = {.s = s, .before_us = before_us};
    buf_add_str(&query, "prefix=");
    s3_encode(&query, s->place.prefix, false);
    s3_encode(&query, begins, false);
    buf_add_str(&query, "&uploads=");
    const struct s3_ask ask = {.method = "GET", .query = query.data};
    int r = s3_do(s, &ask, &answer, reterr);
    if (r == 0)
        r = s3_xml_read(answer.text.data, answer.text.len, on_unfinished, &u, reterr);
    for (size_t i = 0; i < u.keys.count; i++) {
        _cleanup_s3_answer_ struct s3_answer gone = S3_ANSWER_INIT;
        const struct s3_ask drop = {
            .method = "DELETE", .key = u.keys.items[i], .query = u.queries.items[i]};
        int k = r == 0 ? s3_do(s, &drop, &gone, reterr) : r;
        r = k == -ENOENT ? 0 : k;
        free(u.keys.items[i]);
        free(u.queries.items[i]);
    }
    vec_finish(&u.keys);
    vec_finish(&u.queries);
    return r;
}

/* ---- storing ---- */

static int
hash_body(struct s3_body *b, struct err *reterr)
{
    uint8_t digest[HASH_SHA256_BYTES];
    struct hash_sha256 hash;
    const size_t piece = MIB;
    _cleanup_free_ uint8_t *bytes = mem_alloc(piece);
    hash_sha256_init(&hash);
    for (uint64_t done = 0; done < b->bytes;) {
        ssize_t n = pread(b->file, bytes, (size_t)MIN(b->bytes - done, (uint64_t)piece),
                          (off_t)(b->at + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return err_set_errno(reterr, n < 0 ? errno : EIO, "cannot read what is to be stored");
        hash_sha256_update(&hash, bytes, (size_t)n);
        done += (uint64_t)n;
    }
    hash_sha256_final(&hash, digest);
    hash_sha256_hex(digest, b->sha256);
    return 0;
}

static int
store_whole(struct s3 *s, int from, uint64_t bytes, const char *key, bool only_new,
            struct err *reterr)
{
    _cleanup_s3_answer_ struct s3_answer answer = S3_ANSWER_INIT;
    struct s3_body body = {.file = from, .bytes = bytes};
    const struct s3_ask ask = {
        .method = "PUT", .key = key, .query = "", .body = &body, .only_new = only_new};
    int r = hash_body(&body, reterr);
    return r < 0 ? r : s3_do(s, &ask, &answer, reterr);
}

struct upload {
    struct s3 *s;
    const char *key;
    char id[UPLOAD_MAX]; /* encoded */
    struct buf parts;    /* what completes it */
};

static int
on_upload(void *arg, const char *path, const char *text)
{
    struct upload *u = arg;
    struct buf id = BUF_INIT(UPLOAD_MAX - 1);
    if (strcmp(path, "InitiateMultipartUploadResult/UploadId") != 0)
        return 0;
    s3_encode(&id, text, false);
    int r = buf_error(&id) < 0 ? -EBADMSG : 0;
    (void)snprintf(u->id, sizeof(u->id), "%s", id.data);
    buf_finish(&id);
    return r;
}

static int
begin_upload(struct upload *u, struct err *reterr)
{
    _cleanup_s3_answer_ struct s3_answer answer = S3_ANSWER_INIT;
    const struct s3_ask ask = {.method = "POST", .key = u->key, .query = "uploads="};
    int r = s3_do(u->s, &ask, &answer, reterr);
    if (r == 0)
        r = s3_xml_read(answer.text.data, answer.text.len, on_upload, u, reterr);
    return r == 0 && !u->id[0]
               ? err_set(reterr, ERR_REMOTE_REFUSED, "%s begins no upload", u->s->place.host)
               : r;
}

static int
store_part(struct upload *u, struct s3_body *body, unsigned number, struct err *reterr)
{
    _cleanup_s3_answer_ struct s3_answer answer = S3_ANSWER_INIT;
    _cleanup_free_ char *query = mem_printf("partNumber=%u&uploadId=%s", number, u->id);
    const struct s3_ask ask = {.method = "PUT", .key = u->key, .query = query, .body = body};
    int r = hash_body(body, reterr);
    if (r == 0)
        r = s3_do(u->s, &ask, &answer, reterr);
    if (r == 0 && (!answer.etag[0] || strpbrk(answer.etag, "<>&")))
        r = err_set(reterr, ERR_REMOTE_REFUSED, "%s tells no ETag of a part", u->s->place.host);
    buf_printf(&u->parts, "<Part><PartNumber>%u</PartNumber><ETag>%s</ETag></Part>", number,
               answer.etag);
    return r;
}

static int
end_upload(struct upload *u, struct err *reterr)
{
    _cleanup_s3_answer_ struct s3_answer answer = S3_ANSWER_INIT;
    _cleanup_free_ char *query = mem_printf("uploadId=%s", u->id);
    buf_add_str(&u->parts, "</CompleteMultipartUpload>");
    struct s3_body body = {.text = u->parts.data, .bytes = u->parts.len};
    const struct s3_ask ask = {.method = "POST", .key = u->key, .query = query, .body = &body};
    hash_sha256_text(body.text, u->parts.len, body.sha256);
    return do_long(u->s, &ask, &answer, "complete", reterr);
}

/* What was stored of it would be paid for, and seen by nobody. */
static void
drop_upload(struct upload *u)
{
    _cleanup_s3_answer_ struct s3_answer answer = S3_ANSWER_INIT;
    _cleanup_free_ char *query = mem_printf("uploadId=%s", u->id);
    const struct s3_ask ask = {.method = "DELETE", .key = u->key, .query = query};
    (void)!s3_do(u->s, &ask, &answer, NULL);
}

/* An answer that was lost on its way was asked for again, and by then there is no upload any more. */
static bool
was_completed(struct upload *u, uint64_t bytes)
{
    uint64_t there;
    return s3_size(u->s, u->key, &there, NULL) == 0 && there == bytes;
}

static int
store_parts(struct s3 *s, int from, uint64_t bytes, const char *key, struct err *reterr)
{
    struct upload u = {.s = s, .key = key, .parts = BUF_INIT(S3_ANSWER_MAX)};
    int r = begin_upload(&u, reterr);
    buf_add_str(&u.parts, "<CompleteMultipartUpload>");
    unsigned number = 1;
    for (uint64_t at = 0; at < bytes && r == 0; at += s->part_bytes) {
        struct s3_body body = {.file = from, .at = at, .bytes = MIN(bytes - at, s->part_bytes)};
        r = store_part(&u, &body, number++, reterr);
    }
    if (r == 0)
        r = end_upload(&u, reterr);
    if (r == -ENOENT && was_completed(&u, bytes))
        r = 0;
    if (r < 0 && u.id[0])
        drop_upload(&u);
    buf_finish(&u.parts);
    return r;
}

int
s3_store(struct s3 *s, int from, const char *key, struct err *reterr)
{
    struct stat st;
    if (fstat(from, &st) < 0)
        return err_set_errno(reterr, errno, "cannot read what is to be stored as '%s'", key);
    uint64_t bytes = (uint64_t)st.st_size;
    if (bytes > s->part_bytes * PARTS_MAX)
        return err_set(reterr, ERR_TOO_LARGE, "'%s' has %llu bytes, and S3 takes no more than %llu",
                       key, (unsigned long long)bytes,
                       (unsigned long long)(s->part_bytes * PARTS_MAX));
    return bytes > s->part_bytes ? store_parts(s, from, bytes, key, reterr)
                                 : store_whole(s, from, bytes, key, false, reterr);
}

int
s3_store_new(struct s3 *s, int from, const char *key, struct err *reterr)
{
    struct stat st;
    if (fstat(from, &st) < 0)
        return err_set_errno(reterr, errno, "cannot read what is to be stored as '%s'", key);
    assert((uint64_t)st.st_size <= s->part_bytes);
    return store_whole(s, from, (uint64_t)st.st_size, key, true, reterr);
}
