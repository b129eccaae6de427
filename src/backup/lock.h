#pragma once

/* Locks: who is at work in a repository. They keep nobody out but a second pruning: they tell
 * those who remove packs for whom to wait. A lock is an object, in JSON; as long as its owner
 * lives, its time of change is made now every minute. Ages are told by the clock of who keeps
 * the files, as the difference between two of them, so that no host's own clock matters. One of
 * a process of this machine that has ended is dead at once; any other after LOCK_EXPIRES_US
 * without a sign of life. */

#include "backup/repository.h"
#include "base/vec.h"
#include "sys/loop.h"

#define LOCK_BEAT_US UINT64_C(60000000)
#define LOCK_EXPIRES_US UINT64_C(1800000000)
#define LOCKS_MAX 10000

enum lock_kind { LOCK_READS, LOCK_WRITES, LOCK_PRUNES, LOCK_UNLOCKS, LOCK_KINDS };

struct lock;

/* Before anything is looked at. The repository outlives it. One that only reads may do without,
 * where nothing can be written: then *ret is NULL, which all calls here take. */
int lock_take(struct loop *loop, struct repository *repository, enum lock_kind kind,
              const char *what, struct lock **ret, struct err *reterr) must_check;
/* LOCK_LOST: somebody has removed it, and may have removed more since. Any thread may ask. */
int lock_check(const struct lock *lock, struct err *reterr) must_check;
void lock_release(struct lock *lock);

struct lock_seen {
    uint8_t name[HASH_SHA256_BYTES];
    enum lock_kind kind;
    char host[256], what[256];
    uint64_t pid;
    uint64_t silent_us; /* since it gave a sign of life */
    bool is_ours, is_dead;
};

struct locks {
    VEC(struct lock_seen) items;
    uint64_t now_us; /* by the clock of who keeps the files */
};

/* All there are, by who holds one. */
int locks_read(struct repository *repository, const struct lock *ours, struct locks *ret,
               struct err *reterr) must_check;
void locks_finish(struct locks *l);
#define _cleanup_locks_ _cleanup_(locks_finish)
int lock_remove(struct repository *repository, const struct lock_seen *lock, struct err *reterr)
    must_check;
