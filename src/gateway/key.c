#include "gateway/key.h"

#include "base/buf.h"
#include "base/mem.h"
#include "fmt/json.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define CHECK_DIGITS 8
#define BODY_LEN (KEY_TOKEN_LEN - CHECK_DIGITS)

int
key_check_name(const char *name, struct err *reterr)
{
    if (text_is_name(name))
        return 0;
    return err_set(reterr, ERR_VALUE,
                   "'%.80s' is no name: lower-case letters, digits, '-', '_' and '.', %d at most",
                   name, TEXT_NAME_MAX);
}

void
key_finish(struct key *key)
{
    free(take_ptr(key->models));
}

struct key
key_copy(const struct key *key)
{
    struct key copy = *key;
    if (key->models)
        copy.models = mem_strdup(key->models);
    return copy;
}

enum key_state
key_state(const struct key *key, uint64_t wall_us)
{
    if (key->revoked_us)
        return KEY_REVOKED;
    return key->expires_us && key->expires_us <= wall_us ? KEY_EXPIRED : KEY_ACTIVE;
}

const char *
key_state_word(enum key_state state)
{
    static const char *const words[] = {"active", "expired", "revoked"};
    return words[state];
}

/* ---- tokens ---- */

void
key_hash(const char *token, size_t len, uint8_t ret_hash[HASH_SHA256_BYTES])
{
    struct hash_sha256 h;
    hash_sha256_init(&h);
    hash_sha256_update(&h, token, len);
    hash_sha256_final(&h, ret_hash);
}

static void
write_check(const char *token, char to[CHECK_DIGITS])
{
    char digest[HASH_SHA256_HEX];
    hash_sha256_text(token, BODY_LEN, digest);
    memcpy(to, digest, CHECK_DIGITS);
}

int
key_draw_token(struct key *key, key_token ret_token)
{
    uint8_t lot[HASH_SHA256_BYTES];
    char digits[HASH_SHA256_HEX];
    size_t start = strlen(KEY_TOKEN_START);
    ssize_t n = getrandom(lot, sizeof(lot), 0);
    if (n != (ssize_t)sizeof(lot))
        return n < 0 ? -errno : -EIO;
    hash_sha256_hex(lot, digits);
    memcpy(ret_token, KEY_TOKEN_START, start);
    memcpy(ret_token + start, digits, BODY_LEN - start);
    write_check(ret_token, ret_token + BODY_LEN);
    ret_token[KEY_TOKEN_LEN] = '\0';
    explicit_bzero(lot, sizeof(lot));
    explicit_bzero(digits, sizeof(digits));
    key_hash(ret_token, KEY_TOKEN_LEN, key->hash);
    memcpy(key->hint, ret_token, KEY_HINT_LEN);
    key->hint[KEY_HINT_LEN] = '\0';
    return 0;
}

bool
key_looks_like_token(const char *text, size_t len)
{
    size_t start = strlen(KEY_TOKEN_START);
    return len >= start && memcmp(text, KEY_TOKEN_START, start) == 0;
}

bool
key_is_token(const char *text, size_t len)
{
    char check[CHECK_DIGITS];
    if (len != KEY_TOKEN_LEN || !key_looks_like_token(text, len))
        return false;
    write_check(text, check);
    return memcmp(text + BODY_LEN, check, CHECK_DIGITS) == 0;
}

bool
key_allows(const struct key *key, const char *model)
{
    size_t len = strlen(model);
    const char *at = key->models;
    if (!at)
        return true;
    for (const char *end; (end = strchr(at, '\n')); at = end + 1)
        if ((size_t)(end - at) == len && memcmp(at, model, len) == 0)
            return true;
    return false;
}

/* ---- what is changed of one ---- */

