#pragma once

/* Where secrets are kept that a configuration asks for by {credential: NAME}.
 *
 *     /etc/credstore.encrypted/citadel.NAME    encrypted to this host by systemd-creds
 *     /etc/credstore/citadel-plain.NAME        as it is, where that is not possible
 *
 * Both are root's alone. systemd finds them there by these names, for LoadCredentialEncrypted= and
 * LoadCredential=, and starts a unit without the one that is missing. The two names differ, since it
 * takes whatever it finds by an encrypted one's for encrypted, and fails; what they begin with keeps us
 * away from the credentials of others.
 *
 * A value is replaced whole or not at all. Where a crash has left both forms, the encrypted one holds. */

#include "base/err.h"
#include "base/mem.h"
#include "base/secret.h"

#define SECRET_BYTES_MAX \
    (32 * KIB) /* half of what a pipe holds; systemd's own limit is 1 MiB a unit */
#define SECRETS_MAX 1000

enum secret_form { SECRET_ENCRYPTED, SECRET_PLAIN, SECRET_FORMS };
const char *secret_form_word(enum secret_form form);

struct secret_store {
    const char *dirs[SECRET_FORMS];
    const char *creds;   /* the program systemd-creds; NULL: nothing is to be encrypted, */
    const char *why_not; /* for this reason */
};

struct secret_kept {
    const char *name;
    enum secret_form form;
    uint64_t since_us; /* since 1970 */
};

/* That of this machine; with --root, where nothing can be encrypted to the host that it will be, that
 * below it. Its texts live in the arena. */
int secret_store_open(struct arena *arena, struct secret_store *ret_store, struct err *reterr)
    must_check;

/* Whether others than root can get into the directory of that form, which they never may;
 * SECRET_CLOSE_DIR with its path closes it. */
bool secret_store_is_open(const struct secret_store *store, enum secret_form form);
#define SECRET_CLOSE_DIR "install -d -m 700 -o root -g root %s"

/* A name with a value behind '=' is refused without saying that. */
int secret_check_name(const char *name, struct err *reterr) must_check;

/* Keeps it, encrypted where there is systemd-creds; else *ret_why_not says why it is not. Where that fails,
 * so does this. */
int secret_store_put(const struct secret_store *store, const char *name, const struct secret *value,
                     enum secret_form *ret_form, struct err *ret_why_not, struct err *reterr)
    must_check;

int secret_store_get(const struct secret_store *store, const char *name, struct secret *ret_value,
                     struct err *reterr) must_check; /* ERR_SECRET_NONE */
int secret_store_remove(const struct secret_store *store, const char *name, struct err *reterr)
    must_check; /* ERR_SECRET_NONE */

/* By name. */
int secret_store_list(const struct secret_store *store, struct arena *arena,
                      struct secret_kept **ret_items, size_t *ret_count, struct err *reterr)
    must_check;

/* How a file of one form is named, here and among the credentials of a service. */
#define SECRET_FILE_MAX 96
const char *secret_file_name(enum secret_form form, const char *name, char text[SECRET_FILE_MAX]);

/* The value that a file, a pipe or a person gives: to its end, without the newline there; some bytes,
 * at most SECRET_BYTES_MAX, none of them NUL. */
int secret_read(int fd, struct secret *ret_value, struct err *reterr) must_check;

/* Likewise of bytes, which the caller wipes. */
int secret_take(const char *bytes, size_t len, struct secret *ret_value, struct err *reterr)
    must_check;
