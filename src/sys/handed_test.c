#include "sys/handed.h"

#include "base/mem.h"
#include "tap.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static int
take(uint64_t pid, const char *count)
{
    _cleanup_free_ char *text = mem_printf("%llu", (unsigned long long)pid);
    (void)setenv("LISTEN_PID", text, 1);
    (void)setenv("LISTEN_FDS", count, 1);
    int n = handed_take();
    CHECK(!getenv("LISTEN_PID") && !getenv("LISTEN_FDS"));
    return n;
}

TEST(handed_sockets_are_those_for_this_process)
{
    CHECK_EQ(handed_take(), 0);
    CHECK_EQ(take((uint64_t)getpid() + 1, "1"), 0);
    CHECK_EQ(take((uint64_t)getpid(), "nonsense"), 0);
    bool was_open = fcntl(HANDED_FIRST, F_GETFD) >= 0;
    if (!was_open)
        REQUIRE(dup2(STDIN_FILENO, HANDED_FIRST) == HANDED_FIRST);
    CHECK_EQ(take((uint64_t)getpid(), "1"), 1);
    CHECK(fcntl(HANDED_FIRST, F_GETFD) & FD_CLOEXEC);
    if (!was_open)
        (void)close(HANDED_FIRST);
}
