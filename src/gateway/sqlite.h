#pragma once

/* SQLite, loaded when a database is first asked for (sys/library.h). */

#include "base/err.h"

#include <sqlite3.h>

struct sqlite {
#define CALL(name) __typeof__(&sqlite3_##name) name;
#include "gateway/sqlite.def"
#undef CALL
};

extern struct sqlite sqlite;                    /* filled by sqlite_load() */
int sqlite_load(struct err *reterr) must_check; /* KEYS_ABSENT */
