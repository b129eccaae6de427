/* What a whole head means: is its target one, whose host is it, how does the body end, does the
 * connection go on.
 *
 * Choices where the RFCs leave one:
 *   - Content-Length is one number without leading zeros; even equal repetitions are refused;
 *   - Transfer-Encoding is `chunked` and nothing else, in any case of letters;
 *   - 1xx and 204 may say `Content-Length: 0`, as many servers do, and nothing else about a body;
 *   - a path keeps to RFC 3986; a query may hold what browsers send in one: [ ] \ ^ ` { | }
 *   - dots in a path are the caller's matter: nothing here is decoded;
 *   - a host is made of unreserved characters, or an IPv6 address in brackets; a port has digits;
 *   - an absolute target must name the same host as Host. */

#include "http/http1_int.h"

#include <strings.h>

static bool
is_word(const struct http1_head *h, struct http1_slice s, const char *word)
{
    return strlen(word) == s.len && strncasecmp(h->bytes + s.at, word, s.len) == 0;
}

static struct http1_slice
cut(struct http1_slice s, uint32_t from)
{
    return (struct http1_slice){s.at + from, s.len - from};
}

static uint32_t
find_byte(const struct http1_head *h, struct http1_slice s, char c)
{
    const char *from = h->bytes + s.at;
    const char *found = memchr(from, c, s.len);
    return found ? (uint32_t)(found - from) : s.len;
}

/* Hosts */

static bool
is_port(const char *text, uint32_t len)
{
    unsigned port = 0;
    for (uint32_t i = 0; i < len; i++) {
        if (!http1_is_digit(text[i]))
            return false;
        port = port * 10 + (unsigned)(text[i] - '0');
    }
    return len >= 1 && len <= 5 && port <= 65535;
}

/* [address], loosely: hexadecimal digits, colons and dots. Returns its length, 0 if it is none. */
static uint32_t
bracketed_len(const char *text, uint32_t len)
{
    for (uint32_t i = 1; i < len; i++) {
        if (text[i] == ']')
            return i > 2 ? i + 1 : 0;
        if (!http1_in_class(text[i], HTTP1_HEX) && text[i] != ':' && text[i] != '.')
            return 0;
    }
    return 0;
}

static uint32_t
name_len(const char *text, uint32_t len)
{
    uint32_t at = 0;
    while (at < len && http1_in_class(text[at], HTTP1_HOSTNAME))
        at++;
    return at <= 255 ? at : 0;
}

static bool
is_host(const struct http1_head *h, struct http1_slice s, bool needs_port)
{
    const char *text = h->bytes + s.at;
    uint32_t host = s.len && text[0] == '[' ? bracketed_len(text, s.len) : name_len(text, s.len);
    if (host == 0)
        return false;
    if (host == s.len)
        return !needs_port;
    return text[host] == ':' && is_port(text + host + 1, s.len - host - 1);
}

static enum http1_reason
check_host(struct http1_head *h)
{
    const struct http1_field *host = http1_find(h, HTTP_FIELD_HOST);
    if (!host)
        return h->minor >= 1 ? HTTP1_HOST_MISSING : HTTP1_NONE;
    if (!is_host(h, host->value, false))
        return HTTP1_HOST_INVALID;
    if (h->host.len == 0) {
        h->host = host->value;
        return HTTP1_NONE;
    }
    bool same = h->host.len == host->value.len &&
                strncasecmp(h->bytes + h->host.at, h->bytes + host->value.at, h->host.len) == 0;
    return same ? HTTP1_NONE : HTTP1_HOST_MISMATCH;
}

/* Targets */

static enum http1_reason
check_escapes(const struct http1_head *h, struct http1_slice s)
{
    for (;;) {
        s = cut(s, find_byte(h, s, '%'));
        if (s.len == 0)
            return HTTP1_NONE;
        const char *text = h->bytes + s.at;
        if (s.len < 3 || !http1_in_class(text[1], HTTP1_HEX) || !http1_in_class(text[2], HTTP1_HEX))
            return HTTP1_TARGET_ESCAPE;
        s = cut(s, 3);
    }
}

