#include "gateway/keyring.h"

#include "base/map.h"
#include "base/vec.h"
#include "fmt/json.h"

#include <stdio.h>
#include <string.h>

#define SECOND_US UINT64_C(1000000)
#define AGAIN_US UINT64_C(5000000) /* until what is not durable is tried again */

struct claim_list {
    struct claim *first, **last;
};

struct holder {
    struct keyring *ring;
    struct key key;
    char hex[HASH_SHA256_HEX]; /* of its hash: by which it is found */
    struct allowance allowance;
    struct claim_list waiting, owing; /* before a debit, and for what they took */
    struct store_put debit;
    uint64_t debits;            /* so many were begun */
    struct loop_timer patience; /* with the debit */
    bool is_late;               /* it has lasted for longer */
    bool is_unwritten;          /* that it is revoked is not durable yet */
};

struct keyring {
    struct loop *loop;
    struct store *store;
    bool had_keys;
    VEC(struct holder *) holders;
    struct map by_hash, by_name;

    /* the change that is under way */
    bool is_putting;
    struct keyring_wish *wish; /* NULL: nobody is told of it any more */
    enum keyring_deed deed;
    bool is_overtaken; /* its key was revoked since */
    struct key next;
    key_token token;
    struct store_put put;
    struct keyring_wish *first, **last; /* that wait for it */
    size_t waiting;

    /* Writes as it is what is unwritten; it has a name while it is under way. */
    struct keyring_wish again;
    struct loop_timer again_timer;
    bool is_closing;

    void (*tell)(struct holder *holder, void *arg);
    void *tell_arg;
};

static struct allowance_time
now(const struct keyring *ring)
{
    return (struct allowance_time){loop_now_us(ring->loop), loop_wall_us(ring->loop)};
}

/* ---- claims ---- */

static void
list_init(struct claim_list *list)
{
    *list = (struct claim_list){.last = &list->first};
}

static void
take_off(struct claim *c)
{
    *(c->previous ? &c->previous->next : &c->list->first) = c->next;
    if (c->next)
        c->next->previous = c->previous;
    else
        c->list->last = c->previous ? &c->previous->next : &c->list->first;
    c->next = c->previous = NULL;
    c->list = NULL;
}

static void
put_on(struct claim *c, struct claim_list *list)
{
    c->list = list;
    c->next = NULL;
    c->previous = list->first ? container_of(list->last, struct claim, next) : NULL;
    *list->last = c;
    list->last = &c->next;
}

static void
write_order(struct holder *h, const struct allowance_time *t)
{
    if (!allowance_order(&h->allowance, t, &h->debit.saved))
        return;
    h->debits++;
    store_put(h->ring->store, &h->debit);
    loop_timer_start(h->ring->loop, &h->patience, KEYRING_DEBIT_US, 0);
}

static void
refuse(struct claim *c, const struct allowance_refusal *why)
{
    struct err error;
    (void)allowance_refuse(&c->holder->allowance, why, c->tokens, &error);
    c->ops->refused(c, &error, (why->wait_us + SECOND_US - 1) / SECOND_US);
}

static bool
runs(const struct claim *c)
{
    return c->state != CLAIM_NONE && c->state != CLAIM_BEGINS;
}

/* What it waits for, or is about to. False: it waits as it did. */
static bool
try_claim(struct claim *c, const struct allowance_time *t)
{
    struct allowance *a = &c->holder->allowance;
    struct allowance_refusal why;
    enum allowance_verdict verdict = runs(c) ? allowance_claim(a, &c->own, c->tokens, t, &why)
                                             : allowance_begin(a, &c->own, c->takes, t, &why);
    if (verdict == ALLOWANCE_WAIT)
        return false;
    if (c->list)
        take_off(c);
    c->state = runs(c) ? CLAIM_HELD : CLAIM_NONE;
    if (verdict == ALLOWANCE_GRANTED) {
        c->state = CLAIM_HELD;
        c->ops->granted(c);
    } else {
        refuse(c, &why);
    }
    return true;
}

