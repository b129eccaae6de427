/* Requests that are about a response that is there, or go on from one:
 * only who has made it has it. */

#include "base/text.h"
#include "config/config.h"
#include "gateway/relay_int.h"

#include <string.h>

static const struct stored_at *
find_stored(struct passage *p, const char *id)
{
    size_t len = strlen(id);
    struct stored *stored = p->relay->stored;
    return stored && stored_is_id(id, len) ? stored_find(stored, id, len, p->key) : NULL;
}

static int
refuse_unknown(const char *id, struct err *reterr)
{
    int r = err_set(reterr, ERR_NOT_FOUND, "there is no response '%s' here", id);
    err_fix(reterr, "it may have been forgotten, or was made with \"store\": false");
    return r;
}

/* ---- that a request goes on from ---- */

/* Of the response that the request goes on from; "": of none that can be known. */
static void
read_previous(const struct passage *p, char id[STORED_ID_MAX + 1])
{
    const struct ask *ask = &p->question->ask;
    ask_text_decode(ask, &ask->values[ASK_PREVIOUS], id, STORED_ID_MAX + 1);
}

static bool
is_at(const struct target_back *back, const struct stored_at *at)
{
    return at->is_peer ? back->peer && text_eq(back->peer->name, at->server)
                       : back->model && text_eq(back->model->name, at->server);
}

/* What goes on from a response can be done by who has it, and by no other.
 * NULL: nobody is known to. */
const struct target_back *
passage_previous(struct passage *p)
{
    char id[STORED_ID_MAX + 1];
    read_previous(p, id);
    const struct stored_at *at = find_stored(p, id);
    for (size_t i = 0; at && i < p->target->back_count; i++)
        if (is_at(&p->target->backs[i], at))
            return &p->target->backs[i];
    return NULL;
}

/* Who has a key goes on from his own only. Without one, from what nobody is known to have. */
int
passage_check_previous(struct passage *p, struct err *reterr)
{
    const struct stored *stored = p->relay->stored;
    char id[STORED_ID_MAX + 1];
    if (p->question->ask.values[ASK_PREVIOUS].kind != JSON_STRING)
        return 0;
    read_previous(p, id);
    bool is_his = p->key ? find_stored(p, id) != NULL
                         : !stored || !stored_is_anothers(stored, id, strlen(id), 0);
    return is_his ? 0 : refuse_unknown(id, reterr);
}

/* ---- that a request is about ---- */

/* NULL: it is there no more. */
static const struct target *
target_at(struct passage *p, const struct stored_at *at)
{
    const struct config *config = p->routing->config;
    struct target *target = arena_new(&p->arena, struct target);
    struct target_back *back = arena_new(&p->arena, struct target_back);
    if (!target || !back)
        return NULL;
    for (size_t i = 0; !at->is_peer && i < config->models.count; i++)
        if (config->models.items[i].enabled && text_eq(config->models.items[i].name, at->server))
            back->model = &config->models.items[i];
    for (size_t i = 0; at->is_peer && i < config->gateway.peers.count; i++)
        if (text_eq(config->gateway.peers.items[i].name, at->server))
            back->peer = &config->gateway.peers.items[i];
    *target = (struct target){
        .name = arena_strdup(&p->arena, at->server), .backs = back, .back_count = 1};
    return (back->model || back->peer) && target->name ? target : NULL;
}

int
passage_find_stored(struct passage *p, struct err *reterr)
{
    const struct stored_at *at = find_stored(p, p->stored_id);
    p->asked = at ? target_at(p, at) : NULL;
    return p->asked ? 0 : refuse_unknown(p->stored_id, reterr);
}

/* ---- what an answer tells ---- */

void
passage_store(struct passage *p)
{
    struct relay *relay = p->relay;
    const struct target_back *back = p->back;
    struct stored_at at = {.key = p->key, .is_peer = back->peer != NULL};
    const char *name = back->peer ? back->peer->name : back->model->name;
    if (strlen(name) > STORED_SERVER_MAX)
        return;
    memcpy(at.server, name, strlen(name) + 1);
    if (!relay->stored)
        relay->stored = stored_new();
    stored_put(relay->stored, p->id_reader.id, p->id_reader.len, &at);
    p->has_id = true;
}

void
passage_leave_behind(struct passage *p, uint64_t took)
{
    struct relay *relay = p->relay;
    uint64_t limit_us = p->routing->config->gateway.limits.request_timeout_us;
    struct background *b =
        background_begin(&relay->backgrounds, relay->loop, p->reply.caller, took, limit_us);
    if (p->has_id)
        stored_set_background(relay->stored, p->id_reader.id, p->id_reader.len, p->key, b);
    else
        background_drop(b);
}

struct background *
passage_left_behind(struct passage *p)
{
    const struct stored_at *at = find_stored(p, p->stored_id);
    return at ? at->background : NULL;
}

void
passage_forget(struct passage *p)
{
    struct background *b = passage_left_behind(p);
    if (b)
        background_end(b);
    stored_forget(p->relay->stored, p->stored_id, strlen(p->stored_id), p->key);
}
