#pragma once

/* What another server is asked with, as it is in files: the key that it is shown, and whom it is
 * trusted by. Their disk may hang: where others wait they are read by a work, and taken up on the
 * loop. */

#include "base/err.h"
#include "base/hash.h"
#include "base/secret.h"

struct config;
struct config_secret;
struct tls_context;

/* Zeroed: a server that is asked without. */
struct papers {
    struct secret key;                      /* may be unset */
    struct tls_context *tls;                /* NULL: it is asked without, or it was taken */
    char authorities_hash[HASH_SHA256_HEX]; /* of their file; "": they are the system's */
};

/* Of which server. */
struct papers_wish {
    const char *option, *url; /* who has it, for the sentence */
    const char *authorities;  /* file; NULL: those of the system */
    const struct config_secret *key;
};

int papers_read(const struct config *config, const struct papers_wish *wish, struct papers *ret,
                struct err *reterr) must_check;
void papers_finish(struct papers *papers);

/* Of the peers of a configuration, by their places there. */
int papers_read_peers(const struct config *config, struct papers **ret_papers, struct err *reterr)
    must_check;
void papers_free_peers(const struct config *config, struct papers *papers); /* NULL is none */
