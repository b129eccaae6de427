/* Handles of libcurl are kept with their connections, one for each request at a time. */

#include "backup/s3_int.h"

#include "backup/again.h"
#include "backup/s3_sign.h"
#include "backup/s3_xml.h"
#include "base/mem.h"
#include "sys/clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CONNECT_S 20L
#define SILENCE_S 60L
#define PART_BYTES ((uint64_t)(64 * MIB))

/* ---- handles ---- */

int
s3_open(const struct s3_wish *wish, struct s3 **ret, struct err *reterr)
{
    const struct curl *curl = curl_load(reterr);
    if (!curl)
        return -ENOSYS;
    struct s3 *s = mem_new(struct s3);
    s->curl = curl;
    s->place = wish->place;
    s->part_bytes = PART_BYTES;
    s->key_id = mem_strdup(wish->key_id);
    s->authorities = wish->authorities ? mem_strdup(wish->authorities) : NULL;
    secret_set(&s->secret, secret_reveal(wish->secret));
    (void)pthread_mutex_init(&s->lock, NULL);
    *ret = s;
    return 0;
}

void
s3_free(struct s3 *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->idle_count; i++)
        s->curl->curl_easy_cleanup(s->idle[i]);
    (void)pthread_mutex_destroy(&s->lock);
    secret_finish(&s->secret);
    free(s->key_id);
    free(s->authorities);
    free(s);
}

void
s3_freep(struct s3 **s)
{
    s3_free(*s);
}

static CURL *
take_handle(struct s3 *s)
{
    (void)pthread_mutex_lock(&s->lock);
    CURL *handle = s->idle_count > 0 ? s->idle[--s->idle_count] : NULL;
    (void)pthread_mutex_unlock(&s->lock);
    if (handle)
        return handle;
    handle = s->curl->curl_easy_init();
    assert(handle);
    return handle;
}

static void
give_handle(struct s3 *s, CURL *handle)
{
    (void)pthread_mutex_lock(&s->lock);
    bool kept = s->idle_count < S3_IDLE_MAX;
    if (kept)
        s->idle[s->idle_count++] = handle;
    (void)pthread_mutex_unlock(&s->lock);
    if (!kept)
        s->curl->curl_easy_cleanup(handle);
}

/* ---- what libcurl calls ---- */

static size_t
on_wanted(char *to, size_t size, size_t count, void *arg)
{
    struct s3_body *b = arg;
    size_t room = (size_t)MIN((uint64_t)(size * count), b->bytes - b->sent);
    if (b->text) {
        memcpy(to, b->text + b->sent, room);
        b->sent += room;
        return room;
    }
    ssize_t n = room > 0 ? pread(b->file, to, room, (off_t)(b->at + b->sent)) : 0;
    if (n < 0 || (n == 0 && room > 0))
        return CURL_READFUNC_ABORT;
    b->sent += (uint64_t)n;
    return (size_t)n;
}

/* It begins anew where a connection was lost at once. */
static int
on_seek(void *arg, curl_off_t to, int from)
{
    struct s3_body *b = arg;
    if (from != SEEK_SET || to < 0 || (uint64_t)to > b->bytes)
        return CURL_SEEKFUNC_FAIL;
    b->sent = (uint64_t)to;
    return CURL_SEEKFUNC_OK;
}

struct hearing {
    struct s3 *s;
    CURL *handle;
    struct s3_answer *answer;
    struct s3_target *target;
};

static size_t
keep(struct s3_target *t, const char *bytes, size_t len)
{
    if (len > t->most - t->bytes)
        t->r = -EMSGSIZE;
    else if (t->memory)
        memcpy(t->memory + t->bytes, bytes, len);
    for (size_t done = 0; t->r == 0 && !t->memory && done < len;) {
        ssize_t n = pwrite(t->file, bytes + done, len - done, (off_t)(t->bytes + done));
        if (n < 0 && errno != EINTR)
            t->r = -errno;
        done += (size_t)MAX(n, 0);
    }
    t->bytes += t->r == 0 ? len : 0;
    return t->r == 0 ? len : 0;
}

