/* To whom a request goes: to the best of the back ends of its name, then to the others, then to
 * what the configuration names as fallbacks; to each with what is changed of it there. */

#include "config/config.h"
#include "gateway/params.h"
#include "gateway/relay_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- where it was seen before ---- */

/* That are looked at: a tenth of a millisecond; few prompts are longer. */
#define PROMPT_BYTES_MAX MIB
/* Parts of a prompt, in the order in which engines put them. */
static const enum ask_member prompt_members[] = {ASK_SYSTEM, ASK_INSTRUCTIONS, ASK_MESSAGES,
                                                 ASK_PROMPT, ASK_INPUT};

static void
add_name(struct question *q, const struct ask_text *name)
{
    if (name->kind == JSON_STRING)
        affinity_add_name(q->marks, ask_text_bytes(&q->ask, name), name->len);
}

/* Part of a prompt, up to so much of all; what of it is on the disk is as if never seen. */
static size_t
add_part(struct question *q, const struct json_place *part, size_t most)
{
    size_t there = 0;
    const char *bytes = part->kind != JSON_ABSENT ? body_head(&q->body, part->at, &there) : NULL;
    size_t len = MIN(MIN(part->len, most), there);
    if (bytes)
        affinity_add_prompt(q->marks, bytes, len);
    return len;
}

/* What may have been seen before: of who asks, of what, and in which talk. */
static void
add_marks(struct question *q)
{
    size_t most = PROMPT_BYTES_MAX;
    add_name(q, &q->ask.user);
    for (size_t i = 0; i < ARRAY_SIZE(prompt_members) && q->ask.places; i++)
        most -= add_part(q, &q->ask.places[prompt_members[i]], most);
    add_name(q, &q->ask.session);
    if (q->session)
        affinity_add_name(q->marks, q->session, strlen(q->session));
}

static bool
set_target(struct passage *p, const struct target *target)
{
    struct question *q = p->question;
    p->target = target;
    passage_estimate(p);
    q->tried = arena_alloc(&q->arena, MAX(target->back_count, (size_t)1) * sizeof(bool));
    q->marks = target->back_count > 1 ? arena_new(&q->arena, struct affinity_marks) : NULL;
    if (!q->marks)
        return q->tried;
    affinity_begin(p->relay->affinity, q->marks, target->name);
    add_marks(q);
    return q->tried;
}

/* ---- who is asked ---- */

static bool
could_ask(const struct passage *p, const struct target_back *back)
{
    const struct backend *b = routing_backend_of(p->routing, back);
    bool may_answer = backend_is_usable(b) || backend_is_tried(b);
    return may_answer && !(p->is_from_peer && backend_is_peer(b));
}

static bool
may_try(const struct passage *p, size_t i)
{
    return !p->question->tried[i] && could_ask(p, &p->target->backs[i]);
}

static const struct target_back *
choose_of(struct passage *p, struct target_load *loads, bool is_tried)
{
    const struct target *t = p->target;
    for (size_t i = 0; i < t->back_count; i++) {
        const struct backend *b = routing_backend_of(p->routing, &t->backs[i]);
        loads[i].usable = may_try(p, i) && backend_is_tried(b) == is_tried;
        loads[i].in_flight = loads[i].usable ? backend_load(b) : 0;
    }
    return target_choose(t, loads, p->relay->turn++);
}

/* Where it would wait for a trial only if there is no other. */
static const struct target_back *
choose(struct passage *p)
{
    const struct target *t = p->target;
    const struct affinity_marks *marks = p->question->marks;
    struct target_load *loads = arena_alloc(&p->question->arena, t->back_count * sizeof(*loads));
    uint32_t seen[AFFINITY_REPLICAS_MAX] = {0};
    if (!loads)
        return NULL;
    if (marks)
        affinity_find(p->relay->affinity, marks, seen);
    for (size_t i = 0; i < MIN(t->back_count, ARRAY_SIZE(seen)); i++)
        loads[i].seen = seen[i];
    const struct target_back *back = choose_of(p, loads, false);
    return back ? back : choose_of(p, loads, true);
}

/* Whoever may not ask for it by its name gets no answer of it in another's place. */
static bool
may_have(const struct passage *p, const struct target *target)
{
    const struct holder *caller = p->reply.caller;
    return !caller || key_allows(holder_key(caller), target->name);
}

static bool
could_answer(const struct passage *p, const struct target *target)
{
    for (size_t i = 0; may_have(p, target) && i < target->back_count; i++)
        if (could_ask(p, &target->backs[i]))
            return true;
    return false;
}

bool
passage_has_other(struct passage *p)
{
    if (passage_previous(p)) /* it was asked */
        return false;
    for (size_t i = 0; i < p->target->back_count; i++)
        if (may_try(p, i))
            return true;
    for (size_t i = p->question->fallbacks; i < p->asked->fallback_count; i++)
        if (could_answer(p, p->asked->fallbacks[i]) &&
            passage_could_claim(p, p->asked->fallbacks[i]))
            return true;
    return false;
}