/* A limit is as good as reached when it cannot be written down that it is not; for those that are
 * there: told of it, one may claim anew, and then waits for another debit. */
static void
refuse_waiting(struct holder *h)
{
    struct claim_list refused;
    struct err told;
    list_init(&refused);
    if (h->is_late)
        (void)err_set(&told, ERR_KEYS_UNWRITTEN,
                      "what the key uses is not written down after %u s: the disk hangs",
                      (unsigned)(KEYRING_DEBIT_US / SECOND_US));
    else
        (void)err_set(&told, ERR_KEYS_UNWRITTEN, "what the key uses cannot be written down now");
    err_fix(&told, "the gateway's log tells why");
    for (struct claim *c; (c = h->waiting.first);) {
        take_off(c);
        put_on(c, &refused);
    }
    for (struct claim *c; (c = refused.first);) {
        take_off(c);
        c->state = runs(c) ? CLAIM_HELD : CLAIM_NONE;
        c->ops->refused(c, &told, 0);
    }
}

/* Those that a debit up to that one pays for, of those that are there: told of it, one may
 * owe again, or end another. */
static void
let_go(struct holder *h, uint64_t debit)
{
    struct claim_list paid;
    list_init(&paid);
    for (struct claim *c; (c = h->owing.first) && c->debit <= debit;) {
        take_off(c);
        put_on(c, &paid);
    }
    for (struct claim *c; (c = paid.first);) {
        take_off(c);
        c->state = CLAIM_HELD;
        c->ops->paid(c);
    }
}

/* Who comes until that debit has ended waits for it no more. */
static void
on_late(struct loop_timer *timer)
{
    struct holder *h = container_of(timer, struct holder, patience);
    h->is_late = true;
    refuse_waiting(h);
    /* What has begun goes on, whatever becomes of the disk; no other begins. */
    let_go(h, UINT64_MAX);
}

static void
ask(struct claim *c, enum claim_state waiting)
{
    struct holder *h = c->holder;
    if (!h) {
        c->ops->granted(c);
        return;
    }
    const struct allowance_time t = now(h->ring);
    if (!try_claim(c, &t)) {
        c->state = waiting;
        put_on(c, &h->waiting);
    }
    if (h->is_late)
        refuse_waiting(h);
    write_order(h, &t);
}

void
claim_begin(struct claim *c, struct holder *holder, bool takes)
{
    assert(c->state == CLAIM_NONE);
    c->holder = holder;
    c->takes = takes;
    ask(c, CLAIM_BEGINS);
}

void
claim_tokens(struct claim *c, uint64_t tokens)
{
    assert(c->state == (c->holder ? CLAIM_HELD : CLAIM_NONE));
    c->tokens = tokens;
    ask(c, CLAIM_ASKS);
}

bool
claim_could(const struct claim *c, uint64_t tokens)
{
    if (c->state != CLAIM_HELD)
        return true;
    const struct allowance_time t = now(c->holder->ring);
    return allowance_could_claim(&c->holder->allowance, &c->own, tokens, &t);
}

bool
claim_grow(struct claim *c, uint64_t tokens)
{
    if (c->state != CLAIM_HELD)
        return c->state != CLAIM_OWES;
    struct holder *h = c->holder;
    const struct allowance_time t = now(h->ring);
    uint64_t before = h->debits;
    bool is_paid = allowance_grow(&h->allowance, &c->own, tokens, &t);
    write_order(h, &t);
    if (is_paid || h->is_late || !h->allowance.is_ordered)
        return true;
    c->debit = before + 1; /* one that is under way is of what was before */
    c->state = CLAIM_OWES;
    put_on(c, &h->owing);
    return false;
}

bool
claim_waits(const struct claim *c)
{
    return c->state == CLAIM_BEGINS || c->state == CLAIM_ASKS;
}

bool
claim_owes(const struct claim *c)
{
    return c->state == CLAIM_OWES;
}

