/* The list of mounts: the kernel's, but points and sources are written by whoever may mount. Nothing that
 * is found lies outside the text, and no chain of parents goes on for ever. */

#include "sys/mounts.h"

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct mounts m;
    if (len > 64 * KIB || mounts_parse((const char *)data, len, &m, NULL) < 0)
        return 0;
    for (size_t i = 0; i < m.count; i++) {
        const struct mount_row *row = mounts_find(&m, m.rows[i].point);
        assert(!row || strcmp(row->point, m.rows[i].point) == 0);
        assert(strlen(m.rows[i].point) + strlen(m.rows[i].root) <= len);
        (void)mounts_around(&m, m.rows[i].point);
    }
    mounts_finish(&m);
    return 0;
}
