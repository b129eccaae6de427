#include "gateway/multipart.h"

#include <stdio.h>
#include <string.h>

enum {
    PREAMBLE, /* before the first boundary */
    AFTER,    /* behind a boundary */
    AFTER_DASH,
    AFTER_BLANK,
    AFTER_CR,
    HEAD,
    VALUE,
    EPILOGUE, /* behind the last boundary: nothing that counts */
};

static const char *const field_names[] = {
    [MULTIPART_MODEL] = "model",
    [MULTIPART_STREAM] = "stream",
    [MULTIPART_STREAM_INCLUDE_USAGE] = "stream_include_usage",
};

#define NAME_MAX_BYTES 64 /* of a field or parameter that matters */

/* ---- the value of a header field: words and quoted texts ---- */

struct words {
    const char *at, *end;
};

static bool
is_token_char(char c)
{
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') ||
           (c && strchr("!#$%&'*+-.^_`|~", c));
}

static void
skip_blanks(struct words *w)
{
    while (w->at < w->end && (*w->at == ' ' || *w->at == '\t'))
        w->at++;
}

static bool
take(struct words *w, char c)
{
    bool there = w->at < w->end && *w->at == c;
    w->at += there;
    return there;
}

/* What is longer than its room is cut: it is none of what is looked for, which all fit. */
static void
put(char *to, size_t size, size_t *n, char c)
{
    if (*n + 1 < size)
        to[(*n)++] = c;
}

static bool
take_token(struct words *w, char *to, size_t size)
{
    size_t n = 0;
    const char *from = w->at;
    for (; w->at < w->end && is_token_char(*w->at); w->at++)
        put(to, size, &n, *w->at);
    to[n] = '\0';
    return w->at > from;
}

static bool
take_quoted(struct words *w, char *to, size_t size)
{
    size_t n = 0;
    for (; w->at < w->end && *w->at != '"'; w->at++) {
        if ((unsigned char)*w->at < ' ')
            return false;
        if (*w->at == '\\' && (++w->at == w->end || (*w->at != '"' && *w->at != '\\')))
            return false;
        put(to, size, &n, *w->at);
    }
    to[n] = '\0';
    return take(w, '"');
}

/* "; name=value". 1: here is one; 0: there is none any more; -1: something else is there. */
static int
take_param(struct words *w, char *name, size_t name_size, char *value, size_t size)
{
    skip_blanks(w);
    if (!take(w, ';'))
        return w->at == w->end ? 0 : -1;
    skip_blanks(w);
    if (w->at == w->end)
        return 0;
    if (!take_token(w, name, name_size) || !take(w, '='))
        return -1;
    bool good = take(w, '"') ? take_quoted(w, value, size) : take_token(w, value, size);
    return good ? 1 : -1;
}

static bool
is_word(struct words *w, const char *word)
{
    char found[NAME_MAX_BYTES];
    return take_token(w, found, sizeof(found)) && strcasecmp(found, word) == 0;
}

/* ---- the boundary ---- */

static bool
is_boundary(const char *text)
{
    size_t len = strlen(text);
    for (const char *c = text; *c; c++)
        if (!((*c >= '0' && *c <= '9') || ((*c | 0x20) >= 'a' && (*c | 0x20) <= 'z') ||
              strchr("'()+_,-./:=? ", *c)))
            return false;
    return len > 0 && len <= MULTIPART_BOUNDARY_MAX && text[len - 1] != ' ';
}

int
multipart_init(struct multipart *m, const char *type, size_t len, struct err *reterr)
{
    struct words w = {type, type + len};
    char name[NAME_MAX_BYTES], value[MULTIPART_BOUNDARY_MAX + 2], boundary[sizeof(value)] = "";
    unsigned boundaries = 0;
    /* boundary*=, or another charset: an engine may read another form then. */
    bool is_other = false;
    int got;
    skip_blanks(&w);
    if (!is_word(&w, "multipart") || !take(&w, '/') || !is_word(&w, "form-data"))
        return err_set(reterr, ERR_SYNTAX, "Content-Type is '%.*s', expected multipart/form-data",
                       (int)MIN(len, (size_t)80), type);
    while ((got = take_param(&w, name, sizeof(name), value, sizeof(value))) > 0) {
        if (strcasecmp(name, "boundary") == 0) {
            boundaries++;
            memcpy(boundary, value, sizeof(boundary));
        } else if (strcasecmp(name, "charset") != 0 || strcasecmp(value, "utf-8") != 0) {
            is_other = true;
        }
    }
    if (got < 0 || is_other || boundaries != 1 || !is_boundary(boundary))
        return err_set(reterr, ERR_SYNTAX,
                       "Content-Type is '%.*s', expected one boundary of 1 to %d characters, and "
                       "nothing but charset=utf-8 beside it",
                       (int)MIN(len, (size_t)160), type, MULTIPART_BOUNDARY_MAX);
    memset(m, 0, offsetof(struct multipart, head));
    int n = snprintf(m->mark, sizeof(m->mark), "\r\n--%s", boundary);
    assert(n > 0 && (size_t)n < sizeof(m->mark));
    m->mark_len = (size_t)n;
    m->field = MULTIPART_OTHER;
    m->matched = m->lead = 2; /* a form may begin with its boundary */
    return 0;
}