/* ---- what he is asked ---- */

static int
change_body(struct passage *p, const struct target_back *back, struct err *reterr)
{
    struct question *q = p->question;
    struct ask_change change = {.include_usage = q->adds_usage};
    struct sending *s = arena_new(&q->arena, struct sending);
    if (!s)
        return err_set(reterr, ERR_TOO_LARGE, "the request has more to be changed than may be");
    const struct params *params =
        route_generates(p->route) ? routing_params_of(p->routing, back) : NULL;
    if (params) {
        change.params = params->items;
        change.param_count = params->count;
    }
    if (strcmp(back->name, q->ask.model) != 0)
        change.model = back->name;
    int r = q->form ? ask_change_form(q->form, &q->ask, &change, &q->arena, &s->list)
                    : ask_change_json(&q->ask, &change, &q->arena, &s->list, reterr);
    if (r == -ENOMEM)
        return err_set(reterr, ERR_TOO_LARGE, "the request has more to be changed than may be");
    if (r < 0)
        return r;
    s->length = patch_length(&s->list, q->body.len);
    s->count = patch_pieces(&s->list, q->body.len, s->pieces);
    q->sending = s;
    return 0;
}

/* Before others goes who asks to, and whose key has that right. Who needs no key may be anybody;
 * unless there are none, and so only this host. */
static unsigned
class_of(const struct passage *p)
{
    const struct holder *caller = p->reply.caller;
    bool may_go_first =
        caller ? holder_key(caller)->has_priority : !p->routing->config->gateway.anonymous;
    enum ask_tier tier = p->question->ask.tier;
    return may_go_first ? tier : MAX(tier, ASK_TIER_DEFAULT);
}

/* What it may take of the engine, by what is said and by what is usual. */
static void
visit_back(struct passage *p, const struct target_back *back)
{
    struct question *q = p->question;
    size_t i = (size_t)(back - p->target->backs);
    struct visit_wish wish = {
        .key = p->key,
        .caller = p->share->caller,
        .class = class_of(p),
        .tokens = p->account.tokens,
        .is_about_stored = p->stored_id != NULL,
    };
    struct backend *b = routing_backend_of(p->routing, back);
    struct err error;
    q->tried[i] = true;
    p->back = back;
    int r = p->stored_id ? passage_step_aside(p, b, &error) : change_body(p, back, &error);
    if (r < 0) {
        passage_fail(p, &error);
        return;
    }
    if (q->marks)
        affinity_note(p->relay->affinity, q->marks, i);
    visit_begin(&p->visit, b, &wish);
}

/* ---- where nobody is left ---- */

/* Of some that cannot be asked, the one that can be again the soonest. For another gateway, those
 * of other hosts are none. */
static void
explain_away(struct passage *p, const struct target_back *backs, size_t count)
{
    struct err *why = &p->question->why;
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
        *why = error;
    }
    if (why->id != ERR_NONE)
        return;
    (void)err_set(why, ERR_MODEL_AWAY, "this host does not serve %s itself", p->asked->name);
    err_fix(why, "what another gateway asks for is not passed on to a third");
}

/* Of the last one that was asked; or none was. */
static void
fail_away(struct passage *p)
{
    struct question *q = p->question;
    if (q->why.id == ERR_NONE && q->arena.full)
        (void)err_set(&q->why, ERR_TOO_LARGE, "the request has more to be changed than may be");
    else if (q->why.id == ERR_NONE)
        explain_away(p, p->asked->backs, p->asked->back_count);
    passage_fail(p, &q->why);
}

static void
fail_previous(struct passage *p, const struct target_back *back)
{
    struct question *q = p->question;
    if (q->why.id == ERR_NONE)
        explain_away(p, back, 1);
    err_fix(&q->why, "no other has the response that the request goes on from");
    passage_fail(p, &q->why);
}

static bool
may_fall_back(struct passage *p)
{
    size_t *next = &p->question->fallbacks;
    while (*next < p->asked->fallback_count && !may_have(p, p->asked->fallbacks[*next]))
        ++*next;
    return *next < p->asked->fallback_count && set_target(p, p->asked->fallbacks[(*next)++]);
}

void
passage_try(struct passage *p)
{
    do {
        const struct target_back *previous = passage_previous(p);
        const struct target_back *back = previous ? previous : choose(p);
        if (previous && !may_try(p, (size_t)(previous - p->target->backs))) {
            fail_previous(p, previous);
            return;
        }
        if (back && !passage_has_claimed(p)) {
            passage_claim_anew(p);
            return;
        }
        if (back) {
            visit_back(p, back);
            return;
        }
    } while (may_fall_back(p));
    fail_away(p);
}

void
passage_fall_back(struct passage *p)
{
    if (may_fall_back(p))
        passage_try(p);
    else
        fail_away(p);
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
