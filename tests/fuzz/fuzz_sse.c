/* Event streams from anybody: the same events however the bytes arrive, memory within the ceiling,
 * and an event that is written again is read as the same. */

#include "http/sse.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define CEILING 300

static void
require(bool true_thing)
{
    if (!true_thing)
        abort();
}

static void
check_rewritten(const struct sse_event *event)
{
    _cleanup_buf_ struct buf out = BUF_INIT(1 << 16);
    struct sse_reader reader;
    struct sse_event again;
    size_t used;
    if (strcmp(event->type, "message") != 0)
        sse_write(&out, event->type, event->data, event->len);
    else
        sse_write(&out, NULL, event->data, event->len);
    sse_init(&reader, 1 << 16);
    require(sse_read(&reader, out.data, out.len, &used, &again) == 1 && used == out.len);
    require(again.len == event->len && memcmp(again.data, event->data, event->len) == 0);
    require(strcmp(again.type, event->type) == 0);
    require(sse_is_between(&reader));
    sse_finish(&reader);
}

/* All events, as one text; step 0: in pieces of all sizes. */
static int
read_all(const char *text, size_t len, size_t step, struct buf *out)
{
    struct sse_reader reader;
    struct sse_event event;
    uint32_t size = 0;
    size_t used;
    int got = 0;
    sse_init(&reader, CEILING);
    for (size_t at = 0; at < len && got >= 0; at += used) {
        size = size * 1103515245 + 12345;
        size_t piece = MIN(step ? step : 1 + (size >> 16) % 29, len - at);
        got = sse_read(&reader, text + at, piece, &used, &event);
        require(used <= piece && (got != 0 || used == piece));
        require(reader.line.len <= CEILING && reader.data.len <= CEILING);
        if (got <= 0)
            continue;
        require(event.len == strlen(event.data) || memchr(event.data, '\0', event.len));
        buf_printf(out, "%s %s %zu ", event.type, event.id, event.len);
        buf_add(out, event.data, event.len);
        check_rewritten(&event);
    }
    buf_printf(out, " %d %d", got, got < 0 ? 0 : sse_is_between(&reader));
    sse_finish(&reader);
    return got;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    _cleanup_buf_ struct buf whole = BUF_INIT(1 << 24), bytes = BUF_INIT(1 << 24),
                             pieces = BUF_INIT(1 << 24);
    const char *text = (const char *)data;
    if (len > 65536)
        return 0;
    (void)read_all(text, len, len + 1, &whole);
    (void)read_all(text, len, 1, &bytes);
    (void)read_all(text, len, 0, &pieces);
    require(whole.len == bytes.len && memcmp(whole.data, bytes.data, whole.len) == 0);
    require(whole.len == pieces.len && memcmp(whole.data, pieces.data, whole.len) == 0);
    return 0;
}
