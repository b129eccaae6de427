#include "gateway/relay.h"

#include "base/text.h"
#include "config/config.h"
#include "gateway/exporter.h"
#include "gateway/header.h"
#include "gateway/multipart.h"
#include "gateway/params.h"
#include "gateway/peer.h"
#include "gateway/problem.h"
#include "gateway/relay_int.h"

#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdlib.h>
#include <strings.h>

#define CHANGES_BYTES_MAX (64 * KIB) /* of a request, beside its head */
/* Prompts and talks that are remembered, at some 20 marks each. 4 MiB. */
#define AFFINITY_PLACES (UINT64_C(1) << 18)
/* Of a client that names its talk there. */
#define SESSION_FIELD "X-Session-Id"
#define MANY_REQUESTS 256 /* at a time: some MB */

/* ---- the end ---- */

void
passage_drop_body(struct passage *p)
{
    p->relay->counts.bodies_bytes -= p->body.len;
    body_finish(&p->body);
    free(take_ptr(p->form));
}

void
passage_fail(struct passage *p, const struct err *error)
{
    assert(p->state < PASSAGE_PASSES);
    p->state = PASSAGE_OVER;
    p->row.status = problem_status(error);
    p->row.end = p->row.backend[0] ? LEDGER_ENGINE : LEDGER_REFUSED;
    passage_drop_body(p);
    passage_progress_stop(p);
    if (p->is_told)
        passage_told_fail(p, error);
    else
        reply_problem(p->request, p->route->dialect, error, &p->reply, p->retry_after_s, NULL);
}

/* What many requests had at a time goes back to the host once few of them are left: the allocator
 * would keep it. */
static void
leave(struct relay *relay)
{
    unsigned left = --relay->counts.requests;
    if (relay->most < MANY_REQUESTS || left > relay->most / 8)
        return;
    (void)malloc_trim(0);
    relay->most = left;
}

static void
on_finished(struct http_request *r, bool answered)
{
    struct passage *p = r->user;
    passage_progress_stop(p);
    passage_account_end(p, answered);
    visit_end(&p->visit, p->reads ? &p->usage.usage : NULL, passage_took(p));
    passage_drop_body(p);
    if (p->reads)
        usage_finish(&p->usage);
    buf_finish(&p->refusal);
    ask_finish(&p->ask);
    arena_finish(&p->arena);
    routing_drop(p->routing);
    leave(p->relay);
    free(p);
}

/* ---- to whom ---- */

/* Parts of a prompt, in the order in which engines put them. */
#define PROMPT_BYTES_MAX \
    MIB /* that are looked at: a tenth of a millisecond; few prompts are longer */
static const enum ask_member prompt_members[] = {ASK_SYSTEM, ASK_INSTRUCTIONS, ASK_MESSAGES,
                                                 ASK_PROMPT, ASK_INPUT};

static void
add_name(struct passage *p, const struct ask_text *name)
{
    if (name->kind == JSON_STRING)
        affinity_add_name(p->marks, ask_text_bytes(&p->ask, name), name->len);
}

/* Part of a prompt, up to so much of all; what of it the disk does not give back is as if never seen. */
static size_t
add_part(struct passage *p, const struct json_place *part, char *room, size_t most)
{
    size_t len = MIN(part->len, most);
    const char *bytes =
        part->kind != JSON_ABSENT ? body_read(&p->body, part->at, len, room, NULL) : NULL;
    if (!bytes)
        return 0;
    affinity_add_prompt(p->marks, bytes, len);
    return len;
}

/* What may have been seen before: of who asks, of what, and in which talk. */
static void
add_marks(struct passage *p)
{
    _cleanup_free_ char *room = body_is_in_memory(&p->body) ? NULL : mem_alloc(PROMPT_BYTES_MAX);
    size_t most = PROMPT_BYTES_MAX;
    add_name(p, &p->ask.user);
    for (size_t i = 0; i < ARRAY_SIZE(prompt_members) && p->ask.places; i++)
        most -= add_part(p, &p->ask.places[prompt_members[i]], room, most);
    add_name(p, &p->ask.session);
    if (p->session)
        affinity_add_name(p->marks, p->session, strlen(p->session));
}

