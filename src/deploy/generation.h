#pragma once

/* Generations: every deployment is a directory that never changes once it is there.
 *
 *     STORE/generations/7/manifest.json     who made it, when and why, and the SHA-256 of all others
 *     STORE/generations/7/config.yaml ...   what it was given
 *     STORE/current -> generations/7        what the machine runs
 *     STORE/stable  -> generations/6        the last in which all was well
 *
 * One comes to be by the rename of its directory, and goes live by the rename of a link. So whoever
 * looks sees whole ones, and so it is after a crash. Anybody may read; who writes does so alone. */

#include "base/buf.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/mem.h"

#define GENERATION_FILES_MAX 2000 /* of one */
#define GENERATION_FILE_MAX (4 * MIB)
#define GENERATIONS_MAX 10000 /* that are looked at */

struct generation_file {
    const char *name; /* "config.yaml", or "units/citadel-phi3.service"; no deeper */
    const char *bytes;
    size_t len;
};

struct generation_wish {
    const char *by; /* who, and why: a line each */
    const char *why;
    const struct generation_file *files;
    size_t count;
};

struct generation {
    unsigned number;  /* from 1 on */
    uint64_t made_us; /* since 1970 */
    const char *by, *why;
    unsigned after;     /* what was current then; 0: nothing */
    const char *damage; /* why its manifest cannot be read; NULL: it can, and the rest is known */
    bool current, stable;
};

/* Only adds it: nothing uses it yet. After an error, or a crash, it is not there. */
int generation_add(const char *store, const struct generation_wish *wish, unsigned *ret_number,
                   struct err *reterr) must_check;

enum generation_link { GENERATION_CURRENT, GENERATION_STABLE, GENERATION_LINKS };

/* Which one it is; 0: none. A link that leads elsewhere is an error. */
int generation_of(const char *store, enum generation_link link, unsigned *ret_number,
                  struct err *reterr) must_check;
/* Likewise, but 0, and *ret_astray, for a link that leads to no generation. */
int generation_or_none(const char *store, enum generation_link link, unsigned *ret_number,
                       bool *ret_astray, struct err *reterr) must_check;
/* 0: the link goes. */
int generation_set(const char *store, enum generation_link link, unsigned number,
                   struct err *reterr) must_check;

/* Oldest first. */
int generation_list(const char *store, struct arena *arena, struct generation **ret_items,
                    size_t *ret_count, struct err *reterr) must_check;

/* A file of one, as it was given; ERR_GENERATION_DAMAGED when somebody has changed it since. */
int generation_read(const char *store, unsigned number, const char *name, struct buf *out,
                    struct err *reterr) must_check;

enum generation_change { GENERATION_CHANGED, GENERATION_MISSING, GENERATION_ADDED };

struct generation_damage {
    enum generation_change change;
    const char *name;
};

/* All of them, by name; bytes end with '\0' beside. What somebody has changed since is an error, or
 * left out. */
enum generation_part { GENERATION_WHOLE, GENERATION_WHAT_IS_WHOLE };
int generation_load(const char *store, unsigned number, enum generation_part part,
                    struct arena *arena, struct generation_file **ret_files, size_t *ret_count,
                    struct err *reterr) must_check;

/* SHA-256 of its manifest, which has that of each of its files; of nothing where that cannot be
 * read. */
void generation_digest(const char *store, unsigned number, char ret_digest[HASH_SHA256_HEX]);

/* What differs from what it was given: nothing, if all is well. */
int generation_check(const char *store, unsigned number, struct arena *arena,
                     struct generation_damage **ret_items, size_t *ret_count, struct err *reterr)
    must_check;

/* Removes the oldest beyond `keep`, never those that a link names. */
int generation_prune(const char *store, unsigned keep, unsigned *ret_removed, struct err *reterr)
    must_check;
