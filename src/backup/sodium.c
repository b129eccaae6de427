#include "backup/sodium.h"

#include "sys/library.h"

#include <pthread.h>

#define LIBRARY "libsodium.so.23"

static struct sodium sodium;
static struct err failure;
static int result;

static void
load(void)
{
    static const struct library_call calls[] = {
#define CALL(name) {#name, offsetof(struct sodium, name)},
#include "backup/sodium.def"
#undef CALL
    };
    result = library_load(LIBRARY, calls, ARRAY_SIZE(calls), &sodium, ERR_SEAL_ABSENT, &failure);
    if (result < 0)
        err_fix(&failure, "apt-get install libsodium23 brings it");
    else if (sodium.sodium_init() < 0)
        result = err_set(&failure, ERR_SEAL_ABSENT, "%s does not start", LIBRARY);
}

const struct sodium *
sodium_load(struct err *reterr)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, load);
    if (result < 0 && reterr)
        *reterr = failure;
    return result < 0 ? NULL : &sodium;
}
