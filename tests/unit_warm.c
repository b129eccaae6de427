/* libuv opens a pipe for signals with the first loop of a process and keeps it. That is not a leak
 * of the test that happens to be first, so it is done before any test counts its descriptors. */

#include "sys/loop.h"

__attribute__((constructor)) static void
open_what_libuv_keeps(void)
{
    struct loop *loop;
    int r = loop_new(&loop, NULL);
    assert(r == 0);
    loop_free(loop);
}
