#include "backup/s3_xml.h"

#include "base/buf.h"
#include "base/text.h"

#include <errno.h>
#include <string.h>

#define PATH_TEXT_MAX 512
#define ENTITY_MAX 10

struct reader {
    const char *at, *end;
    struct buf path, text;
    size_t depth;
    bool is_over; /* the one element that it is */
    s3_xml_each *each;
    void *arg;
    const char *why; /* it is no such document */
};

static int
bad(struct reader *r, const char *why)
{
    r->why = why;
    return -EBADMSG;
}

static bool
begins(const struct reader *r, const char *word)
{
    size_t len = strlen(word);
    return (size_t)(r->end - r->at) >= len && memcmp(r->at, word, len) == 0;
}

/* Behind the next `word`; false: there is none. */
static bool
pass(struct reader *r, const char *word)
{
    const char *found = memmem(r->at, (size_t)(r->end - r->at), word, strlen(word));
    if (found)
        r->at = found + strlen(word);
    return found;
}

static bool
is_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.' || (unsigned char)c >= 0x80;
}

/* Without its prefix. */
static struct reader
take_name(struct reader *r)
{
    struct reader name = {.at = r->at};
    for (; r->at < r->end && (is_name(*r->at) || *r->at == ':'); r->at++)
        if (*r->at == ':')
            name.at = r->at + 1;
    name.end = r->at;
    return name;
}

/* ---- text ---- */

static uint32_t
number_of(const char *from, size_t len)
{
    uint32_t base = len > 0 && from[0] == 'x' ? 16 : 10, n = 0;
    size_t i = base == 16;
    if (i == len)
        return UINT32_MAX;
    for (; i < len; i++) {
        unsigned char c = (unsigned char)from[i];
        uint32_t digit = c >= '0' && c <= '9'   ? c - (uint32_t)'0'
                         : c >= 'a' && c <= 'f' ? c - (uint32_t)'a' + 10
                         : c >= 'A' && c <= 'F' ? c - (uint32_t)'A' + 10
                                                : UINT32_MAX;
        if (digit >= base)
            return UINT32_MAX;
        n = n * base +
            digit; /* no overflow: ENTITY_MAX digits are looked at, and 0x10FFFF is asked below */
        if (n > 0x10FFFF)
            return UINT32_MAX;
    }
    return n;
}

static int
take_entity(struct reader *r)
{
    static const struct {
        const char *name;
        char c;
    } known[] = {{"amp", '&'}, {"lt", '<'}, {"gt", '>'}, {"quot", '"'}, {"apos", '\''}};
    const char *from = r->at + 1;
    const char *semicolon = memchr(from, ';', MIN((size_t)(r->end - from), (size_t)ENTITY_MAX));
    size_t len = semicolon ? (size_t)(semicolon - from) : 0;
    if (len == 0)
        return bad(r, "an '&' begins no entity");
    r->at = semicolon + 1;
    for (size_t i = 0; i < ARRAY_SIZE(known); i++)
        if (strlen(known[i].name) == len && memcmp(known[i].name, from, len) == 0) {
            buf_add_char(&r->text, known[i].c);
            return 0;
        }
    uint32_t c = from[0] == '#' ? number_of(from + 1, len - 1) : UINT32_MAX;
    if (c == 0 || c == UINT32_MAX || (c >= 0xD800 && c <= 0xDFFF))
        return bad(r, "an entity is none that is known");
    char bytes[4];
    buf_add(&r->text, bytes, (size_t)(text_put_char(bytes, c) - bytes));
    return 0;
}

static int
take_text(struct reader *r)
{
    int k = 0;
    while (r->at < r->end && *r->at != '<' && k == 0)
        if (*r->at == '&')
            k = take_entity(r);
        else if (*r->at == '\0')
            k = bad(r, "there is a zero in it");
        else
            buf_add_char(&r->text, *r->at++);
    return k == 0 && buf_error(&r->text) < 0 ? bad(r, "the text of an element is too long") : k;
}

