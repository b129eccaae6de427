#pragma once

/* All keys, as the gateway goes by them: in memory, with what each may still use, before the
 * database that makes both last. A change takes effect when it is durable, for whatever comes from
 * then on; what an engine has already, runs on. Only that a key is revoked holds at once, whatever
 * the disk does, and is tried until it is durable. A token that nobody was told is good for
 * nothing: its key is revoked. Keys are never removed: a holder is there as long as the keyring. */

#include "gateway/store.h"

struct holder; /* a key, and its allowance */
struct json_writer;
struct keyring;
struct value;

#define KEYRING_KEYS_MAX 10000
/* So long a claim waits for a debit: a disk that takes longer hangs, or
 * is not worth waiting for. */
#define KEYRING_DEBIT_US UINT64_C(3000000)

int keyring_open(struct loop *loop, const char *path, struct keyring **ret_ring, struct err *reterr)
    must_check;
/* The end. No claim is left, and the loop does not run: what each key has used is written, so that
 * nothing of it is forfeited; or cannot be, as keyring_store() has it. False: the disk hangs
 * (store_flush()); the process can only end. */
bool keyring_flush(struct keyring *ring, uint64_t limit_us) must_check;
/* The i-th key that is revoked, which is not written; NULL behind the last. */
const char *keyring_unwritten(const struct keyring *ring, size_t i);
void keyring_close(struct keyring *ring); /* flushed */

/* Once a key was made, nobody is let in without one, even if all of them were lost. */
bool keyring_is_needed(const struct keyring *ring);
const char *keyring_set_aside(const struct keyring *ring); /* database_set_aside() */
struct store *keyring_store(struct keyring *ring);

/* Of a token that a client shows. NO_KEY: no key that is good has it. */
int keyring_find(const struct keyring *ring, const char *token, size_t len,
                 struct holder **ret_holder, struct err *reterr) must_check;

const struct key *holder_key(const struct holder *holder);
int holder_check(const struct holder *holder, struct err *reterr) must_check; /* NO_KEY: not good */
/* False: it has no such limit. */
bool holder_level(struct holder *holder, enum allowance_limit limit,
                  struct allowance_level *ret_level);

/* ---- claims ---- */

struct claim;
struct claim_list;

/* Of the first two one is told after each of claim_begin() and claim_tokens(), perhaps from
 * inside. */
struct claim_ops {
    void (*granted)(struct claim *claim);
    /* And it may be ended then. retry_after_s: 0: nobody can say, or never. */
    void (*refused)(struct claim *claim, const struct err *error, uint64_t retry_after_s);
    /* After claim_grow(): what it has taken is debited, or cannot be. */
    void (*paid)(struct claim *claim);
};

enum claim_state {
    CLAIM_NONE,
    CLAIM_BEGINS, /* waits for a debit */
    CLAIM_HELD,   /* its request is one of those that run */
    CLAIM_ASKS,   /* likewise, and waits for a debit of its tokens */
    CLAIM_OWES,   /* likewise, for what it has taken */
};

/* Within the caller's request, zeroed. */
struct claim {
    const struct claim_ops *ops;
    struct holder *holder; /* NULL: the request has no key, and may take what it likes */
    uint64_t tokens;
    bool takes;
    enum claim_state state;
    struct allowance_claim own;
    struct claim_list *list; /* of those that wait, or owe; NULL: none */
    struct claim *next, *previous;
    uint64_t debit; /* that pays for it */
};
/* A request begins; takes: it will claim tokens. Then which; and anew, all of them, before it goes
 * where it may take more. Refused that, it has what it had. */
void claim_begin(struct claim *claim, struct holder *holder, bool takes);
void claim_tokens(struct claim *claim, uint64_t tokens);
bool claim_could(const struct claim *claim, uint64_t tokens); /* allowance_could_claim() */
/* It has taken so much so far, which may be more than it claimed. False: nothing more is to be
 * passed on before ops->paid(). */
bool claim_grow(struct claim *claim, uint64_t tokens) must_check;
bool claim_waits(const struct claim *claim); /* for a debit, neither granted nor refused so far */
bool claim_owes(const struct claim *claim);  /* that is not told yet */
/* What it took; it was a request, also where it was not let in yet. Then, and when it is ended
 * instead, nothing of it is left. */
void claim_settle(struct claim *claim, uint64_t tokens);
void claim_end(struct claim *claim);

/* So much of what was settled just now is an estimate; and what it was. */
struct allowance_estimate holder_estimated(const struct holder *holder, uint64_t tokens);
void holder_correct(struct holder *holder, const struct allowance_estimate *estimate,
                    uint64_t tokens);
/* As allowance_background_begin() has it. */
bool holder_background_begin(struct holder *holder) must_check;
void holder_background_end(struct holder *holder);

/* ---- changes ---- */

enum keyring_deed { KEYRING_CREATE, KEYRING_CHANGE, KEYRING_ROTATE, KEYRING_REVOKE };

#define KEYRING_WISHES_MAX 64
#define KEYRING_WISH_US UINT64_C(4000000) /* what takes longer has failed: the disk hangs */

/* Within the caller's struct, and there with its members until done(), or until it is forgotten.
 * One goes after the other, and so many may wait (KEYS_BUSY). */
struct keyring_wish {
    enum keyring_deed deed;
    const char *name;
    const struct value *members; /* as key_change() takes them; NULL: none */
    /* token: of a key that has got one; it is wiped behind this call. With an error there is a
     * holder only where it is revoked, and that is not durable yet. */
    void (*done)(struct keyring_wish *wish, struct holder *holder, const char *token,
                 const struct err *error);

    /* the rest is the keyring's own */
    struct keyring *ring;
    struct keyring_wish *next;
    struct loop_timer patience;
};
/* On success done() is told, later. */
int keyring_do(struct keyring *ring, struct keyring_wish *wish, struct err *reterr) must_check;
/* One that is not done: whoever wished it has left. It is not done if it had not begun; a key
 * is revoked all the same. */
void keyring_forget(struct keyring_wish *wish);
/* The token that it was given just now could not be told. */
void holder_unheard(struct holder *holder);
/* Who was given a token that nobody was told, and is revoked for it. */
void keyring_tell_of_unheard(struct keyring *ring, void (*tell)(struct holder *holder, void *arg),
                             void *arg);

const char *keyring_deed_word(enum keyring_deed deed); /* "created" */
/* What one has come to: {"key", "token"}; token NULL: null. */
void keyring_print_deed(struct holder *holder, const char *token, struct json_writer *w);

/* A list of all keys, with what is left of their limits. */
void keyring_print(struct keyring *ring, struct json_writer *w);