/* From the path on; the bytes are of class HTTP1_TARGET already. */
static enum http1_reason
check_path(struct http1_head *h, struct http1_slice s)
{
    uint32_t end = find_byte(h, s, '?');
    h->path = (struct http1_slice){s.at, end};
    if (end < s.len)
        h->query = cut(s, end + 1);
    for (uint32_t i = 0; i < end; i++)
        if (!http1_in_class(h->bytes[s.at + i], HTTP1_PATH))
            return HTTP1_TARGET_BYTE;
    return check_escapes(h, s);
}

static enum http1_reason
check_absolute(struct http1_head *h)
{
    const char *text = h->bytes + h->target.at;
    bool plain = h->target.len > 7 && strncasecmp(text, "http://", 7) == 0;
    bool tls = h->target.len > 8 && strncasecmp(text, "https://", 8) == 0;
    if (!plain && !tls)
        return HTTP1_TARGET_FORM;
    struct http1_slice rest = cut(h->target, plain ? 7 : 8);
    uint32_t end = MIN(find_byte(h, rest, '/'), find_byte(h, rest, '?'));
    h->form = HTTP1_ABSOLUTE;
    h->host = (struct http1_slice){rest.at, end};
    if (!is_host(h, h->host, false))
        return HTTP1_TARGET_AUTHORITY;
    return check_path(h, cut(rest, end));
}

static enum http1_reason
check_target(struct http1_head *h)
{
    const char *text = h->bytes + h->target.at;
    if (h->method == HTTP_CONNECT) {
        h->form = HTTP1_AUTHORITY;
        h->host = h->target;
        return is_host(h, h->target, true) ? HTTP1_NONE : HTTP1_TARGET_AUTHORITY;
    }
    if (text[0] == '/')
        return check_path(h, h->target);
    if (h->target.len == 1 && text[0] == '*') {
        h->form = HTTP1_ASTERISK;
        return h->method == HTTP_OPTIONS ? HTTP1_NONE : HTTP1_TARGET_FORM;
    }
    return check_absolute(h);
}

/* Connection */

struct connection {
    bool close;
    bool keep_alive;
    bool has_names;
};

static enum http1_reason
take_option(const struct http1_head *h, struct http1_slice option, struct connection *c)
{
    for (uint32_t i = 0; i < option.len; i++)
        if (!http1_in_class(h->bytes[option.at + i], HTTP1_TOKEN))
            return HTTP1_CONNECTION_SYNTAX;
    if (is_word(h, option, "close"))
        c->close = true;
    else if (is_word(h, option, "keep-alive"))
        c->keep_alive = true;
    else if (is_word(h, option, "content-length") || is_word(h, option, "transfer-encoding") ||
             is_word(h, option, "host"))
        return HTTP1_CONNECTION_FRAMING;
    else
        c->has_names |= option.len > 0;
    return HTTP1_NONE;
}

static struct http1_slice
trim(const struct http1_head *h, struct http1_slice s)
{
    const char *text = h->bytes + s.at;
    uint32_t from = 0;
    uint32_t to = s.len;
    while (from < to && (text[from] == ' ' || text[from] == '\t'))
        from++;
    while (to > from && (text[to - 1] == ' ' || text[to - 1] == '\t'))
        to--;
    return (struct http1_slice){s.at + from, to - from};
}

/* A list separated by commas; empty elements are allowed (RFC 9110, 5.6.1). */
static enum http1_reason
take_options(const struct http1_head *h, struct http1_slice list, struct connection *c)
{
    for (;;) {
        uint32_t end = find_byte(h, list, ',');
        enum http1_reason reason = take_option(h, trim(h, (struct http1_slice){list.at, end}), c);
        if (reason || end == list.len)
            return reason;
        list = cut(list, end + 1);
    }
}

static enum http1_reason
check_connection(struct http1_head *h)
{
    struct connection c = {0};
    const struct http1_field *first = http1_find(h, HTTP_FIELD_CONNECTION);
    for (const struct http1_field *f = first; f && f < h->fields + h->field_count; f++) {
        enum http1_reason reason = HTTP1_NONE;
        if (f->id == HTTP_FIELD_CONNECTION)
            reason = take_options(h, f->value, &c);
        if (reason)
            return reason;
    }
    h->keep_alive = !c.close && (h->minor >= 1 || c.keep_alive);
    h->names_hops = c.has_names;
    return HTTP1_NONE;
}

static bool
has_option(const struct http1_head *h, struct http1_slice list, const char *name, size_t len)
{
    for (;;) {
        uint32_t end = find_byte(h, list, ',');
        struct http1_slice option = trim(h, (struct http1_slice){list.at, end});
        if (option.len == len && strncasecmp(h->bytes + option.at, name, len) == 0)
            return true;
        if (end == list.len)
            return false;
        list = cut(list, end + 1);
    }
}