/* ---- elements ---- */

static int
open_element(struct reader *r, const struct reader *name)
{
    if (r->depth == S3_XML_DEPTH_MAX)
        return bad(r, "elements are too deep");
    buf_printf(&r->path, "%s%.*s", r->depth > 0 ? "/" : "", (int)(name->end - name->at), name->at);
    r->depth++;
    buf_clear(&r->text);
    return buf_error(&r->path) < 0 ? bad(r, "the names of elements are too long") : 0;
}

static int
close_element(struct reader *r)
{
    int k = r->each(r->arg, r->path.data, r->text.data);
    const char *slash = strrchr(r->path.data, '/');
    buf_truncate(&r->path, slash ? (size_t)(slash - r->path.data) : 0);
    buf_clear(&r->text);
    r->is_over = --r->depth == 0;
    return MIN(k, 0);
}

static int
take_end(struct reader *r)
{
    r->at += 2;
    struct reader name = take_name(r);
    const char *slash = strrchr(r->path.data, '/');
    const char *open = slash ? slash + 1 : r->path.data;
    size_t len = (size_t)(name.end - name.at);
    if (r->depth == 0 || strlen(open) != len || memcmp(open, name.at, len) != 0)
        return bad(r, "an element ends that did not begin");
    return pass(r, ">") ? close_element(r) : bad(r, "it breaks off");
}

/* Behind its '>', which in an attribute is none; *ret_empty: "/>". */
static int
pass_attributes(struct reader *r, bool *ret_empty)
{
    char quote = '\0';
    for (; r->at < r->end && (quote || *r->at != '>'); r->at++)
        if (quote ? *r->at == quote : *r->at == '"' || *r->at == '\'')
            quote = quote ? '\0' : *r->at;
        else if (!quote && *r->at == '<')
            return bad(r, "an element is not closed");
    if (r->at == r->end)
        return bad(r, "it breaks off");
    *ret_empty = r->at[-1] == '/';
    r->at++;
    return 0;
}

static int
take_begin(struct reader *r)
{
    bool is_empty = false;
    r->at++;
    struct reader name = take_name(r);
    if (name.at == name.end)
        return bad(r, "an element has no name");
    if (r->is_over)
        return bad(r, "it has more than one element");
    int k = open_element(r, &name);
    if (k == 0)
        k = pass_attributes(r, &is_empty);
    return k == 0 && is_empty ? close_element(r) : k;
}

static int
take_tag(struct reader *r)
{
    if (begins(r, "<?"))
        return pass(r, "?>") ? 0 : bad(r, "it breaks off");
    if (begins(r, "<!--"))
        return pass(r, "-->") ? 0 : bad(r, "it breaks off");
    if (begins(r, "<!"))
        return bad(r, "it has declarations of its own");
    return begins(r, "</") ? take_end(r) : take_begin(r);
}

static int
read_all(struct reader *r)
{
    int k = 0;
    while (r->at < r->end && k == 0)
        if (*r->at == '<')
            k = take_tag(r);
        else if (r->depth > 0)
            k = take_text(r);
        else
            k = strchr(" \t\r\n", *r->at++) ? 0 : bad(r, "there is text around its element");
    return k == 0 && !r->is_over ? bad(r, "it breaks off") : k;
}

int
s3_xml_read(const char *text, size_t len, s3_xml_each *each, void *arg, struct err *reterr)
{
    struct reader r = {.at = text, .end = text + len, .each = each, .arg = arg};
    buf_init(&r.path, PATH_TEXT_MAX);
    buf_init(&r.text, S3_XML_TEXT_MAX);
    int k = read_all(&r);
    if (r.why)
        (void)err_set(reterr, ERR_REMOTE_REFUSED, "an answer is not the XML of S3: %s", r.why);
    buf_finish(&r.path);
    buf_finish(&r.text);
    return k;
}
