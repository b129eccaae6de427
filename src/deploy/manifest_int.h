#pragma once

/* manifest.json of a generation:
 *
 *   {"made_us": 1, "by": "root", "why": "citadel apply", "after": 6,
 *    "files": {"config.yaml": "0123...", "units/citadel-phi3.service": "4567..."}} */

#include "deploy/generation.h"

#define MANIFEST_NAME "manifest.json"
#define MANIFEST_MAX (1 * MIB)
#define MANIFEST_LINE_MAX 255 /* bytes of `by` and `why` */

struct manifest_file {
    const char *name;
    char digest[HASH_SHA256_HEX];
};

struct manifest {
    uint64_t made_us;
    const char *by, *why;
    unsigned after;
    struct manifest_file *files;
    size_t count;
};

/* A name that may be in a generation: one or two parts, neither hidden nor leading out. */
bool manifest_takes_name(const char *name);
void manifest_digest(const void *bytes, size_t len, char ret_digest[HASH_SHA256_HEX]);

void manifest_print(const struct manifest *m, struct buf *out);
/* Everything of it lives in the arena. */
int manifest_parse(const char *text, size_t len, struct arena *arena, struct manifest *ret_manifest,
                   struct err *reterr) must_check;
