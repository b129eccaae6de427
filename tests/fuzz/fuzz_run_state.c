/* What a shim's socket answers: whoever sits on that path could say anything. What is read is within
 * its bounds and, written again, the same. */

#include "base/buf.h"
#include "run/state.h"

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
    static struct run_state state, back;
    _cleanup_buf_ struct buf text = BUF_INIT(RUN_STATE_MAX), again = BUF_INIT(RUN_STATE_MAX);
    if (run_state_parse((const char *)data, len, &state, NULL) < 0)
        return 0;
    assert(text_is_name(state.name) && state.phase < RUN_PHASE_COUNT);
    assert(state.gpu_count <= RUN_STATE_GPUS_MAX && state.why.id < ERR_COUNT);
    assert(state.running >= 0 && state.waiting >= 0 && state.kv_usage >= 0);
    check_text(state.status, sizeof(state.status));
    check_text(state.why.what, sizeof(state.why.what));
    check_text(state.why.fix, sizeof(state.why.fix));
    check_text(state.engine, sizeof(state.engine));
    check_text(state.version, sizeof(state.version));
    check_text(state.address, sizeof(state.address));
    check_text(state.model, sizeof(state.model));
    run_state_print(&state, &text);
    assert(buf_error(&text) == 0);
    assert(run_state_parse(text.data, text.len, &back, NULL) == 0);
    run_state_print(&back, &again);
    assert(again.len == text.len && memcmp(again.data, text.data, text.len) == 0);
    return 0;
}