void
claim_settle(struct claim *c, uint64_t tokens)
{
    if (c->state == CLAIM_BEGINS) {
        const struct allowance_time t = now(c->holder->ring);
        allowance_count(&c->holder->allowance, &t);
    }
    if (!runs(c)) {
        claim_end(c);
        return;
    }
    const struct allowance_time t = now(c->holder->ring);
    if (c->list)
        take_off(c);
    c->state = CLAIM_NONE;
    allowance_settle(&c->holder->allowance, &c->own, tokens, &t);
    write_order(c->holder, &t);
}

void
claim_end(struct claim *c)
{
    if (c->list)
        take_off(c);
    if (runs(c)) {
        const struct allowance_time t = now(c->holder->ring);
        allowance_cancel(&c->holder->allowance, &c->own, &t);
    }
    c->state = CLAIM_NONE;
}

static void
on_debited(struct store_put *put, const struct err *error)
{
    struct holder *h = container_of(put, struct holder, debit);
    const struct allowance_time t = now(h->ring);
    loop_timer_stop(&h->patience);
    h->is_late = false;
    if (error) {
        allowance_not_debited(&h->allowance);
        refuse_waiting(h);
        let_go(h, UINT64_MAX);
        return;
    }
    allowance_debited(&h->allowance);
    let_go(h, allowance_is_paid(&h->allowance) ? UINT64_MAX : h->debits);
    while (h->waiting.first && try_claim(h->waiting.first, &t))
        ;
    write_order(h, &t);
}

/* ---- a life ---- */

static struct holder *
add_holder(struct keyring *ring, const struct key *key, const struct allowance_saved *saved)
{
    const struct allowance_time t = now(ring);
    struct holder *h = mem_new(struct holder);
    h->ring = ring;
    h->key = *key;
    list_init(&h->waiting);
    list_init(&h->owing);
    h->debit.done = on_debited;
    h->patience.expired = on_late;
    h->debit.id = key->id;
    hash_sha256_hex(key->hash, h->hex);
    allowance_open(&h->allowance, &key->limits, saved, &t);
    vec_push(&ring->holders, h);
    (void)map_add(&ring->by_name, h->key.name, h);
    (void)map_add(&ring->by_hash, h->hex, h);
    return h;
}

static int
on_load(const struct key *key, const struct allowance_saved *saved, void *arg)
{
    struct key copy = key_copy(key);
    (void)add_holder(arg, &copy, saved);
    return 0;
}

static void free_ring(struct keyring *ring);
static void on_put(struct store_put *put, const struct err *error);
static void on_again(struct loop_timer *timer);
static void on_again_done(struct keyring_wish *wish, struct holder *holder, const char *token,
                          const struct err *error);

int
keyring_open(struct loop *loop, const char *path, struct keyring **ret_ring, struct err *reterr)
{
    struct store *store;
    int r = store_open(loop, path, &store, reterr);
    if (r < 0)
        return r;
    struct keyring *ring = mem_new(struct keyring);
    ring->loop = loop;
    ring->store = store;
    ring->put.done = on_put;
    ring->last = &ring->first;
    ring->again = (struct keyring_wish){.deed = KEYRING_CHANGE, .done = on_again_done};
    ring->again_timer.expired = on_again;
    ring->had_keys = database_had_keys(store_database(store));
    r = database_load(store_database(store), on_load, ring, reterr);
    if (r == 0) {
        *ret_ring = ring;
        return 0;
    }
    store_close(store);
    free_ring(ring);
    return r;
}

static void
on_closed(struct store_put *put unused_arg, const struct err *error unused_arg)
{
}

static void
close_holder(struct holder *h)
{
    const struct allowance_time t = now(h->ring);
    assert(!h->waiting.first && !h->owing.first && h->allowance.running == 0);
    if (h->allowance.is_ordered ||
        !h->allowance.active_us) /* it could not be written; or is as it was */
        return;
    h->debit.saved = allowance_close(&h->allowance, &t);
    h->debit.done = on_closed;
    store_put(h->ring->store, &h->debit);
}

static void
free_ring(struct keyring *ring)
{
    map_finish(&ring->by_hash);
    map_finish(&ring->by_name);
    vec_foreach (&ring->holders, at) {
        key_finish(&(*at)->key);
        free(*at);
    }
    vec_finish(&ring->holders);
    free(ring);
}

