/* A line of the history: a file that a crash, or somebody, may have spoilt. What is read is within its
 * bounds and, written again, the same. */

#include "base/buf.h"
#include "lifecycle/event.h"

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct event event, back;
    _cleanup_buf_ struct buf line = BUF_INIT(EVENT_LINE_MAX), again = BUF_INIT(EVENT_LINE_MAX);
    if (len > EVENT_LINE_MAX || event_parse((const char *)data, len, &event, NULL) <= 0)
        return 0;
    assert(event.kind < EVENT_COUNT);
    assert(strnlen(event.service, sizeof(event.service)) < sizeof(event.service));
    assert(strnlen(event.text, sizeof(event.text)) < sizeof(event.text));
    event_print(&event, &line);
    assert(buf_error(&line) == 0);
    assert(event_parse(line.data, line.len - 1, &back, NULL) == 1);
    event_print(&back, &again);
    assert(again.len == line.len && memcmp(again.data, line.data, line.len) == 0);
    return 0;
}
