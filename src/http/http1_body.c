/* Bodies. Chunks are read by a machine that takes a byte a step, except for their content, which is
 * told as pieces of the caller's bytes.
 *
 *     size [extensions] CR LF content CR LF ... 0 CR LF trailers CR LF
 *
 * An extension is ;token, ;token=token or ;token="text"; in text a backslash quotes what follows
 * it. A size has at most 16 hexadecimal digits, leading zeros among them, since real servers pad.
 * Extensions and trailers are held to their grammar, without white space around ; and =, and thrown
 * away, with a budget for the whole message: a sender of tiny chunks with long extensions must not
 * get our time for nothing. */

#include "http/http1_int.h"

enum state {
    SIZE, /* no digit yet */
    DIGITS,
    EXT_START, /* behind the semicolon */
    EXT_NAME,
    EXT_VALUE_START, /* behind the equals sign */
    EXT_VALUE,
    EXT_QUOTED,
    EXT_ESCAPED, /* behind a backslash */
    EXT_END,     /* behind the closing quote */
    SIZE_LF,
    CONTENT,
    CONTENT_CR,
    CONTENT_LF,
    LINE, /* at the first byte of a trailer, or of the empty line */
    NAME,
    VALUE,
    VALUE_LF,
    END_LF,
    WHOLE,
};

#define SIZE_DIGITS_MAX 16

void
http1_body_init(struct http1_body *body, const struct http1_head *head, uint64_t most_bytes)
{
    *body = (struct http1_body){
        .framing = head->framing,
        .left = head->content_length,
        .most_bytes = most_bytes,
        .state = SIZE,
        .limits = head->limits,
    };
}

static enum http1_reason
to(struct http1_body *b, enum state state)
{
    b->state = (uint8_t)state;
    return HTTP1_NONE;
}

static unsigned
hex_digit(char c)
{
    return http1_is_digit(c) ? (unsigned)(c - '0') : (unsigned)((c | 0x20) - 'a' + 10);
}

static enum http1_reason
take_digit(struct http1_body *b, char c)
{
    b->left = b->digits == 0 ? hex_digit(c) : b->left << 4 | hex_digit(c);
    if (++b->digits > SIZE_DIGITS_MAX || b->left > INT64_MAX)
        return HTTP1_CHUNK_LARGE;
    return to(b, DIGITS);
}

static enum http1_reason
in_size(struct http1_body *b, char c)
{
    if (http1_in_class(c, HTTP1_HEX))
        return take_digit(b, c);
    if (b->digits == 0)
        return c == '\n' ? HTTP1_BARE_LF : HTTP1_CHUNK_SIZE;
    if (c == ';')
        return to(b, EXT_START);
    if (c == '\r')
        return to(b, SIZE_LF);
    return c == '\n' ? HTTP1_BARE_LF : HTTP1_CHUNK_SIZE;
}

static enum http1_reason
refuse_extension(char c)
{
    return c == '\n' ? HTTP1_BARE_LF : HTTP1_EXTENSION_BYTE;
}

/* What may follow a whole extension: another one, or the end of the line. */
static enum http1_reason
behind_extension(struct http1_body *b, char c)
{
    if (c == ';')
        return to(b, EXT_START);
    return c == '\r' ? to(b, SIZE_LF) : refuse_extension(c);
}

static enum http1_reason
in_word(struct http1_body *b, char c)
{
    if (http1_in_class(c, HTTP1_TOKEN))
        return to(b, b->state == EXT_START || b->state == EXT_NAME ? EXT_NAME : EXT_VALUE);
    if (b->state == EXT_NAME && c == '=')
        return to(b, EXT_VALUE_START);
    if (b->state == EXT_VALUE_START && c == '"')
        return to(b, EXT_QUOTED);
    if (b->state == EXT_NAME || b->state == EXT_VALUE)
        return behind_extension(b, c);
    return refuse_extension(c);
}

static enum http1_reason
in_quotes(struct http1_body *b, char c)
{
    if (!http1_is_text(c))
        return refuse_extension(c);
    if (b->state == EXT_ESCAPED)
        return to(b, EXT_QUOTED);
    return c == '"' ? to(b, EXT_END) : c == '\\' ? to(b, EXT_ESCAPED) : HTTP1_NONE;
}

static enum http1_reason
behind_size(struct http1_body *b, char c)
{
    if (c != '\n')
        return HTTP1_BARE_CR;
    b->digits = 0;
    if (b->left > b->most_bytes - MIN(b->seen_bytes, b->most_bytes))
        return HTTP1_BODY_LARGE;
    return to(b, b->left == 0 ? LINE : CONTENT);
}

static enum http1_reason
behind_content(struct http1_body *b, char c)
{
    if (b->state == CONTENT_CR)
        return c == '\r' ? to(b, CONTENT_LF) : HTTP1_CHUNK_END;
    return c == '\n' ? to(b, SIZE) : HTTP1_CHUNK_END;
}

static enum http1_reason
at_line(struct http1_body *b, char c)
{
    if (c == '\r')
        return to(b, END_LF);
    if (c == ' ' || c == '\t')
        return HTTP1_FOLDED;
    if (c == ':')
        return HTTP1_NAME_EMPTY;
    if (c == '\n')
        return HTTP1_BARE_LF;
    return http1_in_class(c, HTTP1_TOKEN) ? to(b, NAME) : HTTP1_NAME_BYTE;
}

