/* Any text as a mark of a repository: one that is accepted has a kind, and no more names than it may. */

#include "backup/mark.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct mark mark;
    if (!mark_parse((const char *)data, len, &mark))
        return 0;
    assert(mark.kind < MARK_KINDS && mark.names.count <= MARK_NAMES_MAX);
    assert(mark.has_waited || mark.waits_for.count == 0);
    mark_finish(&mark);
    return 0;
}
