#include "gateway/route.h"

#include "base/text.h"

#include <errno.h>
#include <stdio.h>

static const struct route routes[] = {
#define ROUTE(name_, method_, path_, dialect_, body_, answers_, streams_) \
    {                                                                     \
        .id = ROUTE_##name_,                                              \
        .method = HTTP_##method_,                                         \
        .path = path_,                                                    \
        .dialect = DIALECT_##dialect_,                                    \
        .body = ROUTE_BODY_##body_,                                       \
        .answers = ROUTE_BY_##answers_,                                   \
        .streams = ROUTE_##streams_,                                      \
    },
#define ROUTE_STREAM true
#define ROUTE_WHOLE false
#include "gateway/route.def"
#undef ROUTE_STREAM
#undef ROUTE_WHOLE
#undef ROUTE
};

const struct route *
route_row(enum route_id id)
{
    assert(id < ROUTE_COUNT);
    return &routes[id];
}

/* An id goes on to an engine as part of a path: letters that mean nothing there, and not the names
 * of directories, which a proxy on the way would resolve. */
static bool
is_id(const char *part, size_t len)
{
    if (len == 0 || (part[0] == '.' && (len == 1 || (len == 2 && part[1] == '.'))))
        return false;
    for (size_t i = 0; i < len; i++) {
        char c = part[i], small = (char)(c | 0x20);
        if (!(small >= 'a' && small <= 'z') && !(c >= '0' && c <= '9') && !(c && strchr("-_.:", c)))
            return false;
    }
    return true;
}

/* Whether the path is that of a row; the part that may differ is told. */
static bool
matches(const struct route *route, const char *path, size_t len, struct route_found *found)
{
    size_t before = 0;
    while (before < len && path[before] == route->path[before] && path[before] != '{')
        before++;
    const char *brace = route->path + before;
    *found = (struct route_found){.route = route};
    if (*brace != '{')
        return *brace == '\0' && len == before;
    const char *after = strchr(brace, '}') + 1;
    size_t rest = strlen(after);
    if (len <= before + rest || memcmp(path + len - rest, after, rest) != 0)
        return false;
    found->part = path + before;
    found->part_len = len - before - rest;
    return text_starts(brace, "{name}") || is_id(found->part, found->part_len);
}

static const char *
path_at(size_t i, const void *arg unused_arg)
{
    return i < ARRAY_SIZE(routes) ? routes[i].path : NULL;
}

/* As much of a path as a sentence has room for. */
#define SHOWN_MAX 128

static int
refuse_path(const char *path, size_t len, struct err *reterr)
{
    char shown[SHOWN_MAX];
    int wanted = snprintf(shown, sizeof(shown), "%.*s", (int)MIN(len, sizeof(shown)), path);
    text_make_safe(shown, sizeof(shown), wanted);
    int r = err_set(reterr, ERR_NO_PATH, "there is no path '%s' here", shown);
    err_fix_nearest(reterr, shown, path_at, NULL,
                    "an OpenAI client's base URL ends with /v1 and nothing more");
    return r;
}

int
route_find(enum http_method method, const char *path, size_t len, struct route_found *ret_found,
           struct err *reterr)
{
    const struct route *other = NULL;
    enum http_method wanted = method == HTTP_HEAD ? HTTP_GET : method;
    for (size_t i = 0; i < ARRAY_SIZE(routes); i++) {
        if (!matches(&routes[i], path, len, ret_found))
            continue;
        if (routes[i].method == wanted)
            return 0;
        other = &routes[i];
    }
    if (!other)
        return refuse_path(path, len, reterr);
    char allow[ROUTE_ALLOW_MAX];
    const char *name = http_method_name(method);
    int r = err_set(reterr, ERR_NO_METHOD, "%s is not asked with %s", other->path,
                    name ? name : "that method");
    err_fix(reterr, "use %s", route_allow(path, len, allow));
    return r;
}

const char *
route_allow(const char *path, size_t len, char text[ROUTE_ALLOW_MAX])
{
    struct route_found found;
    size_t at = 0;
    text[0] = '\0';
    for (size_t i = 0; i < ARRAY_SIZE(routes); i++) {
        if (!matches(&routes[i], path, len, &found))
            continue;
        int n = snprintf(text + at, ROUTE_ALLOW_MAX - at, "%s%s%s", at ? ", " : "",
                         http_method_name(routes[i].method),
                         routes[i].method == HTTP_GET ? ", HEAD" : "");
        assert(n > 0 && (size_t)n < ROUTE_ALLOW_MAX - at);
        at += (size_t)n;
    }
    return text;
}

enum dialect
route_dialect(const char *path, size_t len)
{
    static const struct {
        const char *start;
        enum dialect dialect;
    } families[] = {
        {"/v1/messages", DIALECT_MESSAGES},
        {"/v1/responses", DIALECT_RESPONSES},
    };
    for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
        size_t start = strlen(families[i].start);
        if (len >= start && memcmp(path, families[i].start, start) == 0 &&
            (len == start || path[start] == '/'))
            return families[i].dialect;
    }
    return DIALECT_OPENAI;
}

static int
hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int
route_decode(const struct route_found *found, char *to, size_t size)
{
    const char *at = found->part, *end = at + found->part_len;
    size_t n = 0;
    for (; at < end; n++) {
        int high = -1, low = -1;
        if (n + 1 >= size)
            return -EMSGSIZE;
        if (*at != '%') {
            to[n] = *at++;
            continue;
        }
        if (end - at >= 3) {
            high = hex_digit(at[1]);
            low = hex_digit(at[2]);
        }
        if (high < 0 || low < 0)
            return -EBADMSG;
        to[n] = (char)(high << 4 | low);
        at += 3;
    }
    to[n] = '\0';
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)to[i] < 0x20 || to[i] == 0x7F)
            return -EBADMSG;
    return text_is_utf8(to, n) ? 0 : -EBADMSG;
}

bool
route_generates(const struct route *route)
{
    return route->id == ROUTE_CHAT || route->id == ROUTE_COMPLETIONS ||
           route->id == ROUTE_RESPONSES || route->id == ROUTE_MESSAGES;
}
