#pragma once

/* libcurl, loaded when a repository is reached by it (sys/library.h). */

#include "base/err.h"

#define CURL_DISABLE_TYPECHECK
#include <curl/curl.h>

struct curl {
#define CALL(name) __typeof__(&name) name;
#include "backup/curl.def"
#undef CALL
};

/* NULL where it is not there: REMOTE_ABSENT. Any thread may ask. */
const struct curl *curl_load(struct err *reterr) must_check;
