#pragma once

/* What the files of TLS share: tls.c has contexts, tls_link.c connections. */

#include "http/openssl.h"
#include "http/tls.h"

struct tls_context {
    SSL_CTX *ssl;
    int64_t end_s;
};

/* The last error of this thread, and forgets them all; `otherwise` where OpenSSL says nothing. */
const char *tls_reason(const char *otherwise);
