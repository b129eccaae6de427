#include "engine/lines.h"

enum { PLAIN, ESCAPE, SEQUENCE, STRING };

static void
give(struct engine_lines *lines, engine_lines_take *take, void *arg)
{
    if (lines->len > 0) {
        lines->text[lines->len] = '\0';
        take(lines->text, lines->len, arg);
    }
    lines->len = 0;
    lines->state = PLAIN;
}

static void
keep(struct engine_lines *lines, unsigned char c)
{
    if (c == '\t')
        c = ' ';
    if (c >= 0x20 && c != 0x7F && lines->len < ENGINE_LINE_MAX)
        lines->text[lines->len++] = (char)c;
}

/* ESC [ ... letter; ESC ] ... BEL, where the ESC of "ESC \" begins the next one; ESC letter. */
static void
skip(struct engine_lines *lines, unsigned char c)
{
    if (lines->state == ESCAPE)
        lines->state = c == '[' ? SEQUENCE : c == ']' ? STRING : PLAIN;
    else if ((lines->state == SEQUENCE && c >= 0x40 && c < 0x7F) ||
             (lines->state == STRING && c == '\a'))
        lines->state = PLAIN;
}

void
engine_lines_feed(struct engine_lines *lines, const char *bytes, size_t len,
                  engine_lines_take *take, void *arg)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)bytes[i];
        if (c == '\n' || c == '\r')
            give(lines, take, arg);
        else if (c == '\033')
            lines->state = ESCAPE;
        else if (lines->state != PLAIN)
            skip(lines, c);
        else
            keep(lines, c);
    }
}

void
engine_lines_end(struct engine_lines *lines, engine_lines_take *take, void *arg)
{
    give(lines, take, arg);
}