static size_t
on_bytes(char *bytes, size_t size, size_t count, void *arg)
{
    struct hearing *h = arg;
    long status = 0;
    size_t len = size * count;
    (void)h->s->curl->curl_easy_getinfo(h->handle, CURLINFO_RESPONSE_CODE, &status);
    if (h->target && status >= 200 && status < 300)
        return keep(h->target, bytes, len);
    buf_add(&h->answer->text, bytes, len);
    return buf_error(&h->answer->text) == 0 ? len : 0;
}

static size_t
on_field(char *bytes, size_t size, size_t count, void *arg)
{
    struct s3_answer *answer = arg;
    static const char name[] = "etag:";
    size_t len = size * count, at = sizeof(name) - 1;
    if (len < at || strncasecmp(bytes, name, at) != 0)
        return len;
    size_t end = len;
    while (at < end && bytes[at] == ' ')
        at++;
    while (end > at && strchr("\r\n ", bytes[end - 1]))
        end--;
    (void)snprintf(answer->etag, sizeof(answer->etag), "%.*s", (int)(end - at), bytes + at);
    return len;
}

/* ---- a request ---- */

static void
add_path(struct s3 *s, const char *key, struct buf *to)
{
    buf_printf(to, "/%s", s->place.bucket);
    if (!key)
        return;
    buf_add_char(to, '/');
    s3_encode(to, s->place.prefix, true);
    s3_encode(to, key, true);
}

static struct curl_slist *
add_field(struct s3 *s, struct curl_slist *list, const char *name, const char *value)
{
    _cleanup_free_ char *line = mem_printf("%s: %s", name, value);
    struct curl_slist *longer = s->curl->curl_slist_append(list, line);
    assert(longer);
    return longer;
}

static struct curl_slist *
sign(struct s3 *s, const struct s3_ask *ask, const char *path)
{
    char when[S3_TIME_TEXT];
    struct s3_field fields[S3_FIELDS_MAX];
    size_t n = 0;
    const char *sha256 = ask->body ? ask->body->sha256 : S3_EMPTY_SHA256;
    s3_time((time_t)(clock_wall_us() / 1000000), when);
    fields[n++] = (struct s3_field){"host", s->place.host};
    if (ask->only_new)
        fields[n++] = (struct s3_field){"if-none-match", "*"};
    if (ask->range)
        fields[n++] = (struct s3_field){"range", ask->range};
    fields[n++] = (struct s3_field){"x-amz-content-sha256", sha256};
    if (ask->from_itself)
        fields[n++] = (struct s3_field){"x-amz-copy-source", path};
    fields[n++] = (struct s3_field){"x-amz-date", when};
    if (ask->from_itself) /* else nothing would change */
        fields[n++] = (struct s3_field){"x-amz-metadata-directive", "REPLACE"};
    const struct s3_signing signing = {.method = ask->method,
                                       .path = path,
                                       .query = ask->query,
                                       .fields = fields,
                                       .fields_count = n,
                                       .body_sha256 = sha256,
                                       .region = s->place.region,
                                       .key_id = s->key_id,
                                       .secret = &s->secret,
                                       .time = when};
    _cleanup_buf_ struct buf value = BUF_INIT(S3_URL_MAX);
    s3_sign(&signing, &value);
    struct curl_slist *list = add_field(s, NULL, "Authorization", value.data);
    for (size_t i = 1; i < n; i++) /* libcurl says the host itself */
        list = add_field(s, list, fields[i].name, fields[i].value);
    list = add_field(s, list, "Expect", "");
    return add_field(s, list, "Content-Type", "");
}

#define SET(option, value) ((void)s->curl->curl_easy_setopt(handle, CURLOPT_##option, value))

