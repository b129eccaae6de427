/* What is wrong with a text that libyaml will not read, in words for the person who wrote it. */
#include "fmt/yaml_int.h"

#include "base/text.h"
#include "fmt/yaml.h"

#include <stdio.h>
#include <string.h>
#include <yaml.h>

/* Where an error is told to be: where libyaml noticed, or where what it was reading began. */
enum where { AT_PROBLEM, AT_CONTEXT };

static const struct phrase {
    const char *problem; /* libyaml's words, and of the context its beginning; NULL: any */
    const char *context;
    enum where where;
    const char *what;
    const char *fix;
} phrases[] = {
    {"could not find expected ':'", NULL, AT_CONTEXT, "a key without a ':' behind it",
     "write 'key: value'; a list item begins with '- '"},
    {"found a tab character where an indentation space is expected", NULL, AT_PROBLEM,
     "a tab used as indentation", "indent with spaces"},
    {"found a tab character that violates indentation", NULL, AT_PROBLEM,
     "a tab used as indentation", "indent with spaces"},
    {"mapping keys are not allowed in this context", NULL, AT_PROBLEM, "a '?' that cannot be here",
     "put a value that begins with '? ' in quotes"},
    {"block sequence entries are not allowed in this context", NULL, AT_PROBLEM,
     "a '- ' that cannot be here", "begin the list on the line below its key"},
    {"did not find expected key", "while parsing a block mapping", AT_PROBLEM,
     "this does not line up with the keys before it",
     "give all keys of one map the same indentation"},
    {"did not find expected '-' indicator", NULL, AT_PROBLEM,
     "this does not line up with the list before it",
     "begin each item with '- ' at the same indentation"},
    {"did not find expected ',' or ']'", NULL, AT_PROBLEM, "a ',' or ']' is missing before this",
     NULL},
    {"did not find expected ',' or '}'", NULL, AT_PROBLEM, "a ',' or '}' is missing before this",
     NULL},
    {"found unexpected end of stream", "while scanning a quoted scalar", AT_CONTEXT,
     "this quote is never closed", "add the closing quote"},
    {"found unexpected document indicator", NULL, AT_CONTEXT, "this quote is never closed",
     "add the closing quote"},
    {"found unknown escape character", NULL, AT_PROBLEM, "an unknown escape after '\\'",
     "write '\\\\' for a backslash, or use single quotes"},
    {"did not find expected hexdecimal number", NULL, AT_PROBLEM,
     "an escape with too few hexadecimal digits", "write \\x41, \\u0041 or \\U00000041"},
    {"found invalid Unicode character escape code", NULL, AT_PROBLEM,
     "an escape that names no character", NULL},
    {"did not find expected alphabetic or numeric character", "while scanning an alias", AT_PROBLEM,
     "an alias (*) without a name", "put a value that begins with '*' in quotes"},
    {"did not find expected alphabetic or numeric character", NULL, AT_PROBLEM,
     "an anchor (&) without a name", "put a value that begins with '&' in quotes"},
    {"found undefined tag handle", NULL, AT_PROBLEM, "a tag that means nothing here",
     "put a value that begins with '!' in quotes"},
    {NULL, "while scanning a tag", AT_CONTEXT, "a tag that means nothing here",
     "put a value that begins with '!' in quotes"},
    {NULL, "while parsing a tag", AT_CONTEXT, "a tag that means nothing here",
     "put a value that begins with '!' in quotes"},
    {"did not find expected node content", NULL, AT_PROBLEM, "a value is missing here",
     "put a value that begins with a special character in quotes"},
    {"did not find expected <document start>", NULL, AT_PROBLEM,
     "text behind the end of the document", "take it out, or mend the indentation above it"},
    {"found an indentation indicator equal to 0", NULL, AT_PROBLEM,
     "a block text cannot be indented by 0", "write | or > alone"},
    {"did not find expected comment or line break", "while scanning a block scalar", AT_PROBLEM,
     "text behind | or >", "begin the text on the next line"},
    {"found incompatible YAML document", NULL, AT_PROBLEM, "a %YAML line with another version",
     "take the line out"},
    {NULL, "while scanning a directive", AT_CONTEXT, "a '%' at the beginning of a line",
     "put a value that begins with '%' in quotes"},
    {NULL, "while scanning a %", AT_CONTEXT, "a '%' line that cannot be read", "take the line out"},
    {"found duplicate %", NULL, AT_PROBLEM, "a second '%' line of the same kind", "take it out"},
};

