#include "backup/isal.h"

#include "sys/library.h"

#include <pthread.h>

#define LIBRARY "libisal.so.2"

static struct isal isal;
static struct err failure;
static int result;

static void
load(void)
{
    static const struct library_call calls[] = {
        {"ec_init_tables", offsetof(struct isal, ec_init_tables)},
        {"ec_encode_data_update", offsetof(struct isal, ec_encode_data_update)},
    };
    result = library_load(LIBRARY, calls, ARRAY_SIZE(calls), &isal, ERR_PARITY_SLOW, &failure);
    if (result < 0)
        err_fix(&failure, "apt-get install libisal2 brings it");
}

const struct isal *
isal_load(struct err *reterr)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, load);
    if (result < 0 && reterr)
        *reterr = failure;
    return result < 0 ? NULL : &isal;
}
