#include "base/text.h"
#include "tap.h"
#include "unit/unit_int.h"

TEST(text_is_told_as_each_kind_of_value_is_read)
{
    static const struct {
        const char *text, *plain, *word, *argument; /* NULL: cannot be told */
    } rows[] = {
        {"/a/b", "/a/b", "/a/b", "/a/b"},
        {"/a b", "/a b", "\"/a b\"", "\"/a b\""},
        {"/50%", "/50%%", "/50%%", "/50%%"},
        {"/$HOME", "/$HOME", "\"/$HOME\"", "\"/$$HOME\""},
        {"/a\"b\\c", "/a\"b\\c", "\"/a\\\"b\\\\c\"", "\"/a\\\"b\\\\c\""},
        {"/'q'", "/'q'", "\"/'q'\"", "\"/'q'\""},
        {";", ";", "\";\"", "\";\""},
        {"/caf\xc3\xa9", "/caf\xc3\xa9", "\"/caf\xc3\xa9\"", "\"/caf\xc3\xa9\""},
        {"", NULL, "\"\"", "\"\""},
        {"/a ", NULL, "\"/a \"", "\"/a \""},
        {" a", NULL, "\" a\"", "\" a\""},
        {"/a\\", NULL, "\"/a\\\\\"", "\"/a\\\\\""},
        {"/a\nb", NULL, NULL, NULL},
        {"/a\x7f", NULL, NULL, NULL},
        {"/\xff", NULL, NULL, NULL},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const char *const wants[] = {rows[i].plain, rows[i].word, rows[i].argument};
        for (unsigned quote = UNIT_PLAIN; quote <= UNIT_ARGUMENT; quote++) {
            _cleanup_buf_ struct buf out = BUF_INIT(KIB);
            tap_note("%zu %u", i, quote);
            bool told = unit_escape(&out, rows[i].text, (enum unit_quote)quote, NULL);
            CHECK_EQ(told, wants[quote] != NULL);
            if (wants[quote])
                CHECK_STR(out.data, wants[quote]);
        }
    }
}

/* systemd's own way back: quotes and backslashes, then specifiers, then variables. */
static void
read_back(const char *told, enum unit_quote quote, struct buf *out)
{
    bool quoted = quote != UNIT_PLAIN && *told == '"';
    for (told += quoted; *told && !(quoted && *told == '"'); told++) {
        bool doubled = *told == '%' || (*told == '$' && quote == UNIT_ARGUMENT);
        if (doubled)
            CHECK_EQ(told[1], told[0]);
        told += doubled || (quoted && *told == '\\');
        buf_add_char(out, *told);
    }
    CHECK_STR(told, quoted ? "\"" : "");
}

TEST(what_is_told_is_read_back)
{
    static const char letters[] = "ab/.%$\"\\' ;#!-{}\xc3\xa9*";
    uint64_t state = 1;
    for (unsigned round = 0; round < 20000; round++) {
        char text[16] = "";
        size_t len = 0;
        state = state * 6364136223846793005u + 1;
        for (uint64_t n = state >> 16; n && len < sizeof(text) - 1; n /= sizeof(letters))
            if (n % sizeof(letters) < sizeof(letters) - 1)
                text[len++] = letters[n % sizeof(letters)];
        for (unsigned quote = UNIT_PLAIN; quote <= UNIT_ARGUMENT; quote++) {
            _cleanup_buf_ struct buf told = BUF_INIT(KIB), back = BUF_INIT(KIB);
            if (!unit_escape(&told, text, (enum unit_quote)quote, NULL))
                continue;
            read_back(told.data, (enum unit_quote)quote, &back);
            CHECK_STR(back.data, text);
        }
    }
}
