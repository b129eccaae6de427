/* The part of the control socket that is about keys, and what was used of them. */

#include "role/gateway_int.h"

#include "base/mem.h"
#include "base/quantity.h"
#include "config/config.h"
#include "fmt/json.h"
#include "http/local.h"
#include "sys/log.h"
#include "sys/work.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TREE_MAX (1 * MIB)
#define DEED_BYTES (16 * KIB) /* of most: a key and its token */

void
gateway_answer_keys(struct gateway *g, struct http_request *r)
{
    _cleanup_buf_ struct buf body = BUF_INIT(CONTROL_ANSWER_MAX);
    struct json_writer w;
    json_init(&w, &body, false);
    keyring_print(g->keys, &w);
    http_local_answer(r, 200, &body);
}

/* ---- a change ---- */

/* As long as its request. */
struct deed {
    struct gateway *gateway;
    struct http_request *request;
    struct keyring_wish wish;
    struct holder *holder; /* who was given a token */
    bool is_under_way;
    char name[TEXT_NAME_MAX + 1];
    struct arena arena;
};

static void
on_done(struct keyring_wish *wish, struct holder *holder, const char *token,
        const struct err *error)
{
    struct deed *d = container_of(wish, struct deed, wish);
    _cleanup_buf_ struct buf body = BUF_INIT(CONTROL_ANSWER_MAX);
    struct json_writer w;
    struct err told;
    (void)!buf_reserve(&body, DEED_BYTES); /* growing would leave a copy of the token behind */
    d->is_under_way = false;
    d->holder = token ? holder : NULL;
    if (error && holder) {
        told = *error;
        err_prefix(&told, "the key '%s' is revoked, but that is not durable yet", d->name);
        err_fix(&told, "see to that disk; it is tried again every few seconds");
        log_err(&told);
        error = &told;
    }
    if (!error)
        log_info("key '%s': %s", d->name, keyring_deed_word(wish->deed));
    if (!error && d->gateway->was_local != gateway_is_local(d->gateway))
        gateway_listen_anew(d->gateway);
    if (error) {
        http_local_answer_error(d->request, error);
    } else {
        json_init(&w, &body, false);
        keyring_print_deed(holder, token, &w);
        http_local_answer(d->request, 200, &body);
        explicit_bzero(body.data, body.len);
    }
}

static void
on_complete(struct http_request *r)
{
    struct deed *d = r->user;
    struct value *members = NULL;
    struct err err;
    int e = r->content.len ? json_parse(&d->arena, r->content.data, r->content.len, JSON_STRICT,
                                        &members, NULL, &err)
                           : 0;
    d->wish.members = members;
    if (e == 0)
        e = keyring_do(d->gateway->keys, &d->wish, &err);
    d->is_under_way = e == 0;
    if (e < 0)
        http_local_answer_error(r, &err);
}

static void
on_finished(struct http_request *r, bool answered)
{
    struct deed *d = r->user;
    if (d->is_under_way) {
        bool is_revoke = d->wish.deed == KEYRING_REVOKE;
        log_info("key '%s': %s%s; whoever asked for it did not wait", d->name,
                 is_revoke ? "" : "perhaps ", keyring_deed_word(d->wish.deed));
        keyring_forget(&d->wish);
    }
    if (d->holder && !answered)
        holder_unheard(d->holder);
    arena_finish(&d->arena);
    free(d);
}

void
gateway_answer_deed(struct gateway *g, struct http_request *r, enum keyring_deed deed,
                    const char *name)
{
    static const struct http_request_ops ops = {.complete = on_complete, .finished = on_finished};
    struct deed *d = mem_new(struct deed);
    *d = (struct deed){.gateway = g, .request = r};
    (void)snprintf(d->name, sizeof(d->name), "%s", name);
    arena_init(&d->arena, TREE_MAX);
    d->wish = (struct keyring_wish){.deed = deed, .name = d->name, .done = on_done};
    r->ops = &ops;
    r->user = d;
}

/* ---- what was used ---- */

/* Of a large ledger that takes its time: a work does it. */
struct summing {
    struct work work;
    struct http_request *request; /* NULL: nobody waits */
    char *path;
    enum spent_by by;
    uint64_t since_us;
    struct buf body;
    struct json_writer w;
    struct err err;
    int result;
};

static void
on_sum(const struct spent_sum *sum, void *arg)
{
    spent_print(sum, arg);
}

static void
on_run(struct work *work)
{
    struct summing *s = container_of(work, struct summing, work);
    json_open_list(&s->w, NULL);
    s->result = spent_read(s->path, s->by, s->since_us, on_sum, &s->w, &s->err);
    json_close_list(&s->w);
}

static void
on_summed(struct work *work, bool cancelled unused_arg)
{
    struct summing *s = container_of(work, struct summing, work);
    if (s->request)
        s->request->user = NULL;
    if (s->request && s->result < 0)
        http_local_answer_error(s->request, &s->err);
    else if (s->request)
        http_local_answer(s->request, 200, &s->body);
    buf_finish(&s->body);
    free(s->path);
    free(s);
}

static void
on_asker_gone(struct http_request *r, bool answered unused_arg)
{
    struct summing *s = r->user;
    if (s)
        s->request = NULL;
}

static int
read_since(const struct http_request *r, uint64_t *ret_us, struct err *reterr)
{
    static const char name[] = "since_us=";
    const size_t len = sizeof(name) - 1;
    struct http1_slice query = r->head.query;
    char text[24];
    *ret_us = 0;
    if (query.len == 0)
        return 0;
    (void)snprintf(text, sizeof(text), "%.*s", (int)query.len - (int)MIN(len, query.len),
                   r->head.bytes + query.at + MIN(len, query.len));
    if (query.len > len && memcmp(r->head.bytes + query.at, name, len) == 0)
        return quantity_parse_u64(text, ret_us, reterr);
    return err_set(reterr, ERR_USAGE, "the query '%.*s' is not since_us=N",
                   (int)MIN(query.len, 200u), r->head.bytes + query.at);
}

void
gateway_answer_usage(struct gateway *g, struct http_request *r, const char *by_word)
{
    static const struct http_request_ops ops = {.finished = on_asker_gone};
    uint64_t since_us = 0;
    enum spent_by by;
    struct err err;
    r->ops = &ops;
    r->user = NULL;
    int e = spent_by_parse(by_word, &by, &err);
    if (e == 0)
        e = read_since(r, &since_us, &err);
    if (e < 0) {
        http_local_answer_error(r, &err);
        return;
    }
    struct summing *s = mem_new(struct summing);
    *s = (struct summing){.request = r,
                          .path = mem_strdup(g->config->gateway.keys_file),
                          .by = by,
                          .since_us = since_us,
                          .work = {.run = on_run, .done = on_summed}};
    buf_init(&s->body, CONTROL_ANSWER_MAX);
    json_init(&s->w, &s->body, false);
    r->user = s;
    work_start(g->life.loop, &s->work);
}
