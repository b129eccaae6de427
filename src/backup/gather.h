#pragma once

/* What is no directory of its own becomes one, for a backup: files from several places, each below the path
 * that it has on this machine, texts, and what programs say. It is private, is there once, and goes with
 * who has made it; what a crash has left, the next one clears. How much may be in it is bounded.
 *
 * Without a directory nothing is copied: it only looks, so that two such say by their digests whether
 * anything has changed in between. */

#include "base/err.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/vec.h"

struct gather {
    const char *secrets_because; /* why secrets are left out; NULL: they are taken, too */
    VEC(char *) left_out;        /* for that reason: paths */

    /* the rest is its own */
    char *dir; /* NULL: it only looks */
    int lock;
    uint64_t bytes, bytes_max;
    struct hash_sha256 seen;
    bool is_fresh;
};

/* REPOSITORY_BUSY. After an error it is to be ended likewise. */
int gather_begin(struct gather *g, const char *dir, uint64_t bytes_max, struct err *reterr)
    must_check;
void gather_end(struct gather *g);
#define _cleanup_gather_ _cleanup_(gather_end)

/* A file, a link or a directory with all below it, as it is: nothing where there is none, or it was
 * gathered already. A secret is
 * what the caller says to be one, and what not everybody may read. */
enum gather_kind { GATHER_OPEN, GATHER_OURS, GATHER_SECRET }; /* OURS: closed, but no secret */
int gather_path(struct gather *g, const char *path, enum gather_kind kind, struct err *reterr)
    must_check;

/* A text below a name, which is relative. */
int gather_text(struct gather *g, const char *name, const void *bytes, size_t len, mode_t mode,
                struct err *reterr) must_check;
/* What somebody else writes there: the path, on the heap, with the directories above it. NULL: it only
 * looks. */
int gather_place(struct gather *g, const char *name, char **ret_path, struct err *reterr)
    must_check;
void gather_look(struct gather *g, const char *path); /* at what that is made of */
bool gather_takes_secret(struct gather *g, const char *path);

/* What was looked at: paths, sizes, owners and times. "": something of it is so new that its times do
 * not tell whether it changes again. */
void gather_digest(const struct gather *g, char ret_text[HASH_SHA256_HEX]);
