#include "service/libsystemd.h"

#include <dlfcn.h>
#include <string.h>

#define LIBRARY "libsystemd.so.0"

static const struct {
    const char *symbol;
    size_t at; /* in struct libsystemd */
} calls[] = {
#define CALL(name) {"sd_" #name, offsetof(struct libsystemd, name)},
#include "service/libsystemd.def"
#undef CALL
};

int
libsystemd_load(const struct libsystemd **ret_sd, struct err *reterr)
{
    static struct libsystemd sd;
    static bool loaded;
    void *file = loaded ? NULL : dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!loaded && !file)
        return err_set(reterr, ERR_SYSTEMD_ABSENT, "systemd cannot be asked: %s", dlerror());
    for (size_t i = 0; !loaded && i < ARRAY_SIZE(calls); i++) {
        void *call = dlsym(file, calls[i].symbol);
        if (!call)
            return err_set(reterr, ERR_SYSTEMD_ABSENT, LIBRARY " is too old: it has no %s",
                           calls[i].symbol);
        memcpy((char *)&sd + calls[i].at, &call, sizeof(call));
    }
    loaded = true;
    *ret_sd = &sd;
    return 0;
}