bool
keyring_flush(struct keyring *ring, uint64_t limit_us)
{
    uint64_t until_us = loop_now_us(ring->loop) + limit_us, now_us;
    ring->is_closing = true;
    loop_timer_stop(&ring->again_timer);
    if (!store_flush(ring->store, limit_us))
        return false;
    on_again(&ring->again_timer); /* once more */
    vec_foreach (&ring->holders, at)
        close_holder(*at);
    now_us = loop_now_us(ring->loop);
    return store_flush(ring->store, until_us > now_us ? until_us - now_us : 0);
}

const char *
keyring_unwritten(const struct keyring *ring, size_t i)
{
    vec_foreach (&ring->holders, at)
        if ((*at)->is_unwritten && i-- == 0)
            return (*at)->key.name;
    return NULL;
}

void
keyring_close(struct keyring *ring)
{
    store_close(ring->store);
    free_ring(ring);
}

bool
keyring_is_needed(const struct keyring *ring)
{
    return ring->had_keys;
}

const char *
keyring_set_aside(const struct keyring *ring)
{
    return database_set_aside(store_database(ring->store));
}

struct store *
keyring_store(struct keyring *ring)
{
    return ring->store;
}

/* ---- who it is ---- */

/* How long that takes tells of digests, which nobody chooses who does not know a token. */
static struct holder *
find_token(const struct keyring *ring, const char *token, size_t len)
{
    uint8_t hash[HASH_SHA256_BYTES];
    char hex[HASH_SHA256_HEX];
    if (len != KEY_TOKEN_LEN)
        return NULL;
    key_hash(token, len, hash);
    hash_sha256_hex(hash, hex);
    return map_get(&ring->by_hash, hex);
}

static int
refuse_unknown(const char *token, size_t len, struct err *reterr)
{
    const char *why = "the key is none of this gateway's, which begin with " KEY_TOKEN_START;
    if (key_is_token(token, len))
        why = "the key is not known here, or was replaced";
    else if (key_looks_like_token(token, len))
        why = "the key is not whole, or was typed wrong";
    return err_set(reterr, ERR_NO_KEY, "%s", why);
}

int
holder_check(const struct holder *holder, struct err *reterr)
{
    enum key_state state = key_state(&holder->key, loop_wall_us(holder->ring->loop));
    if (state == KEY_ACTIVE)
        return 0;
    return err_set(reterr, ERR_NO_KEY, "the key '%s' %s", holder->key.name,
                   state == KEY_EXPIRED ? "has expired" : "was revoked");
}

int
keyring_find(const struct keyring *ring, const char *token, size_t len, struct holder **ret_holder,
             struct err *reterr)
{
    struct holder *h = find_token(ring, token, len);
    if (!h)
        return refuse_unknown(token, len, reterr);
    int r = holder_check(h, reterr);
    if (r == 0)
        *ret_holder = h;
    return r;
}

const struct key *
holder_key(const struct holder *h)
{
    return &h->key;
}

bool
holder_level(struct holder *h, enum allowance_limit limit, struct allowance_level *ret_level)
{
    const struct allowance_time t = now(h->ring);
    if (h->key.limits.of[limit])
        *ret_level = allowance_level(&h->allowance, limit, &t);
    return h->key.limits.of[limit];
}

struct allowance_estimate
holder_estimated(const struct holder *h, uint64_t tokens)
{
    return allowance_estimated(&h->allowance, tokens);
}

void
holder_correct(struct holder *h, const struct allowance_estimate *estimate, uint64_t tokens)
{
    const struct allowance_time t = now(h->ring);
    allowance_correct(&h->allowance, estimate, tokens, &t);
    write_order(h, &t);
}

bool
holder_background_begin(struct holder *h)
{
    return allowance_background_begin(&h->allowance);
}

void
holder_background_end(struct holder *h)
{
    allowance_background_end(&h->allowance);
}

/* ---- changes ---- */

