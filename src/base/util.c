#include "base/util.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

int
take_fd(int *fd)
{
    int taken = *fd;
    *fd = -1;
    return taken;
}

void
cleanup_free(void *pp)
{
    free(*(void **)pp);
}

void
cleanup_close(int *fd)
{
    int saved = errno;
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
    errno = saved;
}