static int
read_models(const struct value *list, char **ret_models, struct err *reterr)
{
    _cleanup_buf_ struct buf models = BUF_INIT(KEY_MODELS_BYTES_MAX);
    *ret_models = NULL;
    if (list->type == VALUE_NULL)
        return 0;
    if (list->type != VALUE_LIST)
        return err_set(reterr, ERR_VALUE, "models is %s, and not a list",
                       value_type_name(list->type));
    for (const struct value *v = list->first; v; v = v->next) {
        const char *name = value_str(v);
        if (!name || !*name || strchr(name, '\n'))
            return err_set(reterr, ERR_VALUE, "models has what is no name of a model");
        buf_printf(&models, "%s\n", name);
    }
    if (buf_error(&models) < 0)
        return err_set(reterr, ERR_TOO_LARGE, "the names of the models are longer than %d bytes",
                       (int)KEY_MODELS_BYTES_MAX);
    *ret_models = mem_strdup(models.data); /* none at all: the key may ask for no model */
    return 0;
}

static int
read_number(const struct value *v, const char *name, uint64_t *ret_n, struct err *reterr)
{
    if (v->type == VALUE_NULL)
        *ret_n = 0;
    else if (!value_u64(v, ret_n) || *ret_n == 0 || *ret_n > ALLOWANCE_MAX)
        return err_set(reterr, ERR_VALUE, "%s is not a number from 1 to %" PRId64, name,
                       (int64_t)ALLOWANCE_MAX);
    return 0;
}

static int
read_priority(const struct value *v, bool *ret, struct err *reterr)
{
    return value_bool(v, ret) ? 0
                              : err_set(reterr, ERR_VALUE, "priority is neither true nor false");
}

static int
change_member(struct key *key, const struct value *v, struct err *reterr)
{
    if (text_eq(v->name, "models")) {
        char *models;
        int r = read_models(v, &models, reterr);
        if (r < 0)
            return r;
        key_finish(key);
        key->models = models;
        return 0;
    }
    if (text_eq(v->name, "expires_us"))
        return read_number(v, v->name, &key->expires_us, reterr);
    if (text_eq(v->name, "priority"))
        return read_priority(v, &key->has_priority, reterr);
    for (unsigned i = 0; i < ALLOWANCE_LIMITS; i++)
        if (text_eq(v->name, allowance_limit_rows[i].member))
            return read_number(v, v->name, &key->limits.of[i], reterr);
    return err_set(reterr, ERR_VALUE, "a key has no member '%s'", v->name);
}

int
key_change(struct key *key, const struct value *change, struct err *reterr)
{
    struct key next = key_copy(key);
    int r = 0;
    for (const struct value *v = change->first; r == 0 && v; v = v->next)
        r = change_member(&next, v, reterr);
    if (r == 0) {
        key_finish(key);
        *key = next;
    } else {
        key_finish(&next);
    }
    return r;
}

static void
print_number(struct json_writer *w, const char *name, uint64_t us)
{
    if (us)
        json_u64(w, name, us);
    else
        json_null(w, name);
}

static void
print_models(const struct key *key, struct json_writer *w)
{
    if (!key->models) {
        json_null(w, "models");
        return;
    }
    json_open_list(w, "models");
    for (const char *at = key->models, *end; (end = strchr(at, '\n')); at = end + 1)
        json_strn(w, NULL, at, (size_t)(end - at));
    json_close_list(w);
}

void
key_print(const struct key *key, uint64_t wall_us, struct json_writer *w)
{
    json_u64(w, "id", key->id);
    json_str(w, "name", key->name);
    json_str(w, "hint", key->hint);
    json_str(w, "state", key_state_word(key_state(key, wall_us)));
    print_models(key, w);
    json_bool(w, "priority", key->has_priority);
    print_number(w, "created_us", key->created_us);
    print_number(w, "expires_us", key->expires_us);
    print_number(w, "revoked_us", key->revoked_us);
    for (unsigned i = 0; i < ALLOWANCE_LIMITS; i++)
        print_number(w, allowance_limit_rows[i].member, key->limits.of[i]);
}
