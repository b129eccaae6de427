#include "backup/curl.h"

#include "sys/library.h"

#include <pthread.h>

#define LIBRARY "libcurl.so.4"

static struct curl curl;
static struct err failure;
static int result;

static void
load(void)
{
    static const struct library_call calls[] = {
#define CALL(name) {#name, offsetof(struct curl, name)},
#include "backup/curl.def"
#undef CALL
    };
    result = library_load(LIBRARY, calls, ARRAY_SIZE(calls), &curl, ERR_REMOTE_ABSENT, &failure);
    if (result < 0)
        err_fix(&failure, "apt-get install libcurl4 brings it");
    else if (curl.curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        result = err_set(&failure, ERR_REMOTE_ABSENT, "%s does not start", LIBRARY);
}

const struct curl *
curl_load(struct err *reterr)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, load);
    if (result < 0 && reterr)
        *reterr = failure;
    return result < 0 ? NULL : &curl;
}
