/* What was remembered of GPUs: a file of root's, which a crash or a hand may have spoilt. What is read
 * is within its bounds and, written again, the same. */

#include "gpu/settings.h"

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct gpu_memory_file memory, back;
    _cleanup_buf_ struct buf text = BUF_INIT(64 * KIB), again = BUF_INIT(64 * KIB);
    if (len > 64 * KIB || gpu_memory_parse((const char *)data, len, &memory, NULL) < 0)
        return 0;
    assert(memory.count <= GPU_INVENTORY_MAX);
    for (size_t i = 0; i < memory.count; i++) {
        assert(memory.gpus[i].uuid[0]);
        assert(strnlen(memory.gpus[i].uuid, NVML_UUID_BYTES) < NVML_UUID_BYTES);
    }
    gpu_memory_print(&memory, &text);
    assert(buf_error(&text) == 0);
    assert(gpu_memory_parse(text.data, text.len, &back, NULL) == 0);
    gpu_memory_print(&back, &again);
    assert(again.len == text.len && memcmp(again.data, text.data, text.len) == 0);
    return 0;
}