static void
set_up(struct s3 *s, CURL *handle, const struct s3_ask *ask, struct hearing *h, const char *url)
{
    s->curl->curl_easy_reset(handle);
    SET(URL, url);
    SET(NOSIGNAL, 1L);
    SET(PROTOCOLS_STR, s->place.is_plain ? "http" : "https");
    SET(FOLLOWLOCATION, 0L);
    SET(HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(CONNECTTIMEOUT, CONNECT_S);
    SET(LOW_SPEED_LIMIT, 1L);
    SET(LOW_SPEED_TIME, SILENCE_S);
    SET(PATH_AS_IS, 1L);
    SET(FILETIME, 1L);
    if (s->authorities)
        SET(CAINFO, s->authorities);
    SET(WRITEFUNCTION, on_bytes);
    SET(WRITEDATA, h);
    SET(HEADERFUNCTION, on_field);
    SET(HEADERDATA, h->answer);
    if (strcmp(ask->method, "HEAD") == 0)
        SET(NOBODY, 1L);
    else
        SET(CUSTOMREQUEST, ask->method);
    if (!ask->body)
        return;
    ask->body->sent = 0;
    SET(UPLOAD, 1L);
    SET(INFILESIZE_LARGE, (curl_off_t)ask->body->bytes);
    SET(READFUNCTION, on_wanted);
    SET(READDATA, ask->body);
    SET(SEEKFUNCTION, on_seek);
    SET(SEEKDATA, ask->body);
}

/* Once. 0: there is an answer, whatever it says. */
static CURLcode
try(struct s3 *s, CURL *handle, const struct s3_ask *ask, struct s3_answer *ret,
    char why[CURL_ERROR_SIZE])
{
    _cleanup_buf_ struct buf path = BUF_INIT(S3_URL_MAX), url = BUF_INIT(S3_URL_MAX);
    struct hearing hearing = {s, handle, ret, ask->target};
    long status = 0;
    curl_off_t bytes = 0, changed_s = -1;
    buf_clear(&ret->text);
    ret->etag[0] = '\0';
    if (ask->target)
        ask->target->bytes = 0;
    add_path(s, ask->key, &path);
    buf_printf(&url, "%s://%s%s%s%s", s->place.is_plain ? "http" : "https", s->place.host,
               path.data, ask->query[0] ? "?" : "", ask->query);
    struct curl_slist *fields = sign(s, ask, path.data);
    set_up(s, handle, ask, &hearing, url.data);
    SET(HTTPHEADER, fields);
    SET(ERRORBUFFER, why);
    why[0] = '\0';
    CURLcode code = buf_error(&url) < 0 ? CURLE_URL_MALFORMAT : s->curl->curl_easy_perform(handle);
    SET(ERRORBUFFER, NULL);
    SET(HTTPHEADER, NULL);
    s->curl->curl_slist_free_all(fields);
    (void)s->curl->curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &status);
    (void)s->curl->curl_easy_getinfo(handle, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &bytes);
    (void)s->curl->curl_easy_getinfo(handle, CURLINFO_FILETIME_T, &changed_s);
    ret->changed_s = changed_s;
    ret->status = (unsigned)status;
    ret->bytes = (uint64_t)MAX(bytes, (curl_off_t)0);
    return code;
}

static bool
may_pass(CURLcode code, unsigned status)
{
    static const CURLcode passing[] = {
        CURLE_COULDNT_RESOLVE_HOST, CURLE_COULDNT_CONNECT, CURLE_PARTIAL_FILE,
        CURLE_OPERATION_TIMEDOUT,   CURLE_GOT_NOTHING,     CURLE_SEND_ERROR,
        CURLE_RECV_ERROR,
    };
    for (size_t i = 0; i < ARRAY_SIZE(passing); i++)
        if (code == passing[i])
            return true;
    return code == CURLE_OK && (status >= 500 || status == 429 || status == 408);
}

#define ANOTHER_REGION "put the region of the bucket behind the place, as in ?region=eu-central-1"
#define ANOTHER_KEY "set backup.credentials to KEY:SECRET as the host has them"

