#include "http/openssl.h"

#include <dlfcn.h>
#include <string.h>

#define LIBRARY "libssl.so.3"

static const struct {
    const char *symbol;
    size_t at; /* in struct openssl */
} calls[] = {
#define CALL(name) {#name, offsetof(struct openssl, name)},
#include "http/openssl.def"
#undef CALL
};

const struct openssl *openssl;

int
openssl_load(struct err *reterr)
{
    static struct openssl library;
    void *file = openssl ? NULL : dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!openssl && !file) {
        int r = err_set(reterr, ERR_TLS_ABSENT, "TLS needs OpenSSL 3: %s", dlerror());
        err_fix(reterr, "apt-get install openssl brings it");
        return r;
    }
    for (size_t i = 0; !openssl && i < ARRAY_SIZE(calls); i++) {
        void *call = dlsym(file, calls[i].symbol);
        if (!call)
            return err_set(reterr, ERR_TLS_ABSENT, LIBRARY " is not what it should be: no %s",
                           calls[i].symbol);
        memcpy((char *)&library + calls[i].at, &call, sizeof(call));
    }
    openssl = &library;
    return 0;
}