static bool
set_target(struct passage *p, const struct target *target)
{
    p->target = target;
    p->tried = arena_alloc(&p->arena, MAX(target->back_count, (size_t)1) * sizeof(bool));
    p->marks = target->back_count > 1 ? arena_new(&p->arena, struct affinity_marks) : NULL;
    if (!p->marks)
        return p->tried;
    affinity_begin(p->relay->affinity, p->marks, target->name);
    add_marks(p);
    return p->tried;
}

static bool
could_ask(const struct passage *p, const struct target_back *back)
{
    const struct backend *b = routing_backend_of(p->routing, back);
    return backend_is_usable(b) && !(p->is_from_peer && backend_is_peer(b));
}

static bool
may_try(const struct passage *p, size_t i)
{
    return !p->tried[i] && could_ask(p, &p->target->backs[i]);
}

static bool
is_at(const struct target_back *back, const struct stored_at *at)
{
    return at->is_peer ? back->peer && text_eq(back->peer->name, at->server)
                       : back->model && text_eq(back->model->name, at->server);
}

static const struct stored_at *
find_stored(struct passage *p, const char *id)
{
    size_t len = strlen(id);
    struct stored *stored = p->relay->stored;
    return stored && stored_is_id(id, len) ? stored_find(stored, id, len, p->key) : NULL;
}

/* Of the response that the request goes on from; "": of none that can be known. */
static void
read_previous(const struct passage *p, char id[STORED_ID_MAX + 1])
{
    ask_text_decode(&p->ask, &p->ask.values[ASK_PREVIOUS], id, STORED_ID_MAX + 1);
}

/* What goes on from a response can be done by who has it, and by no other. NULL: nobody is known to. */
static const struct target_back *
find_previous(struct passage *p)
{
    char id[STORED_ID_MAX + 1];
    read_previous(p, id);
    const struct stored_at *at = find_stored(p, id);
    for (size_t i = 0; at && i < p->target->back_count; i++)
        if (is_at(&p->target->backs[i], at))
            return &p->target->backs[i];
    return NULL;
}

static const struct target_back *
choose(struct passage *p)
{
    const struct target *t = p->target;
    struct target_load *loads = arena_alloc(&p->arena, t->back_count * sizeof(*loads));
    uint32_t seen[AFFINITY_REPLICAS_MAX] = {0};
    if (!loads)
        return NULL;
    if (p->marks)
        affinity_find(p->relay->affinity, p->marks, seen);
    for (size_t i = 0; i < t->back_count; i++)
        if (may_try(p, i))
            loads[i] = (struct target_load){
                .usable = true,
                .in_flight = backend_load(routing_backend_of(p->routing, &t->backs[i])),
                .seen = i < ARRAY_SIZE(seen) ? seen[i] : 0};
    return target_choose(t, loads, p->relay->turn++);
}

bool
passage_has_other(struct passage *p)
{
    if (find_previous(p)) /* it was asked */
        return false;
    for (size_t i = 0; i < p->target->back_count; i++)
        if (may_try(p, i))
            return true;
    for (size_t i = p->fallbacks; i < p->asked->fallback_count; i++)
        for (size_t k = 0; k < p->asked->fallbacks[i]->back_count; k++)
            if (could_ask(p, &p->asked->fallbacks[i]->backs[k]))
                return true;
    return false;
}

bool
route_generates(const struct route *route)
{
    return route->id == ROUTE_CHAT || route->id == ROUTE_COMPLETIONS ||
           route->id == ROUTE_RESPONSES || route->id == ROUTE_MESSAGES;
}

static int
change_body(struct passage *p, const struct target_back *back, struct err *reterr)
{
    struct ask_change change = {.include_usage = p->adds_usage};
    struct sending *s = arena_new(&p->arena, struct sending);
    if (!s)
        return err_set(reterr, ERR_TOO_LARGE, "the request has more to be changed than may be");
    const struct params *params =
        route_generates(p->route) ? routing_params_of(p->routing, back) : NULL;
    if (params) {
        change.params = params->items;
        change.param_count = params->count;
    }
    if (strcmp(back->name, p->ask.model) != 0)
        change.model = back->name;
    int r = p->form ? ask_change_form(p->form, &p->ask, &change, &p->arena, &s->list)
                    : ask_change_json(&p->ask, &change, &p->arena, &s->list, reterr);
    if (r == -ENOMEM)
        return err_set(reterr, ERR_TOO_LARGE, "the request has more to be changed than may be");
    if (r < 0)
        return r;
    s->length = patch_length(&s->list, p->body.len);
    s->count = patch_pieces(&s->list, p->body.len, s->pieces);
    p->sending = s;
    return 0;
}

