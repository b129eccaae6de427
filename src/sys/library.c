#include "sys/library.h"

#include <dlfcn.h>
#include <string.h>

int
library_load(const char *file, const struct library_call *calls, size_t count, void *ret_calls,
             enum err_id id, struct err *reterr)
{
    void *library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return err_set(reterr, id, "cannot load %s", dlerror());
    for (size_t i = 0; i < count; i++) {
        void *call = dlsym(library, calls[i].symbol);
        if (!call)
            return err_set(reterr, id, "%s is not what it should be: no %s", file, calls[i].symbol);
        memcpy((char *)ret_calls + calls[i].at, &call, sizeof(call));
    }
    return 0;
}