static int
begin_new(struct keyring *ring, const struct keyring_wish *wish, struct err *reterr)
{
    struct holder *there = map_get(&ring->by_name, wish->name);
    size_t count = ring->holders.count;
    int r = key_check_name(wish->name, reterr);
    if (r < 0)
        return r;
    if (there) {
        r = err_set(reterr, ERR_KEY_THERE, "there is a key '%s', which is %s", wish->name,
                    key_state_word(key_state(&there->key, loop_wall_us(ring->loop))));
        err_fix(reterr, "another name; or citadel keys rotate %s", wish->name);
        return r;
    }
    if (count >= KEYRING_KEYS_MAX)
        return err_set(reterr, ERR_TOO_LARGE, "there are %d keys, and may be no more",
                       KEYRING_KEYS_MAX);
    ring->next = (struct key){.id = count ? ring->holders.items[count - 1]->key.id + 1 : 1,
                              .created_us = loop_wall_us(ring->loop)};
    memcpy(ring->next.name, wish->name, strlen(wish->name) + 1);
    return 0;
}

static const char *
name_at(size_t i, const void *arg)
{
    const struct keyring *ring = arg;
    return i < ring->holders.count ? ring->holders.items[i]->key.name : NULL;
}

/* At once: one that leaked is not good for as long as a disk is full, or hangs. */
static void
revoke(struct holder *h)
{
    struct keyring *ring = h->ring;
    if (!h->key.revoked_us)
        h->key.revoked_us = loop_wall_us(ring->loop);
    h->is_unwritten = true;
    ring->is_overtaken |= ring->is_putting && ring->next.id == h->key.id;
}

static int
begin_known(struct keyring *ring, const struct keyring_wish *wish, struct err *reterr)
{
    struct holder *h = map_get(&ring->by_name, wish->name);
    if (!h) {
        int r = err_set(reterr, ERR_KEY_NONE, "there is no key '%s'", wish->name);
        err_fix_nearest(reterr, wish->name, name_at, ring, "citadel keys list");
        return r;
    }
    if (wish->deed == KEYRING_REVOKE)
        revoke(h);
    ring->next = key_copy(&h->key);
    if (wish->deed != KEYRING_ROTATE)
        return 0;
    ring->next.revoked_us = 0; /* whoever asks for a new token wants one that is good */
    if (key_state(&ring->next, loop_wall_us(ring->loop)) == KEY_ACTIVE)
        return 0;
    int r = err_set(reterr, ERR_VALUE, "the key '%s' has expired: another token would be no good",
                    wish->name);
    err_fix(reterr, "citadel keys limits %s --expires-in 30d, and the same again", wish->name);
    return r;
}

static int
begin_wish(struct keyring *ring, const struct keyring_wish *wish, struct err *reterr)
{
    bool draws = wish->deed == KEYRING_CREATE || wish->deed == KEYRING_ROTATE;
    int r = wish->deed == KEYRING_CREATE ? begin_new(ring, wish, reterr)
                                         : begin_known(ring, wish, reterr);
    if (r == 0 && wish->members)
        r = key_change(&ring->next, wish->members, reterr);
    if (r == 0 && draws && (r = key_draw_token(&ring->next, ring->token)) < 0)
        r = err_set_errno(reterr, -r, "random bytes");
    return r;
}

static int
begin(struct keyring *ring, struct keyring_wish *wish, struct err *reterr)
{
    ring->token[0] = '\0';
    int r = begin_wish(ring, wish, reterr);
    if (r < 0) {
        key_finish(&ring->next);
        return r;
    }
    ring->is_putting = true;
    ring->is_overtaken = false;
    ring->wish = wish;
    ring->deed = wish->deed;
    ring->put.id = ring->next.id;
    ring->put.key = &ring->next;
    store_put(ring->store, &ring->put);
    return 0;
}

static int
wait_in_line(struct keyring *ring, struct keyring_wish *wish, struct err *reterr)
{
    if (ring->waiting == KEYRING_WISHES_MAX) {
        int r = err_set(reterr, ERR_KEYS_BUSY, "%d changes of keys wait for one another",
                        KEYRING_WISHES_MAX);
        err_fix(reterr, "the same once more");
        return r;
    }
    wish->next = NULL;
    *ring->last = wish;
    ring->last = &wish->next;
    ring->waiting++;
    return 0;
}

