/* Server-sent events: however the bytes arrive, the events are the same; and an event, written
 * again, is read as itself. */

#include "http/sse.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define CEILING 4096

/* Writes all events of the stream, one after the other. */
static int
read_all(const char *text, size_t len, size_t step, struct buf *out)
{
    struct sse_reader r;
    int result = 0;
    sse_init(&r, CEILING);
    for (size_t at = 0; at < len && result >= 0; at += step) {
        const char *piece = text + at;
        size_t left = MIN(step, len - at);
        do {
            size_t used = 0;
            struct sse_event event;
            result = sse_read(&r, piece, left, &used, &event);
            if (used > left)
                abort();
            if (result == 1) {
                if (event.data[event.len] != '\0')
                    abort();
                sse_write(out, strcmp(event.type, "message") ? event.type : NULL, event.data,
                          event.len);
            }
            piece += used;
            left -= used;
        } while (result == 1);
        if (result == 0 && left > 0)
            abort();
    }
    sse_finish(&r);
    return result;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    const char *text = (const char *)data;
    struct buf whole, split, again;
    buf_init(&whole, 4 << 20);
    buf_init(&split, 4 << 20);
    buf_init(&again, 4 << 20);
    int a = read_all(text, len, len ? len : 1, &whole), b = read_all(text, len, 1, &split);
    if (a != b || whole.len != split.len || memcmp(whole.data, split.data, whole.len) != 0)
        abort();
    if (a == 0 && !memchr(text, '\0', len) && !whole.failed) {
        if (read_all(whole.data, whole.len, 7, &again) == 0 &&
            (again.len != whole.len || memcmp(again.data, whole.data, whole.len) != 0))
            abort();
    }
    buf_finish(&whole);
    buf_finish(&split);
    buf_finish(&again);
    return 0;
}
