#include "engine/lines.h"

#include "base/buf.h"
#include "tap.h"

static void
take(const char *line, size_t len, void *arg)
{
    struct buf *out = arg;
    CHECK_EQ(strlen(line), len);
    buf_printf(out, "[%s]", line);
}

/* Every way to cut the text gives the same lines. */
static void
check_lines(const char *text, size_t len, const char *want)
{
    for (size_t piece = 1; piece <= len + 1; piece++) {
        _cleanup_buf_ struct buf out = BUF_INIT(64 * KIB);
        struct engine_lines lines = {0};
        for (size_t at = 0; at < len; at += piece)
            engine_lines_feed(&lines, text + at, MIN(piece, len - at), take, &out);
        engine_lines_end(&lines, take, &out);
        CHECK_STR(out.data, want);
    }
}

TEST(output_is_cut_into_lines)
{
    static const struct {
        const char *text, *want;
    } rows[] = {
        {"", ""},
        {"a", "[a]"},
        {"a\nb", "[a][b]"},
        {"a\r\nb\r\n\n\n", "[a][b]"},
        {"bar: 1%\rbar: 50%\rbar: 100%\n", "[bar: 1%][bar: 50%][bar: 100%]"},
        {"\033[1;36mINFO\033[0;0m text\n", "[INFO text]"},
        {"\033]0;title\atext\n", "[text]"},
        {"\033]0;title\033\\text\n", "[text]"},
        {"\033]0;never closed\nnext", "[next]"},
        {"a\tb\001\177c", "[a bc]"},
        {"\xe2\x96\x88", "[\xe2\x96\x88]"},
        {"\033", ""},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        tap_note("row %zu", i);
        check_lines(rows[i].text, strlen(rows[i].text), rows[i].want);
    }
    static const char nul[] = "a\0b\n";
    check_lines(nul, sizeof(nul) - 1, "[ab]");
}

static void
measure(const char *line unused_arg, size_t len, void *arg)
{
    size_t *longest = arg;
    *longest = MAX(*longest, len);
}

TEST(an_overlong_line_is_cut_and_the_next_is_whole)
{
    struct engine_lines lines = {0};
    size_t longest = 0;
    _cleanup_buf_ struct buf out = BUF_INIT(64 * KIB);
    for (int i = 0; i < 3 * ENGINE_LINE_MAX; i++)
        engine_lines_feed(&lines, "x", 1, measure, &longest);
    engine_lines_feed(&lines, "\n", 1, measure, &longest);
    CHECK_EQ(longest, ENGINE_LINE_MAX);
    engine_lines_feed(&lines, "next\n", 5, take, &out);
    CHECK_STR(out.data, "[next]");
}
