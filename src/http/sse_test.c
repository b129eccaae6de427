#include "http/sse.h"

#include "tap.h"

#include <errno.h>
#include <stdio.h>

/* All events of a stream as `type/id=data|`, and `...` if it ends inside one. */
static void
read_all(const char *bytes, size_t len, size_t step, struct buf *out)
{
    struct sse_reader r;
    struct sse_event event;
    size_t at = 0, used;
    sse_init(&r, 64);
    buf_clear(out);
    while (at < len) {
        int got = sse_read(&r, bytes + at, MIN(step, len - at), &used, &event);
        at += used;
        if (got < 0) {
            buf_printf(out, "error %d", got);
            break;
        }
        if (got > 0)
            buf_printf(out, "%s/%s=%s|", event.type, event.id, event.data);
    }
    if (at == len && !sse_is_between(&r))
        buf_add_str(out, "...");
    sse_finish(&r);
}

TEST(sse_streams)
{
    static const struct {
        const char *text;
        const char *want;
    } rows[] = {
        {"", ""},
        {"data: a\n\n", "message/=a|"},
        {"data: a\r\n\r\n", "message/=a|"},
        {"data: a\r\r", "message/=a|"},
        {"data: a\r\n\n", "message/=a|"},
        {"\xEF\xBB\xBF"
         "data: a\n\n",
         "message/=a|"},
        {"\n\n\ndata: a\n\n\n\n", "message/=a|"},
        {"data:a\n\ndata:  b\n\n", "message/=a|message/= b|"},
        {"data: a\ndata: b\ndata\n\n", "message/=a\nb\n|"},
        {"data\n\n", "message/=|"},
        {"data:\n\n", "message/=|"},
        {"event: x\ndata: a\n\ndata: b\n\n", "x/=a|message/=b|"},
        {"event: x\n\ndata: b\n\n", "message/=b|"},
        {"id: 7\ndata: a\n\n", "message/7=a|"},
        {": comment\ndata: a\n: more\n\n", "message/=a|"},
        {"retry: 10\nwhat: ever\nDATA: no\ndata: a\n\n", "message/=a|"},
        {"data: a: b\n\n", "message/=a: b|"},
        {"data: a", "..."},
        {"data: a\n", "..."},
        {"event: x\n", "..."},
        {": comment\n", ""},
        {"data: {\"a\":1}\n\ndata: [DONE]\n\n", "message/={\"a\":1}|message/=[DONE]|"},
        {"data: 0123456789012345678901234567890123456789012345678901234567\n\n",
         "message/=0123456789012345678901234567890123456789012345678901234567|"},
        {"data: 012345678901234567890123456789012345678901234567890123456789\n\n", "error -90"},
        {"data: 0123456789012345678901234567890123456789\n"
         "data: 0123456789012345678901234567890123456789\n\n",
         "error -90"},
    };
    _cleanup_buf_ struct buf got = BUF_INIT(4096);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        for (size_t step = 1; step <= strlen(rows[i].text) + 1; step++) {
            tap_note("row %zu in steps of %zu", i, step);
            read_all(rows[i].text, strlen(rows[i].text), step, &got);
            CHECK_STR(got.data, rows[i].want);
        }
    }
}

TEST(sse_names_have_a_ceiling)
{
    char text[200];
    struct sse_reader r;
    struct sse_event event;
    size_t used;
    sse_init(&r, 1000);
    int len = snprintf(text, sizeof(text), "event: %0128d\n", 0);
    CHECK_EQ(sse_read(&r, text, (size_t)len, &used, &event), -EMSGSIZE);
    sse_finish(&r);
}

TEST(sse_reads_what_it_writes)
{
    static const struct {
        const char *type;
        const char *data;
        const char *want;
    } rows[] = {
        {NULL, "{\"a\": 1}", "message/={\"a\": 1}|"},
        {"content_block_delta", "{}", "content_block_delta/={}|"},
        {NULL, "", "message/=|"},
        {NULL, " a", "message/= a|"},
        {NULL, "a\nb", "message/=a\nb|"},
        {NULL, "a\r\nb\rc", "message/=a\nb\nc|"},
        {NULL, "a\n", "message/=a\n|"},
        {NULL, "\n\n", "message/=\n\n|"},
        {NULL, "data: x\n\nevent: y", "message/=data: x\n\nevent: y|"},
    };
    _cleanup_buf_ struct buf got = BUF_INIT(4096);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_buf_ struct buf out = BUF_INIT(4096);
        tap_note("row %zu", i);
        sse_write_comment(&out, "still here");
        sse_write(&out, rows[i].type, rows[i].data, strlen(rows[i].data));
        read_all(out.data, out.len, out.len, &got);
        CHECK_STR(got.data, rows[i].want);
    }
}
