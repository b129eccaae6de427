/* Any text as a version: what is accepted prints, reads back as the same, and is in order with
 * itself. */

#include "engine/version.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    char text[256];
    engine_version_text printed;
    struct engine_version version, back;
    struct err err;
    if (len >= sizeof(text))
        return 0;
    memcpy(text, data, len);
    text[len] = '\0';
    if (engine_version_parse(text, &version, &err) < 0)
        return 0;
    int r = engine_version_parse(engine_version_print(&version, printed), &back, &err);
    assert(r == 0 && engine_version_compare(&version, &back) == 0);
    assert(engine_version_compare_release(&version, &back) == 0);
    return 0;
}
