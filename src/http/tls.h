#pragma once

/* TLS 1.2 and 1.3, by OpenSSL, at either end of connections that do not block.
 *
 * A context is what all connections of one server, or to one, have in common: certificate, key,
 * whom to trust. Other files come into use by a new context: connections keep what they need of
 * theirs.
 *
 * Not offered: renegotiation, compression, early data, other protocols than http/1.1 (ALPN). A
 * server keeps no sessions; who comes again brings a ticket. */

#include "base/err.h"

#include <sys/types.h>

struct tls_files {
    const char *certificate; /* PEM, and behind it the chain that leads to an authority */
    const char *key;         /* PEM, without a passphrase */
    const char *authorities; /* PEM, of the other end's certificate */
};

struct tls_context;

/* authorities: of clients, which need a certificate then; NULL: nobody is asked for one. */
int tls_server(const struct tls_files *files, struct tls_context **ret_context, struct err *reterr)
    must_check;
/* authorities NULL: those of the system. certificate and key may be NULL. */
int tls_client(const struct tls_files *files, struct tls_context **ret_context, struct err *reterr)
    must_check;
void tls_context_free(struct tls_context *context);
/* When its own certificate ends, in seconds since 1970; 0: it has none. */
int64_t tls_context_end_s(const struct tls_context *context);
typedef char tls_day[16];
const char *tls_context_end_day(const struct tls_context *context, tls_day day); /* 2026-11-30 */

/* A connection. The descriptor stays the caller's and outlives it. */
struct tls;
struct tls *tls_accept(const struct tls_context *context, int fd) must_check;
/* name: which the server's certificate must be for; a host, or an address. */
struct tls *tls_connect(const struct tls_context *context, int fd, const char *name) must_check;
void tls_free(struct tls *tls);

/* 0 when it is open. Reading and writing do this, too. All of them fail with
 *   -EAGAIN           when the descriptor is writable, if tls_wants_write(), else readable
 *   -EPROTONOSUPPORT  the first byte is not of TLS: nothing was read, and somebody else may
 *   -EPROTO           tls_why() tells
 *   -ECONNRESET       cut off without a word: what came may not be all */
int tls_open(struct tls *tls) must_check;
bool tls_is_open(const struct tls *tls);
bool tls_wants_write(const struct tls *tls);

/* All that has come, if there is room for TLS_READ_BYTES; 0: nothing more will. */
#define TLS_READ_BYTES (16 * KIB)
ssize_t tls_read(struct tls *tls, void *bytes, size_t len) must_check;
/* How much is on its way. The rest is given again, perhaps with more behind it. */
ssize_t tls_write(struct tls *tls, const void *bytes, size_t len) must_check;
void tls_end(struct tls *tls); /* says that nothing more will come */

const char *tls_why(const struct tls *tls); /* what was wrong, in the words of OpenSSL */
