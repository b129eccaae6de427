#pragma once

/* A key: who may use which models, how much and until when.
 *
 * Its token is what a client shows. It is told once, to whoever makes the key; what is kept is its
 * SHA-256, which is enough for 256 random bits:
 *
 *     ctdl_ 64 hexadecimal digits, 8 more of a checksum
 *
 * by which a scanner finds one that was published, and a person learns that one was typed wrong. */

#include "base/hash.h"
#include "base/text.h"
#include "gateway/allowance.h"

struct json_writer;
struct value;

#define KEY_TOKEN_START "ctdl_"
#define KEY_TOKEN_LEN (sizeof(KEY_TOKEN_START) - 1 + 64 + 8)
typedef char key_token[KEY_TOKEN_LEN + 1];

#define KEY_HINT_LEN (sizeof(KEY_TOKEN_START) - 1 + 6)
#define KEY_MODELS_BYTES_MAX (16 * KIB)

struct key {
    uint64_t id; /* from 1 */
    char name[TEXT_NAME_MAX + 1];
    uint8_t hash[HASH_SHA256_BYTES];
    char hint[KEY_HINT_LEN + 1]; /* how its token begins */
    char *models;                /* names, each with '\n' behind it; NULL: all models */
    struct allowance_limits limits;
    bool has_priority;   /* may go before others, when it asks to */
    uint64_t created_us; /* since 1970, as the next two */
    uint64_t expires_us; /* 0: never */
    uint64_t revoked_us; /* 0: it is not */
};

int key_check_name(const char *name, struct err *reterr) must_check;
void key_finish(struct key *key);
struct key key_copy(const struct key *key);

enum key_state { KEY_ACTIVE, KEY_EXPIRED, KEY_REVOKED };
enum key_state key_state(const struct key *key, uint64_t wall_us);
const char *key_state_word(enum key_state state);

/* ---- tokens ---- */

/* Another token: told, and its digest and hint put into the key. -errno: the
 * system has no random bytes. */
int key_draw_token(struct key *key, key_token ret_token) must_check;
/* A well-formed one, whether or not a key has it. */
bool key_is_token(const char *text, size_t len);
/* Begins like one. */
bool key_looks_like_token(const char *text, size_t len);
void key_hash(const char *token, size_t len, uint8_t ret_hash[HASH_SHA256_BYTES]);

/* Whether it may ask for a model under that name. */
bool key_allows(const struct key *key, const char *model);

/* ---- what is changed of one ---- */

/* {"models": [...] or null, "expires_us": N or null, "priority": true or false, and the members
 * of limit.def: N or null}: what is there is set, null takes away. */
int key_change(struct key *key, const struct value *change, struct err *reterr) must_check;

void key_print(const struct key *key, uint64_t wall_us, struct json_writer *w); /* its members */
