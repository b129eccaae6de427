/* Text in unit files. systemd reads a line to its end, or up to a backslash there; then, by what the
 * directive is, takes it apart into words with quotes and backslashes; then replaces specifiers (%i),
 * and in commands variables ($HOME). Text that went through here comes out of all that as it was.
 *
 * What cannot be told: control characters, which only some directives could be told, and at the end of
 * a plain value a blank, which would be cut off, or a backslash, which would join the next line. */

#include "base/text.h"
#include "unit/unit_int.h"

#include <ctype.h>
#include <string.h>

static bool
can_be_told(const char *text, enum unit_quote quote)
{
    size_t len = strlen(text);
    if (!text_is_utf8(text, len))
        return false;
    for (size_t i = 0; i < len; i++)
        if (iscntrl((unsigned char)text[i]))
            return false;
    return quote != UNIT_PLAIN || (len && text[0] != ' ' && !strchr(" \\", text[len - 1]));
}

/* Nothing in it means anything, in a word. */
static bool
is_tame(const char *text)
{
    return *text && text[strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                      "0123456789/._-+=:,@%")] == '\0';
}

bool
unit_escape(struct buf *out, const char *text, enum unit_quote quote, struct err *reterr)
{
    bool quoted = quote != UNIT_PLAIN && !is_tame(text);
    if (!can_be_told(text, quote)) {
        (void)err_set(reterr, ERR_UNIT_TEXT, "systemd cannot be told '%s'", text);
        err_fix(reterr, "use a path of ordinary characters");
        return false;
    }
    if (quoted)
        buf_add_char(out, '"');
    for (; *text; text++) {
        if (quoted && strchr("\"\\", *text))
            buf_add_char(out, '\\');
        else if (*text == '%' || (*text == '$' && quote == UNIT_ARGUMENT))
            buf_add_char(out, *text);
        buf_add_char(out, *text);
    }
    if (quoted)
        buf_add_char(out, '"');
    return true;
}
