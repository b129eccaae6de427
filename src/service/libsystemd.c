#include "service/libsystemd.h"

#include "sys/library.h"

#define LIBRARY "libsystemd.so.0"

int
libsystemd_load(const struct libsystemd **ret_sd, struct err *reterr)
{
    static const struct library_call calls[] = {
#define CALL(name) {"sd_" #name, offsetof(struct libsystemd, name)},
#include "service/libsystemd.def"
#undef CALL
    };
    static struct libsystemd sd;
    static bool loaded;
    int r = 0;
    if (!loaded)
        r = library_load(LIBRARY, calls, ARRAY_SIZE(calls), &sd, ERR_SYSTEMD_ABSENT, reterr);
    if (r < 0) {
        err_prefix(reterr, "systemd cannot be asked");
        return r;
    }
    loaded = true;
    *ret_sd = &sd;
    return 0;
}
