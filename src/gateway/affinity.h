#pragma once

/* Which of a model's replicas has seen the beginning of a request before, and so has its keys and
 * values in memory: a bounded table, that forgets what was not asked for longest.
 *
 * A request is a row of marks. The mark of a place in its prompt is a hash of all bytes before that
 * place, so two prompts share the marks of the beginning that they share. Places lie 256 bytes
 * apart at first (about 64 tokens, of which engines make blocks), and from 4 KiB on each is an
 * eighth further than the one before: however long a prompt is, it has less than a hundred marks,
 * and how much of it was seen is known to an eighth. A name, as of a talk, is one mark.
 *
 * The table says where something was sent, not what an engine still has: it is advice. Who chooses
 * weighs it against load (target.h). Hashes are keyed, and of 64 bits: who makes two collide on
 * purpose has to know the key, and would win nothing but a slower answer. */

#include "base/util.h"

#define AFFINITY_REPLICAS_MAX 64 /* of one model; others are not remembered */
#define AFFINITY_MARKS_MAX 112
#define AFFINITY_BLOCK 256
#define AFFINITY_DENSE_MAX 4096 /* up to here, each block has a mark */

struct affinity;

struct affinity_marks {
    uint64_t scope; /* that of another model never matches */
    uint64_t state; /* of the prompt so far */
    size_t count;
    uint64_t items[AFFINITY_MARKS_MAX]; /* the last one that a replica has counts */
};

/* places: how many marks it remembers; rounded up to a power of two. */
struct affinity *affinity_new(size_t places) must_check;
void affinity_free(struct affinity *a);

void affinity_begin(const struct affinity *a, struct affinity_marks *marks, const char *model);
/* The next part of the prompt. */
void affinity_add_prompt(struct affinity_marks *marks, const char *bytes, size_t len);
/* A name that a talk or a user has. It counts more than what was added
 * before, less than what comes. */
void affinity_add_name(struct affinity_marks *marks, const char *name, size_t len);

/* How much of it each replica has seen: 0 nothing, else the place of the last mark that it has. */
void affinity_find(const struct affinity *a, const struct affinity_marks *marks,
                   uint32_t ret_seen[AFFINITY_REPLICAS_MAX]);
/* It goes to that replica. */
void affinity_note(struct affinity *a, const struct affinity_marks *marks, size_t replica);