static bool
leave_line(struct keyring *ring, struct keyring_wish *wish)
{
    struct keyring_wish **at = &ring->first;
    while (*at && *at != wish)
        at = &(*at)->next;
    if (!*at)
        return false;
    *at = wish->next;
    if (!*at)
        ring->last = at;
    ring->waiting--;
    return true;
}

static void
tell(struct keyring_wish *wish, struct holder *h, const char *token, const struct err *error)
{
    loop_timer_stop(&wish->patience);
    wish->done(wish, h, token, error);
}

static void
begin_next(struct keyring *ring)
{
    while (!ring->is_putting && ring->first) {
        struct keyring_wish *wish = ring->first;
        struct err err;
        (void)leave_line(ring, wish);
        if (begin(ring, wish, &err) < 0)
            tell(wish, NULL, NULL, &err);
    }
}

/* Those that are revoked, and of which that is not durable yet. */
static void
try_again_later(struct keyring *ring)
{
    if (!ring->is_closing)
        loop_timer_start(ring->loop, &ring->again_timer, AGAIN_US, 0);
}

/* False: it is under way, and told to nobody any more. */
static bool
take_back(struct keyring_wish *wish)
{
    struct keyring *ring = wish->ring;
    loop_timer_stop(&wish->patience);
    if (wish->deed == KEYRING_REVOKE)
        try_again_later(ring);
    if (leave_line(ring, wish))
        return true;
    assert(ring->wish == wish);
    ring->wish = NULL;
    if (wish->deed == KEYRING_REVOKE || !store_forget(ring->store, &ring->put))
        return false;
    ring->is_putting = false;
    explicit_bzero(ring->token, sizeof(ring->token));
    key_finish(&ring->next);
    begin_next(ring);
    return true;
}

void
keyring_forget(struct keyring_wish *wish)
{
    (void)take_back(wish);
}

/* Before whoever asks has lost patience. */
static void
on_wish_late(struct loop_timer *timer)
{
    struct keyring_wish *wish = container_of(timer, struct keyring_wish, patience);
    struct keyring *ring = wish->ring;
    bool is_revoke = wish->deed == KEYRING_REVOKE;
    struct holder *h = is_revoke ? map_get(&ring->by_name, wish->name) : NULL;
    bool draws = wish->deed == KEYRING_CREATE || wish->deed == KEYRING_ROTATE;
    bool is_undone = take_back(wish);
    struct err late;
    (void)err_set(&late, ERR_KEYS_UNWRITTEN,
                  "the database has not taken it after %u s: its disk hangs%s",
                  (unsigned)(KEYRING_WISH_US / SECOND_US),
                  is_undone || is_revoke ? ""
                  : draws                ? "; should it be yet, the key is revoked"
                                         : "; it may be yet");
    err_fix(&late, "citadel keys list shows what became of it, once the disk answers");
    wish->done(wish, h, NULL, &late);
}

int
keyring_do(struct keyring *ring, struct keyring_wish *wish, struct err *reterr)
{
    struct holder *h = wish->deed == KEYRING_REVOKE ? map_get(&ring->by_name, wish->name) : NULL;
    if (h)
        revoke(h);
    wish->ring = ring;
    wish->patience = (struct loop_timer){.expired = on_wish_late};
    int r = ring->is_putting ? wait_in_line(ring, wish, reterr) : begin(ring, wish, reterr);
    if (r == 0)
        loop_timer_start(ring->loop, &wish->patience, KEYRING_WISH_US, 0);
    else if (h)
        try_again_later(ring);
    return r;
}

void
keyring_tell_of_unheard(struct keyring *ring, void (*unheard)(struct holder *holder, void *arg),
                        void *arg)
{
    ring->tell = unheard;
    ring->tell_arg = arg;
}

