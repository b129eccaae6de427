/* Who asks: the key that a request shows. */

#include "base/text.h"
#include "config/config.h"
#include "http/server.h"
#include "role/gateway_int.h"
#include "sys/log.h"

#include <string.h>
#include <strings.h>

/* ---- the key of a request ---- */

struct shown {
    const char *token; /* NULL: none */
    size_t len;
};

static struct shown
field_of(const struct http1_head *head, enum http_field id)
{
    const struct http1_field *field = http1_find(head, id);
    return field ? (struct shown){head->bytes + field->value.at, field->value.len}
                 : (struct shown){0};
}

static struct shown
find_bearer(const struct http1_head *head)
{
    static const char scheme[] = "Bearer ";
    const size_t len = sizeof(scheme) - 1;
    struct shown s = field_of(head, HTTP_FIELD_AUTHORIZATION);
    if (!s.token || s.len < len || strncasecmp(s.token, scheme, len) != 0)
        return (struct shown){0};
    for (s.token += len, s.len -= len; s.len > 0 && *s.token == ' '; s.len--)
        s.token++;
    return s;
}

static bool
is_same(struct shown a, struct shown b)
{
    return a.len == b.len && memcmp(a.token, b.token, a.len) == 0;
}

/* OpenAI's clients send the one, those of Messages the other; both: they are to say the same. */
static int
find_token(const struct http1_head *head, bool is_needed, struct shown *ret, struct err *reterr)
{
    struct shown bearer = find_bearer(head), own = field_of(head, HTTP_FIELD_X_API_KEY);
    *ret = bearer.token ? bearer : own;
    if (!is_needed || !bearer.token || !own.token || is_same(bearer, own))
        return 0;
    int r = err_set(reterr, ERR_NO_KEY, "Authorization and x-api-key show different keys");
    err_fix(reterr, "send one of the two fields");
    return r;
}

bool
gateway_is_local(const struct gateway *g)
{
    return !g->config->gateway.anonymous && !keyring_is_needed(g->keys);
}

int
gateway_identify(const struct gateway *g, const struct http_request *r, struct reply *reply,
                 struct err *reterr)
{
    bool is_needed = keyring_is_needed(g->keys) && !g->config->gateway.anonymous;
    struct shown shown;
    int e = find_token(&r->head, is_needed, &shown, reterr);
    if (e < 0)
        return e;
    /* Libraries insist on some key, and people who need none give them any. */
    if (shown.token && (is_needed || key_looks_like_token(shown.token, shown.len)))
        return keyring_find(g->keys, shown.token, shown.len, &reply->caller, reterr);
    if (!is_needed)
        return 0;
    e = err_set(reterr, ERR_NO_KEY, "a key is needed, and none was shown");
    err_fix(reterr,
            "\"Authorization: Bearer KEY\", or \"x-api-key: KEY\"; citadel keys create NAME");
    return e;
}

/* ---- a life ---- */

static void
on_trouble(const struct err *trouble, void *arg unused_arg)
{
    if (trouble)
        log_err(trouble);
    else
        log_info("the database of keys and usage is written again");
}

static void
on_unheard(struct holder *holder, void *arg unused_arg)
{
    log_warning("key '%s': whoever asked for it had left before it could be told; it is revoked",
                holder_key(holder)->name);
}

int
gateway_keys_open(struct gateway *g, struct err *reterr)
{
    int r = keyring_open(g->life.loop, g->config->gateway.keys_file, &g->keys, reterr);
    if (r < 0)
        return r;
    store_tell_of_trouble(keyring_store(g->keys), on_trouble, g);
    keyring_tell_of_unheard(g->keys, on_unheard, g);
    const char *aside = keyring_set_aside(g->keys);
    if (aside)
        log_error("the database of keys and usage was damaged, and is now '%s': %s", aside,
                  keyring_is_needed(g->keys) ? "nobody is let in until keys are made anew"
                                             : "it had no keys");
    return 0;
}

static void
tell_unwritten(const struct gateway *g, struct store *store)
{
    const struct err *trouble = store_trouble(store);
    const char *name;
    log_error("what the last requests used is not written: %s; the ledger lacks %zu rows",
              trouble ? trouble->what : "the disk of keys hangs",
              store_counts(store)->waiting_rows);
    for (size_t i = 0; (name = keyring_unwritten(g->keys, i)); i++)
        log_error("that the key '%s' is revoked is not written, so it is good again; `citadel keys "
                  "revoke %s` once the disk is well",
                  name, name);
}

bool
gateway_keys_close(struct gateway *g, uint64_t limit_us)
{
    if (!g->keys)
        return true;
    struct store *store = keyring_store(g->keys);
    if (store_trouble(store))
        log_warning("the end waits for the disk of '%s', for %u s at most",
                    g->config->gateway.keys_file, (unsigned)(limit_us / 1000000));
    bool ends = keyring_flush(g->keys, limit_us), is_written = ends && !store_trouble(store);
    if (!is_written)
        tell_unwritten(g, store);
    if (ends)
        keyring_close(take_ptr(g->keys));
    return is_written;
}