/* ---- the head of a part ---- */

static int
refuse(const struct multipart *m, size_t at, const char *why, struct err *reterr)
{
    return err_set(reterr, ERR_SYNTAX, "at byte %zu of the form: %s", m->bytes + at, why);
}

struct head {
    bool has_disposition, has_name, is_file, is_encoded;
    char name[NAME_MAX_BYTES];
};

/* form-data; name="model"; NULL, or why not. */
static const char *
read_disposition(struct head *head, const char *value, const char *end)
{
    struct words w = {value, end};
    char name[NAME_MAX_BYTES], text[NAME_MAX_BYTES];
    int got;
    if (head->has_disposition)
        return "a part has two dispositions";
    head->has_disposition = true;
    skip_blanks(&w);
    if (!is_word(&w, "form-data"))
        return "the disposition of a part is not form-data";
    while ((got = take_param(&w, name, sizeof(name), text, sizeof(text))) > 0) {
        bool is_name = strcasecmp(name, "name") == 0;
        if (strncasecmp(name, "name*", 5) == 0 || (is_name && head->has_name))
            return "a part has no plain name, or two";
        if (strncasecmp(name, "filename", strlen("filename")) == 0)
            head->is_file = true;
        if (!is_name)
            continue;
        head->has_name = true;
        memcpy(head->name, text, sizeof(text));
    }
    return got < 0 ? "the disposition of a part is malformed" : NULL;
}

/* Clients that write a part as mail has it say so where nothing is encoded. */
static bool
is_plain(const char *value, const char *end)
{
    static const char *const words[] = {"7bit", "8bit", "binary"};
    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        struct words w = {value, end};
        skip_blanks(&w);
        bool is_this = is_word(&w, words[i]);
        skip_blanks(&w);
        if (is_this && w.at == end)
            return true;
    }
    return false;
}

static const char *
read_line(struct head *head, const char *line, const char *end)
{
    struct words w = {line, end};
    char name[NAME_MAX_BYTES];
    if (!take_token(&w, name, sizeof(name)) || !take(&w, ':'))
        return "a line in the head of a part has no name";
    if (strcasecmp(name, "content-transfer-encoding") == 0)
        head->is_encoded = head->is_encoded || !is_plain(w.at, end);
    return strcasecmp(name, "content-disposition") == 0 ? read_disposition(head, w.at, end) : NULL;
}

/* Which field it is, once the empty line behind its head was read. */
static int
begin_value(struct multipart *m, const struct head *head, size_t at, struct err *reterr)
{
    const char *why = NULL;
    if (!head->has_name)
        return refuse(m, at, "a part has no name", reterr);
    unsigned i = 0;
    while (i < MULTIPART_FIELD_COUNT && strcmp(field_names[i], head->name) != 0)
        i++;
    m->field = (enum multipart_field)i;
    if (m->field == MULTIPART_OTHER)
        return 0;
    if (head->is_file || head->is_encoded)
        why = "is a file, or has a transfer encoding";
    else if (m->fields[i].there)
        why = "is there twice";
    m->fields[i].there = true;
    return why ? err_set(reterr, ERR_SYNTAX, "at byte %zu of the form: the field '%s' %s",
                         m->bytes + at, field_names[i], why)
               : 0;
}

static int
read_head(struct multipart *m, size_t at, struct err *reterr)
{
    struct head head = {0};
    const char *line = m->head, *end = m->head + m->head_len - 2, *why = NULL;
    while (line < end && !why) {
        const char *stop = memchr(line, '\r', (size_t)(end - line));
        assert(stop);
        why = read_line(&head, line, stop);
        line = stop + 2;
    }
    int r = why ? refuse(m, at, why, reterr) : begin_value(m, &head, at, reterr);
    if (r < 0)
        return r;
    m->state = VALUE;
    m->matched = m->lead = 2; /* a boundary here would have no value before it */
    if (m->field != MULTIPART_OTHER)
        m->fields[m->field].at = m->bytes + at;
    return 0;
}

