#include "sys/library.h"

#include "tap.h"

#include <errno.h>

struct mathematics {
    double (*cos)(double x);
    double (*no_such_call)(double x);
};

TEST(library_loads_what_is_there_and_names_what_is_not)
{
    static const struct library_call calls[] = {
        {"cos", offsetof(struct mathematics, cos)},
        {"no_such_call", offsetof(struct mathematics, no_such_call)},
    };
    struct mathematics m = {0};
    struct err err;
    REQUIRE(library_load("libm.so.6", calls, 1, &m, ERR_SYSTEM, &err) == 0);
    CHECK(m.cos(0) == 1);
    CHECK_EQ(library_load("libm.so.6", calls, 2, &m, ERR_SYSTEM, &err), -EIO);
    CHECK_STR(err.what, "libm.so.6 is not what it should be: no no_such_call");
    CHECK_EQ(library_load("libnone.so.0", calls, 1, &m, ERR_SYSTEM, &err), -EIO);
    CHECK(strstr(err.what, "libnone.so.0") != NULL);
}