static bool
fits(const char *said, const char *wanted)
{
    return !wanted || (said && text_starts(said, wanted));
}

static const struct phrase *
find_phrase(const yaml_parser_t *parser)
{
    for (size_t i = 0; i < ARRAY_SIZE(phrases); i++)
        if (fits(parser->problem, phrases[i].problem) && fits(parser->context, phrases[i].context))
            return &phrases[i];
    return NULL;
}

/* The text at a mark, which counts characters; the end of the text if it lies behind. */
static const char *
text_at(yaml_mark_t mark, const char *text, size_t len)
{
    size_t left = len;
    for (size_t i = 0; i < mark.index && left > 0; i++) {
        size_t step = text_utf8_step(text, left);
        text += step;
        left -= step;
    }
    return text;
}

/* A character that no value begins with; libyaml says the same of all of them. */
static void
translate_stray(char c, struct err *ret_err)
{
    if (c == '\t') {
        (void)err_set(ret_err, ERR_SYNTAX, "a tab used as indentation");
        err_fix(ret_err, "indent with spaces");
    } else {
        (void)err_set(ret_err, ERR_SYNTAX, "a value cannot begin with '%c'", c);
        err_fix(ret_err, "put it in quotes");
    }
}

/* A ':' behind something that cannot be a key. Mostly the reason stands before it: in the line
 * above, which was taken for the beginning of a text of two lines, or in its own line. */
static void
translate_colon(const char *text, const char *here, struct err *ret_err)
{
    const char *line = here;
    while (line > text && line[-1] != '\n')
        line--;
    const char *above = line > text ? line - 1 : text;
    while (above > text && above[-1] != '\n')
        above--;
    size_t len = (size_t)(line - above);
    const char *colon = memchr(above, ':', len);
    bool second = memmem(line, (size_t)(here - line), ": ", 2) != NULL;
    (void)err_set(ret_err, ERR_SYNTAX,
                  second ? "a second ':' in one line" : "a ':' that cannot be here");
    if (second)
        err_fix(ret_err, "put a value that holds ': ' in quotes, or begin a new line");
    else if (len > 1 && !colon)
        err_fix(ret_err, "write a ':' behind the key in the line above, or indent this line less");
    else if (colon && colon + 1 < line && !strchr(" \r\n", colon[1]))
        err_fix(ret_err, "put a space behind the ':' in the line above");
    else
        err_fix(ret_err,
                "indent the line as its neighbours are; put a value that holds ': ' in quotes");
}

/* A list or map in brackets that does not go on as it should: the place where it was opened helps,
 * and when the text ends there is no better place. */
static bool
translate_bracket(const yaml_parser_t *parser, bool at_end, struct err *ret_err)
{
    bool list = fits(parser->context, "while parsing a flow sequence");
    if (!list && !fits(parser->context, "while parsing a flow mapping"))
        return false;
    if (at_end) {
        (void)err_set(ret_err, ERR_SYNTAX, "this '%c' is never closed", list ? '[' : '{');
        err_fix(ret_err, "add the closing '%c'", list ? ']' : '}');
        return true;
    }
    (void)err_set(ret_err, ERR_SYNTAX,
                  "a ',' or '%c' is missing before this, in what '%c' opened in line %zu",
                  list ? ']' : '}', list ? '[' : '{', parser->context_mark.line + 1);
    err_fix(ret_err, "close the bracket, or put a value with ':', ',' or brackets in quotes");
    return true;
}

static struct value_at
place(yaml_mark_t mark)
{
    return (struct value_at){.line = (uint32_t)mark.line + 1, .column = (uint32_t)mark.column + 1};
}

