#pragma once

/* What keys and objects of seal.h share. */

#include "backup/seal.h"
#include "backup/sodium.h"

#define SEAL_SECRET_BYTES 32

/* Wiped when it leaves its scope. */
struct seal_secret {
    uint8_t bytes[SEAL_SECRET_BYTES];
};
void seal_secret_wipe(struct seal_secret *s);
#define _cleanup_seal_secret_ _cleanup_(seal_secret_wipe)

struct seal_keys {
    const struct sodium *sodium;
    bool can_read;
    struct seal_secret root;    /* where it can read */
    struct seal_secret private; /* likewise */
    uint8_t public[SEAL_SECRET_BYTES];
    struct seal_secret write, names;
};

/* BLAKE2b-256 of a text and more bytes, under a key. */
void seal_derive(const struct sodium *sodium, const struct seal_secret *key, const char *text,
                 const void *more, size_t len, struct seal_secret *ret);

/* Recovery keys as text: 1 if it is one, 0 if it does not say so, SEAL_MISTYPED. */
int seal_recovery_parse(const struct secret *text, struct seal_secret *ret, struct err *reterr)
    must_check;
void seal_recovery_print(const struct seal_secret *key, struct secret *ret);