/* Up to the empty line; *at moves. */
static int
take_head(struct multipart *m, const char *bytes, size_t len, size_t *at, struct err *reterr)
{
    while (*at < len) {
        if (m->head_len == sizeof(m->head))
            return refuse(m, *at, "the head of a part is too long", reterr);
        char c = bytes[(*at)++];
        bool after_cr = m->head_len > 0 && m->head[m->head_len - 1] == '\r';
        m->head[m->head_len++] = c;
        if (after_cr != (c == '\n') || c == '\0')
            return refuse(m, *at - 1, "a line in the head of a part does not end with CR LF",
                          reterr);
        if (c == '\n' &&
            (m->head_len == 2 || (m->head_len >= 4 && m->head[m->head_len - 3] == '\n')))
            return read_head(m, *at, reterr);
    }
    return 0;
}

/* ---- up to a boundary ---- */

/* A field that is too long grows no further; where it ends it is refused. */
static void
take_value(struct multipart *m, const char *bytes, size_t len)
{
    if (m->state != VALUE || m->field == MULTIPART_OTHER)
        return;
    struct multipart_value *v = &m->fields[m->field];
    size_t room = v->len < MULTIPART_TEXT_MAX ? MULTIPART_TEXT_MAX - v->len : 0;
    memcpy(v->text + MIN(v->len, (size_t)MULTIPART_TEXT_MAX), bytes, MIN(len, room));
    v->len += len;
}

/* A CR is only at the beginning of the mark: what does not go on like it
 * begins anew at that byte. */
static size_t
seek_mark(struct multipart *m, const char *bytes, size_t at, size_t len)
{
    while (at < len && m->matched < m->mark_len) {
        if (m->matched == 0) {
            const char *cr = memchr(bytes + at, '\r', len - at);
            size_t stop = cr ? (size_t)(cr - bytes) : len;
            take_value(m, bytes + at, stop - at);
            at = stop;
            m->matched = cr != NULL;
            at += m->matched;
        } else if (bytes[at] == m->mark[m->matched]) {
            m->matched++;
            at++;
        } else {
            take_value(m, m->mark + m->lead, m->matched - m->lead);
            m->matched = m->lead = 0;
        }
    }
    return at;
}

static int
end_value(struct multipart *m, size_t at, struct err *reterr)
{
    const struct multipart_value *v = &m->fields[m->field];
    if (m->lead)
        return refuse(m, at, "a part has a head and no body", reterr);
    if (m->field == MULTIPART_OTHER)
        return 0;
    if (v->len > MULTIPART_TEXT_MAX || strlen(v->text) != v->len || strpbrk(v->text, "\r\n"))
        return err_set(reterr, ERR_MEMBER,
                       "the field '%s' is '%.40s', expected a line of %d bytes at most",
                       field_names[m->field], v->text, MULTIPART_TEXT_MAX);
    return 0;
}

static int
take_until_mark(struct multipart *m, const char *bytes, size_t len, size_t *at, struct err *reterr)
{
    int r = 0;
    *at = seek_mark(m, bytes, *at, len);
    if (m->matched < m->mark_len)
        return 0;
    if (m->state == VALUE)
        r = end_value(m, *at, reterr);
    else
        m->first = m->bytes + *at + 2 - m->mark_len;
    m->field = MULTIPART_OTHER;
    m->matched = m->lead = 0;
    m->state = AFTER;
    return r;
}

/* The byte behind a boundary, or behind what may follow one. */
static int
take_after(struct multipart *m, char c, size_t at, struct err *reterr)
{
    int state = m->state, next = -1;
    if (state == AFTER && c == '-')
        next = AFTER_DASH;
    else if (state == AFTER_DASH && c == '-')
        next = EPILOGUE;
    else if ((state == AFTER || state == AFTER_BLANK) && (c == ' ' || c == '\t'))
        next = AFTER_BLANK;
    else if ((state == AFTER || state == AFTER_BLANK) && c == '\r')
        next = AFTER_CR;
    else if (state == AFTER_CR && c == '\n')
        next = HEAD;
    if (next < 0)
        return refuse(m, at, "a line begins like the boundary and goes on", reterr);
    m->state = (uint8_t)next;
    m->head_len = 0;
    if (next == HEAD && ++m->parts > MULTIPART_PARTS_MAX)
        return refuse(m, at, "there are too many parts", reterr);
    return 0;
}

int
multipart_read(struct multipart *m, const char *bytes, size_t len, struct err *reterr)
{
    int r = 0;
    for (size_t at = 0; at < len && r == 0 && m->state != EPILOGUE;) {
        if (m->state == PREAMBLE || m->state == VALUE)
            r = take_until_mark(m, bytes, len, &at, reterr);
        else if (m->state == HEAD)
            r = take_head(m, bytes, len, &at, reterr);
        else {
            r = take_after(m, bytes[at], at, reterr);
            at++;
        }
    }
    m->bytes += len;
    return r;
}

int
multipart_end(const struct multipart *m, struct err *reterr)
{
    return m->state == EPILOGUE
               ? 0
               : refuse(m, 0, "it ends before the boundary that would end it", reterr);
}
