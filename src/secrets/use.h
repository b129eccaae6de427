#pragma once

/* Who uses which secret, and how a service comes by its own.
 *
 * A service finds its secrets as files of a directory that $CREDENTIALS_DIRECTORY names: made by systemd
 * from the lines of its unit, or by `citadel up` (secrets_hand()). A file is called like the option
 * ("hub.token") for {file:} and {env:}, and like the one in the store for {credential:}. So no value is
 * ever in an environment, a command line or a unit. What a person starts in a shell, as root, reads the
 * store itself. */

#include "base/err.h"
#include "secrets/store.h"

struct config;
struct config_secret;

enum {
    SECRET_FOR_MODELS = 1 << 0, /* those that may download */
    SECRET_FOR_GATEWAY = 1 << 1,
    SECRET_FOR_MONITOR = 1 << 2,
    SECRET_FOR_BACKUP = 1 << 3,
};

struct secret_use {
    const char *option; /* "hub.token" */
    const struct config_secret *secret;
    unsigned readers; /* of these bits; 0: nobody, as the configuration is */
};

/* Every secret that a configuration names, in the order of its options. Lives in the arena, and points
 * into the configuration. -ENOMEM when the arena is full. */
int secret_uses(const struct config *config, struct arena *arena, struct secret_use **ret_uses,
                size_t *ret_count) must_check;

/* Those of some readers alone; returns how many. */
size_t secret_uses_of(struct secret_use *uses, size_t count, unsigned readers);

/* The value: from the directory of this service, else from where it is kept. ERR_SECRET_NONE: it is not
 * there. An option that was not given leaves the value unset. */
int secret_fetch(const struct secret_use *use, struct secret *ret_value, struct err *reterr)
    must_check;

/* The value of one option; likewise. */
int secret_fetch_of(const struct config *config, const struct config_secret *secret,
                    struct secret *ret_value, struct err *reterr) must_check;

/* The file of this service that has it, for a program that reads it itself; NULL: none has. */
const char *secret_fetch_path(const struct secret_use *use, struct arena *arena);

/* Makes a directory of them for one service, anew, which its own user alone reads. What is not kept is
 * not in it, as systemd does; what cannot be read is an error, and then there is no directory. */
int secrets_hand(const char *dir, const struct secret_use *uses, size_t count, struct err *reterr)
    must_check;