int
s3_hear_error(void *arg, const char *path, const char *text)
{
    struct s3_said *said = arg;
    if (strcmp(path, "Error/Code") == 0)
        (void)snprintf(said->code, sizeof(said->code), "%s", text);
    if (strcmp(path, "Error/Message") == 0)
        (void)snprintf(said->message, sizeof(said->message), "%s", text);
    return 0;
}

static int
refused(struct s3 *s, const struct s3_ask *ask, const struct s3_answer *answer, struct err *reterr)
{
    struct s3_said said = {0};
    (void)!s3_xml_read(answer->text.data, answer->text.len, s3_hear_error, &said, NULL);
    const char *key = ask->key ? ask->key : s->place.bucket;
    if (strcmp(said.code, "NoSuchBucket") == 0) {
        int r = err_set(reterr, ERR_REMOTE_REFUSED, "%s has no bucket '%s'", s->place.host,
                        s->place.bucket);
        err_fix(reterr, "make it there first, or set backup.repository to another");
        return r;
    }
    if (answer->status == 412) {
        (void)err_set(reterr, ERR_REMOTE_REFUSED, "%s has '%s' already", s->place.host, key);
        return -EEXIST;
    }
    if (answer->status == 404) {
        (void)err_set(reterr, ERR_NOT_FOUND, "%s has no '%s'%s%s", s->place.host, key,
                      said.code[0] ? ": " : "", said.code);
        return -ENOENT;
    }
    (void)err_set(reterr, ERR_REMOTE_REFUSED, "%s answers %u to %s of '%s'%s%s%s%s", s->place.host,
                  answer->status, ask->method, key, said.code[0] ? ": " : "", said.code,
                  said.message[0] ? ": " : "", said.message);
    static const struct {
        const char *code, *fix;
    } known[] = {
        {"PermanentRedirect", ANOTHER_REGION},
        {"TemporaryRedirect", ANOTHER_REGION},
        {"AuthorizationHeaderMalformed", ANOTHER_REGION},
        {"InvalidAccessKeyId", ANOTHER_KEY},
        {"SignatureDoesNotMatch", ANOTHER_KEY},
        {"RequestTimeTooSkewed", "set the clock of this machine: timedatectl"},
        {"AccessDenied",
         "allow the key of backup.credentials to get, put, list and delete objects"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(known); i++)
        if (strcmp(said.code, known[i].code) == 0)
            err_fix(reterr, "%s", known[i].fix);
    return answer->status == 403 || answer->status == 401 ? -EACCES : -EIO;
}

static unsigned
count_tries(struct s3 *s)
{
    return __atomic_load_n(&s->was_reached, __ATOMIC_RELAXED) ? AGAIN_TRIES : AGAIN_TRIES_FIRST;
}

int
s3_do(struct s3 *s, const struct s3_ask *ask, struct s3_answer *ret, struct err *reterr)
{
    CURL *handle = take_handle(s);
    char why[CURL_ERROR_SIZE];
    CURLcode code = CURLE_OK;
    for (unsigned tries = 0; tries < count_tries(s); tries++) {
        if (tries > 0)
            again_wait(tries);
        code = try(s, handle, ask, ret, why);
        if (code == CURLE_OK)
            __atomic_store_n(&s->was_reached, true, __ATOMIC_RELAXED);
        if (!may_pass(code, ret->status))
            break;
    }
    give_handle(s, handle);
    if (ask->target && ask->target->r < 0)
        return err_set_errno(reterr, -ask->target->r, "cannot keep what '%s' holds", ask->key);
    if (code != CURLE_OK)
        return err_set(reterr, ERR_REMOTE_LOST, "cannot ask %s: %s", s->place.host,
                       why[0] ? why : s->curl->curl_easy_strerror(code));
    if (ret->status < 200 || ret->status >= 300)
        return refused(s, ask, ret, reterr);
    return 0;
}

void
s3_answer_finish(struct s3_answer *a)
{
    buf_finish(&a->text);
}
