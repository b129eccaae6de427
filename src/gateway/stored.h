#pragma once

/* Which server has made which response, so that GET /v1/responses/{id} and what else goes by an id
 * finds it: a bounded table of what answers told, that forgets what was not asked for longest, of
 * the key that has most. An id that is not there is unknown to clients as it is to us.
 *
 * An entry is found by a keyed hash of its id: of 64 bits, so that no
 * two are ever taken for one. */

#include "gateway/background.h"

#define STORED_MAX 16384
#define STORED_ID_MAX 128
#define STORED_SERVER_MAX 63 /* of its name */

struct stored;

struct stored_at {
    uint64_t key; /* whose it is: nobody else's */
    bool is_peer;
    char server[STORED_SERVER_MAX + 1];
    struct background *background; /* NULL: it was made when it was told of */
};

struct stored *stored_new(void) must_check;
void stored_free(struct stored *s);

/* What is another key's stays that. */
void stored_put(struct stored *s, const char *id, size_t len, const struct stored_at *at);
/* NULL: it is not known, or not that key's. */
const struct stored_at *stored_find(struct stored *s, const char *id, size_t len, uint64_t key);

/* It is there no more; where it is not that key's, nothing happens. */
void stored_forget(struct stored *s, const char *id, size_t len, uint64_t key);
/* It is made in the background, which goes with it; at once where it is not that key's. */
void stored_set_background(struct stored *s, const char *id, size_t len, uint64_t key,
                           struct background *background);

bool stored_is_anothers(const struct stored *s, const char *id, size_t len, uint64_t key);

/* Whether it can be one: letters, digits, '-' and '_'. */
bool stored_is_id(const char *id, size_t len);

/* The id of a response, found where its answer begins: the first member "id"
 * that begins with "resp". */
struct stored_reader {
    size_t seen; /* bytes */
    size_t matched;
    size_t len; /* of the id so far */
    char id[STORED_ID_MAX + 1];
};

/* Zeroed before the first bytes. True: the id is whole, and is told no more. */
bool stored_read(struct stored_reader *r, const char *bytes, size_t len);
