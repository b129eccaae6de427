/* Kernel log lines, which anybody who can name a process has a hand in. */

#include "gpu/xid.h"

#include "base/util.h"

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct gpu_xid xid;
    if (!gpu_xid_parse((const char *)data, len, &xid))
        return 0;
    assert(xid.code <= 999999 && xid.pid <= 999999999);
    assert(memchr(xid.bus_id, '\0', sizeof(xid.bus_id)));
    assert(memchr(xid.process, '\0', sizeof(xid.process)));
    for (const char *c = xid.process; *c; c++)
        assert(*c >= 0x20 && *c < 0x7F);
    return 0;
}
