/* A repository in a bucket: s3.h, with the access key of the configuration. */

#include "backup/remote.h"
#include "backup/s3.h"
#include "base/mem.h"

#include <string.h>

#define TRANSFERS 8

static int
no_key(const char *where, const char *what, struct err *reterr)
{
    int r = err_set(reterr, ERR_SEAL_NO_KEY, "backup.credentials %s, which %s needs", what, where);
    err_fix(reterr, "citadel secrets set s3, as KEY:SECRET; then set backup.credentials to "
                    "{credential: s3}");
    return r;
}

static int
open_s3(const struct repository_wish *wish, void **ret, struct err *reterr)
{
    struct s3_wish s3 = {.authorities = wish->access.ca};
    _cleanup_secret_ struct secret secret = {0};
    struct s3 *s = NULL;
    int r = s3_parse(wish->where, &s3.place, reterr);
    if (r < 0)
        return r;
    const struct secret *both = wish->access.s3_key;
    if (!both || !secret_is_set(both))
        return no_key(wish->where, "is not set", reterr);
    const char *text = secret_reveal(both), *colon = strchr(text, ':');
    if (!colon || colon == text || !colon[1])
        return no_key(wish->where, "has no KEY:SECRET", reterr);
    _cleanup_free_ char *key = mem_strndup(text, (size_t)(colon - text));
    secret_set(&secret, colon + 1);
    s3.key_id = key;
    s3.secret = &secret;
    r = s3_open(&s3, &s, reterr);
    *ret = s;
    return r;
}

static void
free_s3(void *there)
{
    s3_free(there);
}

static int
size(void *there, const char *key, uint64_t *ret_bytes, struct err *reterr)
{
    return s3_size(there, key, ret_bytes, reterr);
}

struct listing {
    size_t skip; /* the area and its slash */
    int (*each)(void *arg, const char *name, uint64_t bytes);
    void *arg;
};

static int
on_key(void *arg, const char *key, uint64_t bytes)
{
    const struct listing *l = arg;
    return l->each(l->arg, key + l->skip, bytes);
}

static int
list(void *there, const char *area, int (*each)(void *arg, const char *name, uint64_t bytes),
     void *arg, struct err *reterr)
{
    _cleanup_free_ char *begins = mem_printf("%s/", area);
    struct listing l = {.skip = strlen(begins), .each = each, .arg = arg};
    return s3_list(there, begins, on_key, &l, reterr);
}

static int
read_part(void *there, const char *key, uint64_t at, void *ret_bytes, size_t len,
          struct err *reterr)
{
    return s3_read(there, key, at, ret_bytes, len, reterr);
}

static int
fetch(void *there, const char *key, int to, uint64_t most, struct err *reterr)
{
    return s3_fetch(there, key, to, most, reterr);
}

static int
store(void *there, int from, const char *key, struct err *reterr)
{
    return s3_store(there, from, key, reterr);
}

static int
store_new(void *there, int from, const char *key, struct err *reterr)
{
    return s3_store_new(there, from, key, reterr);
}

static int
remove_object(void *there, const char *key, struct err *reterr)
{
    return s3_remove(there, key, reterr);
}

static int
touch(void *there, const char *key, struct err *reterr)
{
    return s3_touch(there, key, reterr);
}

static int
changed(void *there, const char *key, uint64_t *ret_us, struct err *reterr)
{
    return s3_changed(there, key, ret_us, reterr);
}

static int
tidy(void *there, const char *area, uint64_t before_us, struct err *reterr)
{
    _cleanup_free_ char *begins = mem_printf("%s/", area);
    return s3_drop_uploads(there, begins, before_us, reterr);
}

const struct remote_kind remote_s3 = {
    .transfers = TRANSFERS,
    .open = open_s3,
    .free = free_s3,
    .size = size,
    .list = list,
    .read = read_part,
    .fetch = fetch,
    .store = store,
    .store_new = store_new,
    .remove = remove_object,
    .touch = touch,
    .changed = changed,
    .tidy = tidy,
};
