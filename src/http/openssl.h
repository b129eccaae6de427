#pragma once

/* OpenSSL 3, loaded when TLS is first asked for: linked, it would be the half of the memory of each
 * process that has none. */

#include "base/err.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>

struct openssl {
#define CALL(name) __typeof__(&name) name;
#include "http/openssl.def"
#undef CALL
};

extern const struct openssl *openssl; /* NULL before it is loaded */
int openssl_load(struct err *reterr) must_check;
