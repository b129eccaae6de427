#include "sim/form.h"

#include "base/text.h"

#include <stdio.h>
#include <string.h>

/* ---- the boundary ---- */

static bool
is_boundary_char(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c && strchr("'()+_,-./:=?", c));
}

/* Behind "boundary=" among the parameters; NULL: it is not there. */
static const char *
find_boundary(const char *type, const char *end)
{
    static const char name[] = "boundary=";
    const size_t len = sizeof(name) - 1;
    for (const char *at = type; (at = memchr(at, ';', (size_t)(end - at)));) {
        while (at < end && (*at == ';' || *at == ' '))
            at++;
        if ((size_t)(end - at) >= len && strncasecmp(at, name, len) == 0)
            return at + len;
    }
    return NULL;
}

bool
form_boundary(const char *type, size_t len, char boundary[FORM_BOUNDARY_MAX + 1])
{
    static const char kind[] = "multipart/form-data";
    const char *end = type + len;
    size_t n = 0;
    if (len < sizeof(kind) - 1 || strncasecmp(type, kind, sizeof(kind) - 1) != 0)
        return false;
    const char *at = find_boundary(type, end);
    if (!at)
        return false;
    bool quoted = at < end && *at == '"';
    for (at += quoted; at < end && n < FORM_BOUNDARY_MAX && is_boundary_char(*at); at++)
        boundary[n++] = *at;
    boundary[n] = '\0';
    bool ended = quoted ? at < end && *at == '"' : at == end || *at == ';' || *at == ' ';
    return n > 0 && ended;
}

/* ---- parts ---- */

struct reader {
    const char *at, *end;
    char mark[FORM_BOUNDARY_MAX + 5]; /* "\r\n--boundary" */
    size_t mark_len;
    struct arena *arena;
    struct err *reterr;
};

static int
refuse(struct reader *r, const char *why)
{
    return err_set(r->reterr, ERR_SYNTAX, "the form is malformed: %s", why);
}

/* name="..." among the parameters of a field; NULL: there is none. */
static const char *
take_param(struct reader *r, const char *line, size_t len, const char *name)
{
    size_t name_len = strlen(name);
    for (const char *p = line; p + name_len + 2 < line + len; p++) {
        if (*p == '"' && !(p = memchr(p + 1, '"', (size_t)(line + len - p - 1))))
            break;
        if (p[-1] != ' ' && p[-1] != ';')
            continue;
        if (memcmp(p, name, name_len) != 0 || p[name_len] != '=' || p[name_len + 1] != '"')
            continue;
        const char *from = p + name_len + 2;
        const char *to = memchr(from, '"', (size_t)(line + len - from));
        return to ? arena_strndup(r->arena, from, (size_t)(to - from)) : NULL;
    }
    return NULL;
}

/* The fields of a part's head, up to the empty line. */
static int
read_head(struct reader *r, struct form_part *part)
{
    static const char wanted[] = "Content-Disposition:";
    for (;;) {
        const char *stop = memmem(r->at, (size_t)(r->end - r->at), "\r\n", 2);
        if (!stop)
            return refuse(r, "the head of a part has no end");
        size_t len = (size_t)(stop - r->at);
        if (len >= sizeof(wanted) && strncasecmp(r->at, wanted, sizeof(wanted) - 1) == 0) {
            size_t skip = sizeof(wanted) - 1;
            part->name = take_param(r, r->at + skip, len - skip, "name");
            part->file = take_param(r, r->at + skip, len - skip, "filename");
        }
        r->at = stop + 2;
        if (len == 0)
            return part->name ? 0 : refuse(r, "a part has no name");
    }
}

static int
read_part(struct reader *r, struct form_part *part)
{
    int n = read_head(r, part);
    if (n < 0)
        return n;
    const char *stop = memmem(r->at, (size_t)(r->end - r->at), r->mark, r->mark_len);
    if (!stop)
        return refuse(r, "a part is not ended by its boundary");
    part->bytes = r->at;
    part->len = (size_t)(stop - r->at);
    r->at = stop + r->mark_len;
    return 0;
}

static bool
take(struct reader *r, const char *text)
{
    size_t len = strlen(text);
    if ((size_t)(r->end - r->at) < len || memcmp(r->at, text, len) != 0)
        return false;
    r->at += len;
    return true;
}

int
form_parse(struct form *form, struct arena *arena, const char *body, size_t len,
           const char *boundary, struct err *reterr)
{
    struct reader r = {.at = body, .end = body + len, .arena = arena, .reterr = reterr};
    r.mark_len = (size_t)snprintf(r.mark, sizeof(r.mark), "\r\n--%s", boundary);
    form->count = 0;
    if (!take(&r, r.mark + 2))
        return refuse(&r, "it does not begin with its boundary");
    while (!take(&r, "--")) {
        if (!take(&r, "\r\n"))
            return refuse(&r, "a boundary is followed by something else");
        if (form->count == FORM_PARTS_MAX)
            return refuse(&r, "it has too many parts");
        form->parts[form->count] = (struct form_part){0};
        int n = read_part(&r, &form->parts[form->count]);
        if (n < 0)
            return n;
        form->count++;
    }
    return 0;
}
