#pragma once

/* libsodium, loaded when a repository is encrypted (sys/library.h). */

#include "base/err.h"

#include <sodium.h>

struct sodium {
#define CALL(name) __typeof__(&name) name;
#include "backup/sodium.def"
#undef CALL
};

/* NULL where it is not there: SEAL_ABSENT. Any thread may ask. */
const struct sodium *sodium_load(struct err *reterr) must_check;