static void
find_anew(struct keyring *ring)
{
    map_finish(&ring->by_hash);
    vec_foreach (&ring->holders, at) {
        hash_sha256_hex((*at)->key.hash, (*at)->hex);
        (void)map_add(&ring->by_hash, (*at)->hex, *at);
    }
}

/* What is durable now holds. */
static struct holder *
take_up(struct keyring *ring)
{
    const struct allowance_saved none = {0};
    struct holder *h = map_get(&ring->by_name, ring->next.name);
    ring->had_keys = true;
    if (!h)
        return add_holder(ring, &ring->next, &none);
    key_finish(&h->key);
    h->key = ring->next;
    h->allowance.limits = ring->next.limits;
    find_anew(ring);
    return h;
}

void
holder_unheard(struct holder *h)
{
    struct keyring *ring = h->ring;
    revoke(h);
    if (ring->tell)
        ring->tell(h, ring->tell_arg);
    on_again(&ring->again_timer);
}

static void
on_put(struct store_put *put, const struct err *error)
{
    struct keyring *ring = container_of(put, struct keyring, put);
    struct keyring_wish *wish = take_ptr(ring->wish);
    bool is_revoke = ring->deed == KEYRING_REVOKE;
    struct holder *h = is_revoke ? map_get(&ring->by_name, ring->next.name) : NULL;
    key_token token;
    memcpy(token, ring->token, sizeof(token));
    explicit_bzero(ring->token, sizeof(ring->token));
    ring->is_putting = false;
    if (error) {
        key_finish(&ring->next);
    } else {
        h = take_up(ring);
        h->is_unwritten = false;
    }
    ring->next.models = NULL;
    if (error && is_revoke)
        try_again_later(ring);
    if (!error && ring->is_overtaken && !is_revoke) {
        revoke(h);
        try_again_later(ring);
    }
    if (wish)
        tell(wish, h, token[0] && !error ? token : NULL, error);
    else if (token[0] && !error)
        holder_unheard(h);
    explicit_bzero(token, sizeof(token));
    begin_next(ring);
}

/* ---- what is not durable yet ---- */

static void
on_again(struct loop_timer *timer)
{
    struct keyring *ring = container_of(timer, struct keyring, again_timer);
    if (ring->again.name)
        return;
    vec_foreach (&ring->holders, at) {
        if (!(*at)->is_unwritten)
            continue;
        ring->again.name = (*at)->key.name;
        if (keyring_do(ring, &ring->again, NULL) < 0) {
            ring->again.name = NULL;
            loop_timer_start(ring->loop, timer, AGAIN_US, 0);
        }
        return;
    }
}

/* One after the other, as long as the disk takes them. */
static void
on_again_done(struct keyring_wish *wish, struct holder *holder unused_arg,
              const char *token unused_arg, const struct err *error)
{
    struct keyring *ring = container_of(wish, struct keyring, again);
    wish->name = NULL;
    if (error)
        try_again_later(ring);
    else
        on_again(&ring->again_timer);
}

/* ---- what is told ---- */

static void
print_holder(struct holder *h, const char *name, struct json_writer *w)
{
    struct allowance_level level;
    json_open_map(w, name);
    key_print(&h->key, loop_wall_us(h->ring->loop), w);
    json_open_map(w, "left");
    for (unsigned i = 0; i < ALLOWANCE_LIMITS; i++)
        if (holder_level(h, (enum allowance_limit)i, &level))
            json_u64(w, allowance_limit_rows[i].member, level.left);
    json_close_map(w);
    json_close_map(w);
}

void
keyring_print(struct keyring *ring, struct json_writer *w)
{
    json_open_list(w, NULL);
    vec_foreach (&ring->holders, at)
        print_holder(*at, NULL, w);
    json_close_list(w);
}

void
keyring_print_deed(struct holder *holder, const char *token, struct json_writer *w)
{
    json_open_map(w, NULL);
    print_holder(holder, "key", w);
    json_str(w, "token", token);
    json_close_map(w);
}

const char *
keyring_deed_word(enum keyring_deed deed)
{
    static const char *const words[] = {"created", "changed", "given another token", "revoked"};
    return words[deed];
}