/* Before others goes who asks to, and whose key has that right. Who needs no key may be anybody; unless
 * there are none, and so only this host. */
static unsigned
class_of(const struct passage *p)
{
    const struct holder *caller = p->reply.caller;
    bool may_go_first =
        caller ? holder_key(caller)->has_priority : !p->routing->config->gateway.anonymous;
    return may_go_first ? p->ask.tier : MAX(p->ask.tier, ASK_TIER_DEFAULT);
}

/* What it may take of the engine, by what is said and by what is usual. */
static void
visit_back(struct passage *p, const struct target_back *back)
{
    size_t i = (size_t)(back - p->target->backs);
    struct visit_wish wish = {
        .key = p->key,
        .class = class_of(p),
        .tokens = passage_tokens(p),
        .is_about_stored = p->stored_id != NULL,
    };
    struct err error;
    p->tried[i] = true;
    p->back = back;
    if (!p->stored_id && change_body(p, back, &error) < 0) {
        passage_fail(p, &error);
        return;
    }
    if (p->marks)
        affinity_note(p->relay->affinity, p->marks, i);
    visit_begin(&p->visit, routing_backend_of(p->routing, back), &wish);
}

/* Of some that cannot be asked, the one that can be again the soonest. For another gateway, those of other
 * hosts are none. */
static void
explain_away(struct passage *p, const struct target_back *backs, size_t count)
{
    p->retry_after_s = 0;
    for (size_t i = 0; i < count; i++) {
        const struct backend *b = routing_backend_of(p->routing, &backs[i]);
        struct err error;
        if (backend_is_usable(b) || (p->is_from_peer && backend_is_peer(b)))
            continue;
        uint64_t after_s = backend_explain(b, &error);
        if (p->retry_after_s && after_s >= p->retry_after_s)
            continue;
        p->retry_after_s = after_s;
        p->why = error;
    }
    if (p->why.id != ERR_NONE)
        return;
    (void)err_set(&p->why, ERR_MODEL_AWAY, "this host does not serve %s itself", p->asked->name);
    err_fix(&p->why, "what another gateway asks for is not passed on to a third");
}

/* Of the last one that was asked; or none was. */
static void
fail_away(struct passage *p)
{
    if (p->why.id == ERR_NONE && p->arena.full)
        (void)err_set(&p->why, ERR_TOO_LARGE, "the request has more to be changed than may be");
    else if (p->why.id == ERR_NONE)
        explain_away(p, p->asked->backs, p->asked->back_count);
    passage_fail(p, &p->why);
}

static void
fail_previous(struct passage *p, const struct target_back *back)
{
    if (p->why.id == ERR_NONE)
        explain_away(p, back, 1);
    err_fix(&p->why, "no other has the response that the request goes on from");
    passage_fail(p, &p->why);
}

static bool
may_fall_back(struct passage *p)
{
    return p->fallbacks < p->asked->fallback_count &&
           set_target(p, p->asked->fallbacks[p->fallbacks++]);
}

void
passage_try(struct passage *p)
{
    do {
        const struct target_back *previous = find_previous(p);
        const struct target_back *back = previous ? previous : choose(p);
        if (previous && !may_try(p, (size_t)(previous - p->target->backs))) {
            fail_previous(p, previous);
            return;
        }
        if (back) {
            visit_back(p, back);
            return;
        }
    } while (may_fall_back(p));
    fail_away(p);
}

/* ---- what is asked for ---- */

static int
read_ask(struct passage *p, struct err *reterr)
{
    if (!p->form)
        return ask_end(&p->ask, reterr);
    int r = multipart_end(p->form, reterr);
    return r < 0 ? r : ask_read_form(&p->ask, p->form, reterr);
}

