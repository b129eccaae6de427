/* Who asks: the key that a request shows; and what is kept of what it came to. */

#include "base/text.h"
#include "config/config.h"
#include "http/server.h"
#include "role/gateway_int.h"
#include "sys/log.h"

#include <inttypes.h>
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

/* OpenAI's clients send the one, those of Messages the other. */
static struct shown
find_token(const struct http1_head *head)
{
    static const char scheme[] = "Bearer ";
    const size_t len = sizeof(scheme) - 1;
    struct shown s = field_of(head, HTTP_FIELD_AUTHORIZATION);
    if (!s.token || s.len < len || strncasecmp(s.token, scheme, len) != 0)
        return field_of(head, HTTP_FIELD_X_API_KEY);
    for (s.token += len, s.len -= len; s.len > 0 && *s.token == ' '; s.len--)
        s.token++;
    return s;
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
    struct shown shown = find_token(&r->head);
    /* Libraries insist on some key, and people who need none give them any. */
    if (shown.token && (is_needed || key_looks_like_token(shown.token, shown.len)))
        return keyring_find(g->keys, shown.token, shown.len, &reply->caller, reterr);
    if (!is_needed)
        return 0;
    int e = err_set(reterr, ERR_NO_KEY, "a key is needed, and none was shown");
    err_fix(reterr,
            "\"Authorization: Bearer KEY\", or \"x-api-key: KEY\"; citadel keys create NAME");
    return e;
}

/* ---- what is kept ---- */

/* A disk that fails, and that is well again, is told once. */
static void
look_after_store(struct gateway *g)
{
    const struct err *trouble = store_trouble(keyring_store(g->keys));
    if (trouble && !g->is_store_sick)
        log_err(trouble);
    if (!trouble && g->is_store_sick)
        log_info("the database of keys and usage is written again");
    g->is_store_sick = trouble != NULL;
}

/* Likewise that rows are lost, and how many were once there is room again. */
static void
look_after_ledger(struct gateway *g)
{
    const struct store_counts *n = store_counts(keyring_store(g->keys));
    uint64_t lost = n->lost_rows - g->told_rows;
    if (lost && !g->is_losing)
        log_error("more requests wait to be written into the ledger than may; it will lack some");
    g->is_losing = lost && (g->is_store_sick || n->waiting_rows > STORE_ROWS_MAX / 2);
    if (!lost || g->is_losing)
        return;
    log_info("the ledger is written again; it lacks %" PRIu64 " request%s", lost,
             lost == 1 ? "" : "s");
    g->told_rows = n->lost_rows;
}

static void
on_over(const struct ledger_row *row, const struct reply *reply, void *arg)
{
    struct gateway *g = arg;
    (void)!store_add_row(keyring_store(g->keys), row); /* one that is lost is counted there */
    access_log_add(&g->access_log, row, reply->id);
    look_after_store(g);
    look_after_ledger(g);
}

int
gateway_keys_open(struct gateway *g, struct err *reterr)
{
    g->access_log.fd = -1;
    int r = keyring_open(g->life.loop, g->config->gateway.keys_file, &g->keys, reterr);
    if (r < 0)
        return r;
    const char *aside = keyring_set_aside(g->keys);
    if (aside)
        log_error("the database of keys and usage was damaged, and is now '%s': %s", aside,
                  keyring_is_needed(g->keys) ? "nobody is let in until keys are made anew"
                                             : "it had no keys");
    return 0;
}

void
gateway_keys_watch(struct gateway *g)
{
    access_log_close(&g->access_log);
    access_log_open(&g->access_log, g->config);
    store_set_keep(keyring_store(g->keys), g->config->gateway.ledger_keep_us);
    relay_tell_of_ends(g->relay, on_over, g);
}

bool
gateway_keys_close(struct gateway *g)
{
    if (!g->keys)
        return true;
    access_log_close(&g->access_log);
    return keyring_close(g->keys);
}