static enum http1_reason
in_name(struct http1_body *b, char c)
{
    if (http1_in_class(c, HTTP1_TOKEN))
        return HTTP1_NONE;
    switch (c) {
    case ':':
        return to(b, VALUE);
    case ' ':
    case '\t':
        return HTTP1_NAME_SPACE;
    case '\r':
        return HTTP1_COLON_MISSING;
    case '\n':
        return HTTP1_BARE_LF;
    default:
        return HTTP1_NAME_BYTE;
    }
}

static enum http1_reason
in_value(struct http1_body *b, char c)
{
    if (http1_is_text(c))
        return HTTP1_NONE;
    if (c == '\r')
        return to(b, VALUE_LF);
    if (c == '\n')
        return HTTP1_BARE_LF;
    return c == '\0' ? HTTP1_NUL : HTTP1_VALUE_BYTE;
}

static enum http1_reason
behind_value(struct http1_body *b, char c)
{
    return c == '\n' ? to(b, LINE) : HTTP1_BARE_CR;
}

static enum http1_reason
behind_trailers(struct http1_body *b, char c)
{
    return c == '\n' ? to(b, WHOLE) : HTTP1_BARE_CR;
}

static enum http1_reason
step(struct http1_body *b, char c)
{
    static enum http1_reason (*const steps[])(struct http1_body *, char) = {
        [SIZE] = in_size,
        [DIGITS] = in_size,
        [EXT_START] = in_word,
        [EXT_NAME] = in_word,
        [EXT_VALUE_START] = in_word,
        [EXT_VALUE] = in_word,
        [EXT_QUOTED] = in_quotes,
        [EXT_ESCAPED] = in_quotes,
        [EXT_END] = behind_extension,
        [SIZE_LF] = behind_size,
        [CONTENT_CR] = behind_content,
        [CONTENT_LF] = behind_content,
        [LINE] = at_line,
        [NAME] = in_name,
        [VALUE] = in_value,
        [VALUE_LF] = behind_value,
        [END_LF] = behind_trailers,
    };
    if (b->state >= EXT_START && b->state <= EXT_END &&
        ++b->extension_bytes > b->limits->extension_bytes)
        return HTTP1_EXTENSIONS_LARGE;
    if (b->state >= LINE && ++b->trailer_bytes > b->limits->trailer_bytes)
        return HTTP1_TRAILERS_LARGE;
    return steps[b->state](b, c);
}

static enum http1_verdict
refuse(struct http1_body *b, enum http1_reason reason)
{
    b->reason = reason;
    return HTTP1_REFUSED;
}

/* Up to b->left bytes of content from `at` on. */
static enum http1_verdict
take_piece(struct http1_body *b, size_t at, size_t len, size_t *ret_used, size_t *ret_piece)
{
    size_t piece = (size_t)MIN((uint64_t)(len - at), b->left);
    b->left -= piece;
    b->seen_bytes += piece;
    *ret_used = at + piece;
    *ret_piece = piece;
    return HTTP1_PIECE;
}

static enum http1_verdict
read_chunks(struct http1_body *b, const char *bytes, size_t len, size_t *ret_used,
            size_t *ret_piece)
{
    for (size_t at = 0; at < len; at++) {
        if (b->state == CONTENT) {
            enum http1_verdict verdict = take_piece(b, at, len, ret_used, ret_piece);
            if (b->left == 0)
                (void)to(b, CONTENT_CR);
            return verdict;
        }
        *ret_used = at + 1;
        enum http1_reason reason = step(b, bytes[at]);
        if (reason)
            return refuse(b, reason);
        if (b->state == WHOLE)
            return HTTP1_DONE;
    }
    return HTTP1_MORE;
}

static enum http1_verdict
read_length(struct http1_body *b, size_t len, size_t *ret_used, size_t *ret_piece)
{
    if (b->left == 0)
        return HTTP1_DONE;
    if (b->left > b->most_bytes - MIN(b->seen_bytes, b->most_bytes))
        return refuse(b, HTTP1_BODY_LARGE);
    return len == 0 ? HTTP1_MORE : take_piece(b, 0, len, ret_used, ret_piece);
}

static enum http1_verdict
read_until_close(struct http1_body *b, size_t len, size_t *ret_used, size_t *ret_piece)
{
    if (len == 0)
        return HTTP1_MORE;
    b->left = b->most_bytes - MIN(b->seen_bytes, b->most_bytes);
    if (b->left == 0)
        return refuse(b, HTTP1_BODY_LARGE);
    return take_piece(b, 0, len, ret_used, ret_piece);
}

enum http1_verdict
http1_body_read(struct http1_body *body, const char *bytes, size_t len, size_t *ret_used,
                size_t *ret_piece)
{
    *ret_used = *ret_piece = 0;
    if (body->reason)
        return HTTP1_REFUSED;
    switch (body->framing) {
    case HTTP1_LENGTH:
        return read_length(body, len, ret_used, ret_piece);
    case HTTP1_CHUNKED:
        return body->state == WHOLE ? HTTP1_DONE
                                    : read_chunks(body, bytes, len, ret_used, ret_piece);
    case HTTP1_UNTIL_CLOSE:
        return read_until_close(body, len, ret_used, ret_piece);
    case HTTP1_NO_BODY:
        break;
    }
    return HTTP1_DONE;
}

enum http1_verdict
http1_body_end(struct http1_body *body)
{
    bool whole = body->framing == HTTP1_NO_BODY || body->framing == HTTP1_UNTIL_CLOSE ||
                 (body->framing == HTTP1_LENGTH && body->left == 0) ||
                 (body->framing == HTTP1_CHUNKED && body->state == WHOLE);
    if (body->reason)
        return HTTP1_REFUSED;
    return whole ? HTTP1_DONE : refuse(body, HTTP1_BODY_CUT);
}