/* Chunks with usage are asked for where an engine is known to take the option. */
static bool
lacks_usage(const struct passage *p)
{
    bool knows = p->route->id == ROUTE_CHAT || p->route->id == ROUTE_COMPLETIONS;
    return knows && p->ask.stream && !p->ask.include_usage;
}

void
passage_seek(struct passage *p)
{
    p->state = PASSAGE_SEEKS;
    passage_progress_begin(p);
    if (set_target(p, p->asked))
        passage_try(p);
    else
        fail_away(p);
}

static int
refuse_unknown(const char *id, struct err *reterr)
{
    int r = err_set(reterr, ERR_NOT_FOUND, "there is no response '%s' here", id);
    err_fix(reterr, "it may have been forgotten, or was made with \"store\": false");
    return r;
}

/* Who has a key goes on from his own only. Without one, from what nobody is known to have. */
static int
check_previous(struct passage *p, struct err *reterr)
{
    const struct stored *stored = p->relay->stored;
    char id[STORED_ID_MAX + 1];
    if (p->ask.values[ASK_PREVIOUS].kind != JSON_STRING)
        return 0;
    read_previous(p, id);
    bool is_his = p->key ? find_stored(p, id) != NULL
                         : !stored || !stored_is_anothers(stored, id, strlen(id), 0);
    return is_his ? 0 : refuse_unknown(id, reterr);
}

static const struct key *
key_of(const struct passage *p)
{
    return p->reply.caller ? holder_key(p->reply.caller) : NULL;
}

static void
on_complete(struct http_request *r)
{
    struct passage *p = r->user;
    struct err error;
    passage_works(p);
    if (read_ask(p, &error) < 0 || check_previous(p, &error) < 0 ||
        target_find(p->routing->targets, key_of(p), p->ask.model, &p->asked, &error) < 0) {
        passage_fail(p, &error);
        return;
    }
    p->adds_usage = lacks_usage(p);
    p->transcript = transcript_begin(p->relay->transcripts, p->form ? NULL : &p->body);
    passage_claim(p);
    passage_waits(p);
}

/* ---- about a response that is there ---- */

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
passage_forget(struct passage *p)
{
    stored_forget(p->relay->stored, p->stored_id, strlen(p->stored_id), p->key);
}

