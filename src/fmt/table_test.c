#include "fmt/table.h"

#include "tap.h"

static const struct table_column columns[] = {
    {.title = "Name"},
    {.title = "Size", .right = true},
    {.title = "Path", .min_width = 6, .expendable = 2},
    {.title = "State", .expendable = 1},
};

static void
fill(struct table *t)
{
    table_init(t, columns, ARRAY_SIZE(columns));
    table_add(t, TONE_PLAIN, "phi3");
    table_add(t, TONE_PLAIN, "7.1 GiB");
    table_add(t, TONE_PLAIN, "/models/phi-3-mini");
    table_add(t, TONE_GOOD, "ready");
    table_add(t, TONE_PLAIN, "mixtral");
    table_add(t, TONE_PLAIN, "87 GiB");
    table_add(t, TONE_PLAIN, "/m");
    table_add(t, TONE_BAD, "");
}

TEST(tables_fit)
{
    static const struct {
        struct table_look look;
        const char *want;
    } rows[] = {
        /* A pipe: whole, and no spaces at the end of a line. */
        {{0},
         "Name        Size  Path                State\n"
         "phi3     7.1 GiB  /models/phi-3-mini  ready\n"
         "mixtral   87 GiB  /m\n"},
        /* Just enough. */
        {{.width = 43},
         "Name        Size  Path                State\n"
         "phi3     7.1 GiB  /models/phi-3-mini  ready\n"
         "mixtral   87 GiB  /m\n"},
        {{.width = 40, .utf8 = true},
         "Name        Size  Path             State\n"
         "phi3     7.1 GiB  /models/phi-3-…  ready\n"
         "mixtral   87 GiB  /m\n"},
        {{.width = 40},
         "Name        Size  Path             State\n"
         "phi3     7.1 GiB  /models/phi-...  ready\n"
         "mixtral   87 GiB  /m\n"},
        /* The path is at its least: it goes before the state does. */
        {{.width = 30, .utf8 = true},
         "Name        Size  State\n"
         "phi3     7.1 GiB  ready\n"
         "mixtral   87 GiB\n"},
        {{.width = 22, .utf8 = true},
         "Name        Size\n"
         "phi3     7.1 GiB\n"
         "mixtral   87 GiB\n"},
        /* What may never go is cut at last. */
        {{.width = 12, .utf8 = true}, "Name    Size\nphi3   7.1 …\nmixt…  87 G…\n"},
        {{.width = 8, .utf8 = true}, "Na…  Si…\nph…  7.…\nmi…  87…\n"},
        {{.width = 8}, "Nam  Siz\nphi  7.1\nmix   87\n"},
        /* And then there is one. */
        {{.width = 7, .utf8 = true}, "Name\nphi3\nmixtral\n"},
        {{.width = 5, .utf8 = true}, "Name\nphi3\nmixt…\n"},
        {{.width = 5}, "Name\nphi3\nmi...\n"},
        {{.width = 2, .utf8 = true}, "N…\np…\nm…\n"},
        {{.width = 2}, "Na\nph\nmi\n"},
        {{.width = 1, .utf8 = true}, "N\np\nm\n"},
        {{.color = true},
         "\033[1mName\033[0m        \033[1mSize\033[0m  \033[1mPath\033[0m                "
         "\033[1mState\033[0m\n"
         "phi3     7.1 GiB  /models/phi-3-mini  \033[32mready\033[0m\n"
         "mixtral   87 GiB  /m\n"},
    };
    _cleanup_table_ struct table t;
    fill(&t);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_buf_ struct buf out = BUF_INIT(4096);
        tap_note("width %u", rows[i].look.width);
        table_print(&t, &rows[i].look, &out);
        CHECK_STR(out.data, rows[i].want);
    }
}

TEST(no_line_is_wider_than_the_terminal)
{
    _cleanup_table_ struct table t;
    fill(&t);
    table_add(&t, TONE_WARN, "глубокий-поиск");
    table_add(&t, TONE_PLAIN, "0");
    table_add(&t, TONE_PLAIN, "/模型/深度求索/深度求索");
    table_add(&t, TONE_PLAIN, "résumé e\xCC\x81");
    for (unsigned i = 0; i < 180; i++) {
        _cleanup_buf_ struct buf out = BUF_INIT(4096);
        unsigned width = 1 + i / 2;
        const struct table_look look = {.width = width, .utf8 = i % 2};
        table_print(&t, &look, &out);
        table_print_line("a line below it, 模型", &look, &out);
        for (char *line = out.data, *next; *line; line = next) {
            next = strchr(line, '\n');
            *next++ = '\0';
            tap_note("width %u: %s", width, line);
            CHECK(table_text_width(line) <= width);
            CHECK(next - line < 2 || next[-2] != ' ');
        }
    }
}

TEST(widths_are_those_of_a_terminal)
{
    static const struct {
        const char *text;
        size_t want;
    } rows[] = {
        {"", 0}, {"abc", 3}, {"é", 1}, {"e\xCC\x81", 1}, {"模型", 4}, {"…", 1}, {"🦙", 2},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        tap_note("%s", rows[i].text);
        CHECK_EQ(table_text_width(rows[i].text), rows[i].want);
    }
}

TEST(cells_cannot_drive_a_terminal)
{
    /* RIGHT-TO-LEFT OVERRIDE, spelled so that it does not turn this line. */
    static const char turned[] = {'a', (char)0xE2, (char)0x80, (char)0xAE, 'b', '\0'};
    static const struct {
        const char *text, *want;
    } rows[] = {
        {"\033]0;title\a", "?]0;title?"},
        {"two\nlines\tand\r", "two?lines?and?"},
        {"c1 \xC2\x9B!", "c1 ?!"},
        {"bad \xFF\xC3", "bad ??"},
        {turned, "a?b"},
        {"\x7F", "?"},
        {"\xEF\xBB\xBFmark", "?mark"},
        {"zero\xE2\x80\x8Bwidth", "zero?width"},
    };
    static const struct table_column one = {.title = "T"};
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_table_ struct table t;
        _cleanup_buf_ struct buf out = BUF_INIT(4096);
        table_init(&t, &one, 1);
        table_add(&t, TONE_PLAIN, rows[i].text);
        table_print(&t, &(struct table_look){0}, &out);
        out.data[out.len - 1] = '\0';
        CHECK_STR(out.data + strlen("T\n"), rows[i].want);
    }
}

TEST(a_table_has_a_ceiling)
{
    static const struct table_column one = {.title = "T"};
    _cleanup_table_ struct table t;
    _cleanup_buf_ struct buf out = BUF_INIT(64 * MIB);
    char text[4000];
    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    table_init(&t, &one, 1);
    for (size_t i = 0; i < 10000; i++)
        table_add(&t, TONE_PLAIN, text);
    CHECK(t.cells_count < 10000);
    table_print(&t, &(struct table_look){0}, &out);
    CHECK(buf_error(&out) == 0);
    CHECK(strstr(out.data, "more than can be shown"));
}