bool
http1_is_hop(const struct http1_head *h, const struct http1_field *field)
{
    for (unsigned i = 0; h->names_hops && i < h->field_count; i++)
        if (h->fields[i].id == HTTP_FIELD_CONNECTION &&
            has_option(h, h->fields[i].value, h->bytes + field->name.at, field->name.len))
            return true;
    return http_field_is_hop(field->id);
}

/* Framing */

static enum http1_reason
parse_length(const struct http1_head *h, struct http1_slice s, uint64_t *ret_length)
{
    const char *text = h->bytes + s.at;
    uint64_t length = 0;
    if (s.len == 0 || (s.len > 1 && text[0] == '0'))
        return HTTP1_LENGTH_INVALID;
    for (uint32_t i = 0; i < s.len; i++)
        if (!http1_is_digit(text[i]))
            return HTTP1_LENGTH_INVALID;
    if (s.len > 19)
        return HTTP1_LENGTH_LARGE;
    for (uint32_t i = 0; i < s.len; i++)
        length = length * 10 + (uint64_t)(text[i] - '0');
    *ret_length = length;
    return length > INT64_MAX ? HTTP1_LENGTH_LARGE : HTTP1_NONE;
}

/* A status, or a method asked with, after whose head no body comes, whatever the fields say. */
static enum http1_reason
drop_body(struct http1_head *h)
{
    bool never = h->status < 200 || h->status == 204;
    if (never && (h->framing == HTTP1_CHUNKED || h->content_length > 0))
        return HTTP1_BODY_FORBIDDEN;
    if (never || h->status == 304 || h->asked == HTTP_HEAD) {
        h->framing = HTTP1_NO_BODY;
        h->content_length = 0;
    } else if (h->asked == HTTP_CONNECT && h->status < 300) {
        h->framing = HTTP1_UNTIL_CLOSE; /* a tunnel */
    }
    return HTTP1_NONE;
}

static enum http1_reason
check_framing(struct http1_head *h)
{
    const struct http1_field *length = http1_find(h, HTTP_FIELD_CONTENT_LENGTH);
    const struct http1_field *coding = http1_find(h, HTTP_FIELD_TRANSFER_ENCODING);
    if (length && coding)
        return HTTP1_LENGTH_WITH_CODING;
    if (coding && h->minor == 0)
        return HTTP1_CODING_OLD;
    if (coding && !is_word(h, coding->value, "chunked"))
        return HTTP1_CODING_UNKNOWN;
    if (coding) {
        h->framing = HTTP1_CHUNKED;
    } else if (length) {
        h->framing = HTTP1_LENGTH;
        return parse_length(h, length->value, &h->content_length);
    } else {
        h->framing = h->is_response ? HTTP1_UNTIL_CLOSE : HTTP1_NO_BODY;
    }
    return HTTP1_NONE;
}

static enum http1_reason
check_expect(struct http1_head *h)
{
    const struct http1_field *expect = http1_find(h, HTTP_FIELD_EXPECT);
    if (!expect)
        return HTTP1_NONE;
    if (!is_word(h, expect->value, "100-continue"))
        return HTTP1_EXPECT_UNKNOWN;
    bool has_body = h->framing == HTTP1_CHUNKED || h->content_length > 0;
    h->expect_continue = h->minor >= 1 && has_body; /* from 1.0 it is ignored: RFC 9110, 10.1.1 */
    return HTTP1_NONE;
}

static enum http1_reason
check_request(struct http1_head *h)
{
    enum http1_reason reason = check_target(h);
    if (!reason)
        reason = check_host(h);
    if (!reason)
        reason = check_connection(h);
    if (!reason)
        reason = check_framing(h);
    return reason ? reason : check_expect(h);
}

static enum http1_reason
check_response(struct http1_head *h)
{
    enum http1_reason reason = check_connection(h);
    if (!reason)
        reason = check_framing(h);
    if (!reason)
        reason = drop_body(h);
    if (h->framing == HTTP1_UNTIL_CLOSE)
        h->keep_alive = false;
    return reason;
}

enum http1_reason
http1_head_check(struct http1_head *head)
{
    return head->is_response ? check_response(head) : check_request(head);
}