struct value_at
yaml_translate(const struct yaml_parser_s *parser, const char *text, size_t len,
               struct err *ret_err)
{
    const struct phrase *phrase = find_phrase(parser);
    const char *here = text_at(parser->problem_mark, text, len);
    bool at_end = here >= text + len;
    if (parser->error == YAML_MEMORY_ERROR) {
        (void)err_set(ret_err, ERR_TOO_LARGE, "the document is nested too deep to be read");
        return place(parser->mark);
    }
    if (fits(parser->problem, "found character that cannot start any token") && !at_end) {
        translate_stray(*here, ret_err);
        return place(parser->problem_mark);
    }
    if (fits(parser->problem, "did not find expected key") && !at_end && *here == ':') {
        (void)err_set(ret_err, ERR_SYNTAX, "a ':' with no key before it");
        err_fix(ret_err, "write a name before the ':'");
        return place(parser->problem_mark);
    }
    if (fits(parser->problem, "mapping values are not allowed")) {
        translate_colon(text, here, ret_err);
        return place(parser->problem_mark);
    }
    if (fits(parser->problem, "did not find expected node content") && at_end) {
        (void)err_set(ret_err, ERR_SYNTAX, "the text ends inside a list or map in brackets");
        err_fix(ret_err, "close it with ']' or '}'");
        return place(parser->problem_mark);
    }
    if (translate_bracket(parser, at_end, ret_err))
        return place(at_end ? parser->context_mark : parser->problem_mark);
    if (!phrase) {
        (void)err_set(ret_err, ERR_SYNTAX, "this is not YAML: %s",
                      parser->problem ? parser->problem : "it cannot be read");
        return place(parser->problem_mark);
    }
    (void)err_set(ret_err, ERR_SYNTAX, "%s", phrase->what);
    if (phrase->fix)
        err_fix(ret_err, "%s", phrase->fix);
    return place(phrase->where == AT_CONTEXT ? parser->context_mark : parser->problem_mark);
}

const char *
yaml_forbidden(uint32_t code)
{
    if (code == '\n' || code == '\r' || code == '\t')
        return NULL;
    if (code == 0)
        return "a NUL byte; is this file really text?";
    if (code < 0x20 || (code >= 0x7F && code < 0xA0 && code != 0x85))
        return "a control character";
    if (code == 0x85 || code == 0x2028 || code == 0x2029)
        return "an invisible line separator, which not every program takes for a line end";
    if (code == 0xFEFF)
        return "an invisible byte order mark in the middle of the text";
    return code == 0xFFFE || code == 0xFFFF ? "a code that is no character" : NULL;
}

static int
check_start(const char *text, size_t len, struct err *reterr)
{
    if (len >= 4 &&
        (memcmp(text, "\xFF\xFE\0\0", 4) == 0 || memcmp(text, "\0\0\xFE\xFF", 4) == 0)) {
        int r = err_set(reterr, ERR_SYNTAX, "the text is UTF-32");
        err_fix(reterr, "save it as UTF-8");
        return r;
    }
    if (len >= 2 && (memcmp(text, "\xFF\xFE", 2) == 0 || memcmp(text, "\xFE\xFF", 2) == 0)) {
        int r = err_set(reterr, ERR_SYNTAX, "the text is UTF-16");
        err_fix(reterr, "save it as UTF-8");
        return r;
    }
    return 0;
}

int
yaml_check_text(const char **text, size_t *len, struct value_at *ret_at, struct err *reterr)
{
    struct value_at at = {1, 1};
    *ret_at = at;
    if (*len > YAML_BYTES_MAX)
        return err_set(reterr, ERR_TOO_LARGE, "the text is larger than 1 MiB");
    int r = check_start(*text, *len, reterr);
    if (r < 0)
        return r;
    if (*len >= 3 && memcmp(*text, "\xEF\xBB\xBF", 3) == 0) {
        *text += 3;
        *len -= 3;
    }
    const char *p = *text, *end = p + *len;
    while (p < end) {
        const char *from = p;
        uint32_t code = text_next_char(&p, end);
        bool none = code == TEXT_NO_CHAR && p - from == 1;
        const char *bad = none ? "a byte that is not UTF-8" : yaml_forbidden(code);
        if (bad) {
            *ret_at = at;
            return err_set(reterr, ERR_SYNTAX, "%s (0x%02X)", bad,
                           none ? (unsigned char)*from : code);
        }
        at.column++;
        if (code == '\n' || (code == '\r' && (p == end || *p != '\n')))
            at = (struct value_at){at.line + 1, 1};
    }
    return 0;
}
