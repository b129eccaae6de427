/* Lease files: engines run as the user who owns them. What is read is within its bounds and, written
 * again, the same. */

#include "gpu/lease_int.h"

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct gpu_lease lease, back;
    struct err err;
    if (lease_parse((const char *)data, len, &lease, &err) < 0)
        return 0;
    assert(text_is_name(lease.holder.name) && lease.part_count <= GPU_LEASE_PARTS_MAX);
    _cleanup_buf_ struct buf text = BUF_INIT(LEASE_FILE_MAX);
    lease_print(&lease, &text);
    assert(buf_error(&text) == 0);
    assert(lease_parse(text.data, text.len, &back, NULL) == 0);
    assert(back.part_count == lease.part_count);
    for (size_t i = 0; i < lease.part_count; i++)
        assert(strcmp(back.parts[i].uuid, lease.parts[i].uuid) == 0 &&
               back.parts[i].bytes == lease.parts[i].bytes &&
               back.parts[i].bytes <= back.parts[i].total_bytes);
    return 0;
}
