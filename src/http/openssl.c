#include "http/openssl.h"

#include "sys/library.h"

#define LIBRARY "libssl.so.3"

const struct openssl *openssl;

int
openssl_load(struct err *reterr)
{
    static const struct library_call calls[] = {
#define CALL(name) {#name, offsetof(struct openssl, name)},
#include "http/openssl.def"
#undef CALL
    };
    static struct openssl library;
    if (openssl)
        return 0;
    int r = library_load(LIBRARY, calls, ARRAY_SIZE(calls), &library, ERR_TLS_ABSENT, reterr);
    if (r < 0) {
        err_prefix(reterr, "TLS needs OpenSSL 3");
        err_fix(reterr, "apt-get install openssl brings it");
        return r;
    }
    openssl = &library;
    return 0;
}
