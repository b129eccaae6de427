/* The keys of a repository that is encrypted: files of keys/, any of which opens it. */

#include "backup/repository_int.h"
#include "base/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int
repository_write_key(const struct object_place *place, const struct seal_key_file *key,
                     struct err *reterr)
{
    struct object_writer w;
    char name[HASH_SHA256_HEX];
    int r = object_begin(&w, place, reterr);
    if (r < 0)
        return r;
    r = object_write(&w, key->bytes, sizeof(key->bytes), reterr);
    if (r == 0)
        r = object_finish(&w, name, reterr);
    object_end(&w);
    return r;
}

int
repository_add_key(struct repository *r, const struct seal_key_file *key, struct err *reterr)
{
    const struct object_place place = repository_place(r, REPOSITORY_KEYS);
    return repository_write_key(&place, key, reterr);
}

static int
list_names(struct repository *r, struct repository_names *ret, struct err *reterr)
{
    int k = repository_list(r, REPOSITORY_KEYS, ret, reterr);
    if (k < 0 || ret->count <= REPOSITORY_KEYS_MAX)
        return k;
    free(ret->items);
    return err_set(reterr, ERR_TOO_LARGE, "the repository %s has %zu keys, of at most %d", r->where,
                   ret->count, REPOSITORY_KEYS_MAX);
}

/* ---- listing ---- */

static void
read_key(struct repository *r, const uint8_t name[HASH_SHA256_BYTES], struct repository_key *ret)
{
    _cleanup_repository_object_ struct repository_object object = {0};
    memcpy(ret->name, name, sizeof(ret->name));
    ret->is_damaged = repository_map(r, REPOSITORY_KEYS, name, true, &object, NULL) < 0 ||
                      seal_lock_read(object.bytes, object.len, &ret->lock, NULL) < 0;
}

static int
by_label(const void *a, const void *b)
{
    const struct repository_key *x = a, *y = b;
    int order = memcmp(x->lock.label, y->lock.label, sizeof(x->lock.label));
    return order ? order : memcmp(x->name, y->name, sizeof(x->name));
}

int
repository_list_keys(struct repository *r, struct repository_key **ret, size_t *ret_count,
                     struct err *reterr)
{
    struct repository_names names = {0};
    int k = list_names(r, &names, reterr);
    if (k < 0)
        return k;
    *ret = mem_alloc((names.count + 1) * sizeof(**ret));
    *ret_count = names.count;
    for (size_t i = 0; i < names.count; i++)
        read_key(r, names.items[i], &(*ret)[i]);
    if (names.count > 1)
        qsort(*ret, names.count, sizeof(**ret), by_label);
    free(names.items);
    return 0;
}

/* ---- opening ---- */

static int
no_key_opens(const struct repository *r, size_t count, struct err *reterr)
{
    int k = err_set(reterr, ERR_SEAL_WRONG_KEY,
                    "the passphrase or key that is configured opens none of the %zu keys of the "
                    "repository %s",
                    count, r->where);
    err_fix(reterr, "set backup.password to one that does, as the recovery key: citadel backup key "
                    "list");
    return k;
}

int
repository_unlock(struct repository *r, const struct secret *with, struct err *reterr)
{
    struct repository_names names = {0};
    int k = list_names(r, &names, reterr);
    assert(!r->keys);
    for (size_t i = 0; i < names.count && k == 0 && !r->keys; i++) {
        _cleanup_repository_object_ struct repository_object object = {0};
        if (repository_map(r, REPOSITORY_KEYS, names.items[i], false, &object, NULL) < 0)
            continue;
        k = seal_keys_unlock(object.bytes, object.len, with, &r->keys, reterr);
        k = k == -EACCES || k == -EBADMSG ? 0 : k;
    }
    free(names.items);
    return k == 0 && !r->keys ? no_key_opens(r, names.count, reterr) : k;
}

int
repository_need_reading(const struct repository *r, struct err *reterr)
{
    if (!r->is_encrypted || seal_keys_can_read(r->keys))
        return 0;
    int k = err_set(reterr, ERR_SEAL_ONLY_ADDS,
                    "the key that is configured only adds to the "
                    "repository %s: nothing can be read with it",
                    r->where);
    err_fix(reterr, "set backup.password to a passphrase or key that reads");
    return k;
}
