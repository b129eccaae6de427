/* The manifest of a generation: what is read stays inside its directory and, written again, is the
 * same. */

#include "deploy/manifest_int.h"

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    _cleanup_arena_ struct arena arena;
    _cleanup_buf_ struct buf text = BUF_INIT(MANIFEST_MAX), again = BUF_INIT(MANIFEST_MAX);
    struct manifest m, back;
    arena_init(&arena, 4 * MIB);
    if (len > 64 * KIB || manifest_parse((const char *)data, len, &arena, &m, NULL) < 0)
        return 0;
    assert(m.count <= GENERATION_FILES_MAX);
    for (size_t i = 0; i < m.count; i++)
        assert(manifest_takes_name(m.files[i].name));
    manifest_print(&m, &text);
    assert(buf_error(&text) == 0);
    assert(manifest_parse(text.data, text.len, &arena, &back, NULL) == 0);
    manifest_print(&back, &again);
    assert(again.len == text.len && memcmp(again.data, text.data, text.len) == 0);
    return 0;
}
