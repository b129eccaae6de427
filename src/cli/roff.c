#include "cli/roff.h"

#include "base/text.h"

#include <ctype.h>
#include <string.h>

#define LINE_MAX_CHARS 74

static void
add_char(struct buf *out, char c)
{
    static const struct {
        char c;
        const char *roff;
    } names[] = {
        {'\\', "\\e"},  {'"', "\\(dq"}, {'\'', "\\(aq"}, {'`', "\\(ga"},
        {'^', "\\(ha"}, {'~', "\\(ti"}, {'-', "\\-"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (names[i].c != c)
            continue;
        buf_add_str(out, names[i].roff);
        return;
    }
    buf_add_char(out, c);
}

/* A dash between letters is a hyphen of the language, others are typed as they stand. */
static bool
is_hyphen(const char *text, const char *at)
{
    return *at == '-' && at > text && isalpha((unsigned char)at[-1]) &&
           isalpha((unsigned char)at[1]);
}

void
roff_words(struct buf *out, const char *text)
{
    bool quoted = strpbrk(text, " \t") != NULL;
    if (quoted)
        buf_add_char(out, '"');
    /* Punctuation alone, and names of macros, would be taken for themselves. */
    if (strlen(text) <= 2)
        buf_add_str(out, "\\&");
    for (const char *c = text; *c; c++)
        add_char(out, *c);
    if (quoted)
        buf_add_char(out, '"');
}

static void
add_word(struct buf *out, const char *word, size_t len)
{
    if (*word == '.' || *word == '\'')
        buf_add_str(out, "\\&");
    for (const char *c = word; c < word + len; c++) {
        if (is_hyphen(word, c))
            buf_add_char(out, *c);
        else
            add_char(out, *c);
    }
}

static void
add_prose(struct buf *out, const char *text, size_t len)
{
    const char *end = text + len;
    size_t at = 0;
    while (text < end) {
        size_t word = MIN(strcspn(text, " \n"), (size_t)(end - text));
        if (word == 0) {
            text++;
            continue;
        }
        if (at > 0 && at + 1 + word > LINE_MAX_CHARS) {
            buf_add_char(out, '\n');
            at = 0;
        }
        if (at > 0)
            buf_add_char(out, ' ');
        add_word(out, text, word);
        /* A new sentence, a new line. */
        bool ended = strchr(".:?", text[word - 1]) && text + word < end;
        at = ended ? 0 : at + 1 + word;
        if (ended)
            buf_add_char(out, '\n');
        text += word;
    }
    buf_add_char(out, '\n');
}

void
roff_prose(struct buf *out, const char *text)
{
    add_prose(out, text, strlen(text));
}

static void
add_literal(struct buf *out, const char *text, size_t len)
{
    buf_add_str(out, ".Bd -literal -offset indent\n");
    for (const char *end = text + len; text < end;) {
        size_t line = MIN(strcspn(text, "\n"), (size_t)(end - text));
        size_t indent = MIN((size_t)2, line);
        buf_add_str(out, "\\&");
        for (const char *c = text + indent; c < text + line; c++)
            add_char(out, *c);
        buf_add_char(out, '\n');
        text += line + (text + line < end);
    }
    buf_add_str(out, ".Ed\n");
}

void
roff_paragraphs(struct buf *out, const char *text)
{
    for (bool first = true; *text; first = false) {
        const char *end = strstr(text, "\n\n");
        size_t len = end ? (size_t)(end - text) : strlen(text);
        if (text_starts(text, "  ")) {
            add_literal(out, text, len);
        } else {
            if (!first)
                buf_add_str(out, ".Pp\n");
            add_prose(out, text, len);
        }
        text += len + (end ? 2 : 0);
    }
}
