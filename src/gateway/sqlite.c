#include "gateway/sqlite.h"

#include "sys/library.h"

#define LIBRARY "libsqlite3.so.0"

struct sqlite sqlite;

int
sqlite_load(struct err *reterr)
{
    static const struct library_call calls[] = {
#define CALL(name) {"sqlite3_" #name, offsetof(struct sqlite, name)},
#include "gateway/sqlite.def"
#undef CALL
    };
    if (sqlite.open_v2)
        return 0;
    struct sqlite all;
    int r = library_load(LIBRARY, calls, ARRAY_SIZE(calls), &all, ERR_KEYS_ABSENT, reterr);
    if (r < 0)
        err_fix(reterr, "apt-get install libsqlite3-0 brings it");
    else
        sqlite = all;
    return r;
}
