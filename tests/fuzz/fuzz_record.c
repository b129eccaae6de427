/* The record of a model: a file that its engine, which runs as the same user, could write. What is
 * read is within its bounds and, written again, the same. */

#include "run/record.h"

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void
check_text(const char *text, size_t room)
{
    size_t len = strnlen(text, room);
    assert(len < room);
    for (size_t i = 0; i < len; i++)
        assert((unsigned char)text[i] >= ' ' && text[i] != 127);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct run_record record, back;
    _cleanup_buf_ struct buf text = BUF_INIT(RUN_RECORD_MAX), again = BUF_INIT(RUN_RECORD_MAX);
    if (len > RUN_RECORD_MAX || run_record_parse((const char *)data, len, &record, NULL) < 0)
        return 0;
    assert(record.failed_count <= RUN_RECORD_FAILED_MAX && record.last.err.id < ERR_COUNT);
    check_text(record.boot, sizeof(record.boot));
    check_text(record.last.err.what, sizeof(record.last.err.what));
    check_text(record.last.err.fix, sizeof(record.last.err.fix));
    check_text(record.hold.by, sizeof(record.hold.by));
    check_text(record.hold.why, sizeof(record.hold.why));
    check_text(record.wanted.by, sizeof(record.wanted.by));
    run_record_print(&record, &text);
    assert(buf_error(&text) == 0);
    assert(run_record_parse(text.data, text.len, &back, NULL) == 0);
    run_record_print(&back, &again);
    assert(again.len == text.len && memcmp(again.data, text.data, text.len) == 0);
    assert(back.hold.set == record.hold.set && back.wanted.state == record.wanted.state);
    return 0;
}