/* The server that has it, as if it were a model's only one. NULL: nobody knows, or it is not there. */
static const struct target *
target_of_stored(struct passage *p)
{
    const struct config *config = p->routing->config;
    const struct stored_at *at = find_stored(p, p->stored_id);
    struct target *target = arena_new(&p->arena, struct target);
    struct target_back *back = arena_new(&p->arena, struct target_back);
    if (!at || !target || !back)
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

static void
on_complete_stored(struct http_request *r)
{
    struct passage *p = r->user;
    struct err error;
    passage_works(p);
    p->asked = target_of_stored(p);
    if (p->asked) {
        passage_claim(p);
        passage_waits(p);
        return;
    }
    (void)refuse_unknown(p->stored_id, &error);
    passage_fail(p, &error);
}

/* ---- the body ---- */

static int
check_room(const struct passage *p, uint64_t len, struct err *reterr)
{
    const struct config_gateway_limits *limits = &p->routing->config->gateway.limits;
    if (len > limits->body_bytes - p->body.len) {
        int r = err_set(reterr, ERR_TOO_LARGE, "the body is larger than %" PRIu64 " bytes",
                        limits->body_bytes);
        err_fix(reterr, "gateway.limits.body is the limit");
        return r;
    }
    uint64_t held = p->relay->counts.bodies_bytes;
    if (len > limits->bodies_bytes - MIN(held, limits->bodies_bytes))
        return err_set(reterr, ERR_BODIES_FULL,
                       "there is no room for more requests' bodies at the moment");
    return 0;
}

static void
on_body(struct http_request *r, const char *bytes, size_t len)
{
    struct passage *p = r->user;
    struct err error;
    int e = check_room(p, len, &error);
    if (e == 0 && p->form)
        e = multipart_read(p->form, bytes, len, &error);
    if (e == 0 && p->ask.places)
        e = ask_read(&p->ask, bytes, len, &error);
    if (e == 0) {
        p->relay->counts.bodies_bytes += len;
        e = body_add(&p->body, bytes, len, &error);
    }
    if (e < 0)
        passage_fail(p, &error);
}

static void
on_writable(struct http_request *r)
{
    passage_go_on(r->user);
}

/* ---- the head ---- */

static void
carry(struct passage *p, const char *name, size_t name_len, const char *value, size_t value_len)
{
    struct carried *c = arena_new(&p->arena, struct carried);
    if (!c)
        return;
    c->name = arena_strndup(&p->arena, name, name_len);
    c->value = arena_strndup(&p->arena, value, value_len);
    c->next = p->carried;
    p->carried = c;
}

static const struct http1_field *
find_field(const struct http1_head *head, const char *name)
{
    size_t len = strlen(name);
    for (unsigned i = 0; i < head->field_count; i++) {
        const struct http1_slice *at = &head->fields[i].name;
        if (at->len == len && strncasecmp(head->bytes + at->at, name, len) == 0)
            return &head->fields[i];
    }
    return NULL;
}

/* The client's trace goes on as it came; or with our part in it, where somebody is told of that. */
static void
carry_trace(struct passage *p, const struct http1_head *head)
{
    static const char name[] = "traceparent", state_name[] = "tracestate";
    const struct http1_field *field = find_field(head, name);
    const struct http1_field *state = find_field(head, state_name);
    const char *bytes = head->bytes, *parent = NULL;
    if (field && trace_is_parent(bytes + field->value.at, field->value.len))
        parent = bytes + field->value.at;
    if (exporter_is_on(p->relay->exporter) && (!parent || trace_is_sampled(parent)))
        p->trace = arena_new(&p->arena, struct trace);
    if (p->trace)
        trace_begin(p->trace, parent);
    else if (parent)
        carry(p, name, sizeof(name) - 1, parent, field->value.len);
    if (parent && state)
        carry(p, state_name, sizeof(state_name) - 1, bytes + state->value.at, state->value.len);
}

/* A body that was read as JSON is told to be that, whatever the client calls it. */
static void
carry_head(struct passage *p, const struct http1_head *head)
{
    static const char type[] = "Content-Type", json[] = "application/json";
    bool is_json = p->route->body == ROUTE_BODY_JSON;
    for (unsigned i = head->field_count; i-- > 0;) {
        const struct http1_field *f = &head->fields[i];
        const char *name = head->bytes + f->name.at;
        if (header_passes(HEADER_TO_ENGINE, name, f->name.len) &&
            !(is_json && f->id == HTTP_FIELD_CONTENT_TYPE))
            carry(p, name, f->name.len, head->bytes + f->value.at, f->value.len);
    }
    if (is_json)
        carry(p, type, sizeof(type) - 1, json, sizeof(json) - 1);
}

static int
open_form(struct passage *p, const struct http1_head *head, struct err *reterr)
{
    const struct http1_field *type = http1_find(head, HTTP_FIELD_CONTENT_TYPE);
    p->form = mem_new(struct multipart);
    return multipart_init(p->form, type ? head->bytes + type->value.at : "",
                          type ? type->value.len : 0, reterr);
}

static int
read_head(struct passage *p, const struct http1_head *head, struct err *reterr)
{
    int r = check_room(p, head->content_length, reterr);
    if (r == 0 && p->route->body == ROUTE_BODY_FORM)
        r = open_form(p, head, reterr);
    carry_head(p, head);
    carry_trace(p, head);
    p->is_from_peer = find_field(head, PEER_FIELD) != NULL;
    const struct http1_field *session = find_field(head, SESSION_FIELD);
    if (session)
        p->session = arena_strndup(&p->arena, head->bytes + session->value.at, session->value.len);
    if (r == 0 && p->arena.full)
        r = err_set(reterr, ERR_TOO_LARGE, "the headers are larger than may be passed on");
    return r;
}

static void
read_path(struct passage *p, const struct http1_head *head, const struct route_found *found)
{
    const char *bytes = head->bytes;
    p->path = found->route->path;
    if (found->route->answers != ROUTE_BY_STORED)
        return;
    p->stored_id = arena_strndup(&p->arena, found->part, found->part_len);
    p->path =
        arena_printf(&p->arena, "%.*s%s%.*s", (int)head->path.len, bytes + head->path.at,
                     head->query.len ? "?" : "", (int)head->query.len, bytes + head->query.at);
}

void
relay_take(struct relay *relay, struct http_request *r, const struct route_found *found,
           const struct reply *reply)
{
    static const struct http_request_ops ops = {.body = on_body,
                                                .complete = on_complete,
                                                .writable = on_writable,
                                                .finished = on_finished},
                                         stored_ops = {.body = on_body,
                                                       .complete = on_complete_stored,
                                                       .writable = on_writable,
                                                       .finished = on_finished};
    const struct config_gateway_limits *limits = &relay->routing->config->gateway.limits;
    struct passage *p = mem_new(struct passage);
    struct err error;
    r->ops = found->route->answers == ROUTE_BY_STORED ? &stored_ops : &ops;
    r->user = p;
    r->body_bytes_max = UINT64_MAX; /* ours is smaller, and said in the shape of the API */
    p->relay = relay;
    p->routing = routing_hold(relay->routing);
    p->request = r;
    p->route = found->route;
    p->visit.ops = &passage_visit_ops;
    p->visit.user = p;
    p->reply = *reply;
    arena_init(&p->arena, (size_t)limits->header_bytes + CHANGES_BYTES_MAX);
    body_init(&p->body, relay->loop, p->routing->spool, limits->body_bytes);
    if (p->route->body == ROUTE_BODY_JSON)
        ask_begin(&p->ask, p->routing->members.items, p->routing->members.count);
    relay->counts.requests++;
    relay->most = MAX(relay->most, relay->counts.requests);
    read_path(p, &r->head, found);
    passage_account_begin(p);
    if (read_head(p, &r->head, &error) < 0)
        passage_fail(p, &error);
}

/* ---- the relay as a whole ---- */

int
relay_new(struct loop *loop, const struct config *config, struct relay **ret_relay,
          struct err *reterr)
{
    struct relay *relay = mem_new(struct relay);
    relay->loop = loop;
    relay->affinity = affinity_new(AFFINITY_PLACES);
    int r = routing_new(loop, config, NULL, &relay->routing, reterr);
    if (r < 0)
        relay_free(relay);
    else
        *ret_relay = relay;
    return r;
}

int
relay_configure(struct relay *relay, struct config *config, struct err *reterr)
{
    struct routing *next, *before = relay->routing;
    int r = routing_new(relay->loop, config, before, &next, reterr);
    if (r < 0)
        return r;
    next->owned = config;
    relay->routing = next;
    routing_enter(next);
    routing_drop(before);
    return 0;
}

struct config *
relay_take_config(struct relay *relay)
{
    return relay ? take_ptr(relay->routing->owned) : NULL;
}

void
relay_free(struct relay *relay)
{
    if (!relay)
        return;
    assert(relay->counts.requests == 0 && relay->counts.bodies_bytes == 0);
    routing_drop(relay->routing);
    affinity_free(relay->affinity);
    stored_free(relay->stored);
    free(relay);
}

void
relay_tell_of_ends(struct relay *relay,
                   void (*over)(const struct ledger_row *row, const struct reply *reply, void *arg),
                   void *arg)
{
    relay->over = over;
    relay->over_arg = arg;
}

void
relay_keep_words(struct relay *relay, struct transcripts *transcripts)
{
    relay->transcripts = transcripts;
}

void
relay_export_spans(struct relay *relay, struct exporter *exporter)
{
    relay->exporter = exporter;
}

const struct target_table *
relay_targets(const struct relay *relay)
{
    return relay->routing->targets;
}

const struct backend *
relay_backend(const struct relay *relay, size_t i)
{
    return relay->routing->backends[i];
}

struct backend *
relay_backend_of(const struct relay *relay, const struct target_back *back)
{
    return routing_backend_of(relay->routing, back);
}

struct backend *
relay_backend_at(struct relay *relay, size_t i)
{
    return relay->routing->backends[i];
}

size_t
relay_backend_count(const struct relay *relay)
{
    return relay->routing->count;
}

const struct relay_counts *
relay_counts(const struct relay *relay)
{
    return &relay->counts;
}

struct tallies *
relay_tallies(struct relay *relay)
{
    return &relay->tallies;
}
