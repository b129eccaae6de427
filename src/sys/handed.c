#include "sys/handed.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static uint64_t
number(const char *name)
{
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 10) : 0;
}

int
handed_take(void)
{
    uint64_t pid = number("LISTEN_PID"), count = number("LISTEN_FDS");
    (void)unsetenv("LISTEN_PID");
    (void)unsetenv("LISTEN_FDS");
    (void)unsetenv("LISTEN_FDNAMES");
    if (pid != (uint64_t)getpid())
        return 0;
    count = MIN(count, (uint64_t)HANDED_MAX);
    for (int i = 0; i < (int)count; i++) {
        int flags = fcntl(HANDED_FIRST + i, F_GETFD);
        if (flags < 0 || fcntl(HANDED_FIRST + i, F_SETFD, flags | FD_CLOEXEC) < 0)
            return i;
    }
    return (int)count;
}
