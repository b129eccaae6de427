#pragma once

/* Encryption of a repository, by libsodium: keys, and objects under them (docs/backup-format.md,
 * "Encryption").
 *
 * All follows from one root of 32 bytes of chance, which lies in the repository under any number
 * of locks, each a passphrase or a recovery key. From it come a pair of keys, of which the
 * public one seals and the private one reads; and a key to write, which makes sealed objects
 * ours, and names blocks. Who has only the public one and that to write can add, and read
 * nothing but the index: so a host that was broken into cannot read what it has backed up.
 *
 * Each object has a key of its own, made of chance: no nonce is there twice, whoever writes at
 * the same time. Keys are wiped from memory when they end. */

#include "backup/flow.h"
#include "base/hash.h"
#include "base/secret.h"

/* ---- keys ---- */

struct seal_keys;

int seal_keys_make(struct seal_keys **ret, struct err *reterr) must_check; /* of a new repository */
void seal_keys_free(struct seal_keys *k);
void seal_keys_freep(struct seal_keys **k);
#define _cleanup_seal_keys_ _cleanup_(seal_keys_freep)

bool seal_keys_can_read(const struct seal_keys *k);
void seal_keys_forget_reading(struct seal_keys *k); /* from here on it only adds */

/* The name of a block by the SHA-256 of its bytes: who has no key cannot tell which known files are there. */
void seal_name(const struct seal_keys *k, const uint8_t sha256[HASH_SHA256_BYTES],
               uint8_t ret_name[HASH_SHA256_BYTES]);

/* ---- locks ---- */

/* "citadel-" and 14 groups of 4 letters, with a check: to be shown once and written down, or to lie in a key
 * file. Blanks, dashes and small letters do not matter when it is read. */
int seal_recovery_make(struct secret *ret, struct err *reterr) must_check;

#define SEAL_LABEL_MAX 32

/* What guessing a passphrase costs: passes over so much memory. */
struct seal_cost {
    uint32_t passes;
    uint64_t bytes;
};
#define SEAL_COST ((struct seal_cost){3, 256 * MIB})
#define SEAL_COST_MAX ((struct seal_cost){16, GIB}) /* of a stranger's */

struct seal_lock {
    char label[SEAL_LABEL_MAX]; /* for people, in clear */
    bool is_passphrase;         /* else a recovery key */
    bool only_adds;
    struct seal_cost cost; /* of a passphrase */
};

/* A file of the repository that holds the keys under a lock. What begins with "citadel-" is a recovery key,
 * anything else a passphrase: lock->is_passphrase is set by it. SEAL_MISTYPED, SEAL_ONLY_ADDS. */
#define SEAL_KEY_BYTES 188
struct seal_key_file {
    uint8_t bytes[SEAL_KEY_BYTES];
};
int seal_keys_lock(const struct seal_keys *k, struct seal_lock *lock, const struct secret *with,
                   uint8_t ret_file[SEAL_KEY_BYTES], struct err *reterr) must_check;

/* What stands on it. SEAL_DAMAGED. */
int seal_lock_read(const uint8_t *file, size_t len, struct seal_lock *ret, struct err *reterr)
    must_check;

/* SEAL_WRONG_KEY: it is whole, and locked with something else; SEAL_DAMAGED: it is not whole. */
int seal_keys_unlock(const uint8_t *file, size_t len, const struct secret *with,
                     struct seal_keys **ret, struct err *reterr) must_check;

/* ---- objects ---- */

enum seal_for {
    SEAL_FOR_READERS = 1,
    SEAL_FOR_ALL = 2, /* those who only add, too: the index */
};

/* In pieces of any size; some 128 KiB of memory. */
struct seal_writer;
int seal_begin(const struct seal_keys *k, enum seal_for whom, const struct flow_sink *sink,
               struct seal_writer **ret, struct err *reterr) must_check;
int seal_write(struct seal_writer *w, const void *bytes, size_t len, struct err *reterr) must_check;
int seal_finish(struct seal_writer *w, struct err *reterr) must_check; /* nothing comes after it */
void seal_writer_free(struct seal_writer *w);

uint64_t seal_sealed_bytes(uint64_t bytes); /* what so many become */

/* From anywhere in it; nothing is given out that was not checked. The keys outlive it. SEAL_DAMAGED,
 * SEAL_ONLY_ADDS, SEAL_WRONG_KEY: sealed for another repository. */
struct seal_reader;
int seal_open(const struct seal_keys *k, const struct flow_source *source, struct seal_reader **ret,
              struct err *reterr) must_check;
/* One that breaks off: its whole pieces, but for the last that there may be. */
int seal_open_draft(const struct seal_keys *k, const struct flow_source *source,
                    struct seal_reader **ret, struct err *reterr) must_check;
uint64_t seal_bytes(const struct seal_reader *r);
int seal_read(struct seal_reader *r, uint64_t at, void *ret_bytes, size_t len, struct err *reterr)
    must_check;
void seal_reader_free(struct seal_reader *r);
