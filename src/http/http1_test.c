/* Messages and their verdicts. Every row is read whole, byte by byte, and cut in two at every
 * place, from memory that is exactly as long and moves each time: the verdict must stay the same,
 * and a byte read past the end is seen by the sanitizer. */

#include "http/http1.h"

#include "base/buf.h"
#include "http/server.h"
#include "tap.h"

#include <stdio.h>
#include <stdlib.h>

enum kind {
    REQUEST,
    TINY,     /* a request under tiny limits */
    CUT,      /* a request after which the connection ends */
    RESPONSE, /* to a GET, after which the connection ends */
    OPEN,     /* likewise, and it stays open */
    HEAD,     /* a response to HEAD */
    CONNECT,  /* a response to CONNECT */
};

struct row {
    enum kind kind;
    const char *text;
    size_t len;
    const char *want; /* see describe() */
};

#define ROW(kind, text, want)              \
    {                                      \
        kind, text, sizeof(text) - 1, want \
    }
#define LINE "GET / HTTP/1.1\r\n"
#define HOST "Host: h\r\n"
#define TOP LINE HOST
#define POST "POST / HTTP/1.1\r\n" HOST
#define CHUNKS POST "Transfer-Encoding: chunked\r\n\r\n"
#define OK "HTTP/1.1 200 OK\r\n"
#define OK_CHUNKS OK "Transfer-Encoding: chunked\r\n\r\n"

static const struct http1_limits tiny = {
    .target_bytes = 16,
    .head_bytes = 96,
    .fields = 3,
    .extension_bytes = 12,
    .trailer_bytes = 24,
};

static const struct row rows[] = {
    /* plain ones */
    ROW(REQUEST, TOP "\r\n", "GET / h 1.1 keep none"),
    ROW(REQUEST, "GET /a/b?c=d&e HTTP/1.1\r\n" HOST "\r\n", "GET /a/b ?c=d&e h 1.1 keep none"),
    ROW(REQUEST, "GET / HTTP/1.0\r\n\r\n", "GET /  1.0 close none"),
    ROW(REQUEST, "GET / HTTP/1.0\r\nHost: h\r\n\r\n", "GET / h 1.0 close none"),
    ROW(REQUEST, TOP "\r\nGET /", "GET / h 1.1 keep none +5"),
    ROW(REQUEST, "", "more"),
    ROW(REQUEST, TOP, "more"),
    ROW(REQUEST, TOP "\r", "more"),
    ROW(REQUEST, LINE "host:h\r\n\r\n", "GET / h 1.1 keep none"),
    ROW(REQUEST, LINE "HOST:  \t h \t \r\n\r\n", "GET / h 1.1 keep none"),
    ROW(REQUEST, TOP "A:\r\n\r\n", "GET / h 1.1 keep none"),
    ROW(REQUEST, TOP "A: \t \r\n\r\n", "GET / h 1.1 keep none"),
    ROW(REQUEST, TOP "A: caf\xC3\xA9 \xFF\r\n\r\n", "GET / h 1.1 keep none"),
    ROW(REQUEST, TOP "A: a\tb\r\n\r\n", "GET / h 1.1 keep none"),
    ROW(REQUEST, TOP "A: 0123456789abcdef\t0123456789\r\n\r\n", "GET / h 1.1 keep none"),
    ROW(REQUEST, TOP "!#$%&'*+-.^_`|~09azAZ: x\r\n\r\n", "GET / h 1.1 keep none"),
    ROW(REQUEST, TOP "content_length: 5\r\n\r\n", "GET / h 1.1 keep none"),
    ROW(REQUEST, TOP "Accept: a\r\nAccept: b\r\nCookie: c\r\nCookie: d\r\n\r\n",
        "GET / h 1.1 keep none"),

    /* empty lines before the request: one */
    ROW(REQUEST, "\r\n" TOP "\r\n", "GET / h 1.1 keep none"),
    ROW(REQUEST, "\r\n\r\n" TOP "\r\n", "refused: empty-lines"),
    ROW(REQUEST, "\n" TOP "\r\n", "refused: bare-lf"),
    ROW(REQUEST, "\rGET / HTTP/1.1\r\n" HOST "\r\n", "refused: bare-cr"),
    ROW(REQUEST, " " TOP "\r\n", "refused: method-byte"),
    ROW(RESPONSE, "\r\n" OK "\r\n", "refused: version-syntax"),

    /* methods */
    ROW(REQUEST, "BREW / HTTP/1.1\r\n" HOST "\r\n", "BREW / h 1.1 keep none"),
    ROW(REQUEST, "get / HTTP/1.1\r\n" HOST "\r\n", "get / h 1.1 keep none"),
    ROW(REQUEST, "GETT / HTTP/1.1\r\n" HOST "\r\n", "GETT / h 1.1 keep none"),
    ROW(REQUEST, "M-SEARCH / HTTP/1.1\r\n" HOST "\r\n", "M-SEARCH / h 1.1 keep none"),
    ROW(REQUEST, "G(T / HTTP/1.1\r\n", "refused: method-byte"),
    ROW(REQUEST, "G\xC3\x8BT / HTTP/1.1\r\n", "refused: method-byte"),
    ROW(REQUEST, "GET\t/ HTTP/1.1\r\n", "refused: method-byte"),
    ROW(REQUEST, "GET\r\n", "refused: method-byte"),
    ROW(REQUEST, "GET\rX / HTTP/1.1\r\n", "refused: bare-cr"),
    ROW(REQUEST, "GET\n", "refused: bare-lf"),
    ROW(REQUEST, "G\0T / HTTP/1.1\r\n", "refused: nul"),
    ROW(REQUEST, "\x16\x03\x01\x02", "refused: method-byte"), /* TLS on a plain port */
    ROW(REQUEST, "{\"model\": 1}", "refused: method-byte"),
    ROW(REQUEST, "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEF / HTTP/1.1\r\n" HOST "\r\n",
        "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEF / h 1.1 keep none"),
    ROW(REQUEST, "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG / HTTP/1.1\r\n", "refused: method-long"),

    /* targets */
    ROW(REQUEST, "GET  / HTTP/1.1\r\n", "refused: target-empty"),
    ROW(REQUEST, "GET /  HTTP/1.1\r\n", "refused: version-syntax"),
    ROW(REQUEST, "GET /a b HTTP/1.1\r\n", "refused: version-syntax"),
    ROW(REQUEST, "GET /\ta HTTP/1.1\r\n", "refused: target-byte"),
    ROW(REQUEST, "GET /\x7F HTTP/1.1\r\n", "refused: target-byte"),
    ROW(REQUEST, "GET /\0 HTTP/1.1\r\n", "refused: nul"),
    ROW(REQUEST, "GET /\xC3\xA9 HTTP/1.1\r\n", "refused: target-non-ascii"),
    ROW(REQUEST, "GET /#top HTTP/1.1\r\n", "refused: target-fragment"),
    ROW(REQUEST, "GET /?a#b HTTP/1.1\r\n", "refused: target-fragment"),
    ROW(REQUEST, "GET /<a> HTTP/1.1\r\n", "refused: target-byte"),
    ROW(REQUEST, "GET /?\"a\" HTTP/1.1\r\n", "refused: target-byte"),
    ROW(REQUEST, "GET /{a} HTTP/1.1\r\n" HOST "\r\n", "refused: target-byte"),
    ROW(REQUEST, "GET /a\\b HTTP/1.1\r\n" HOST "\r\n", "refused: target-byte"),
    ROW(REQUEST, "GET /?a[]={b}|\\^` HTTP/1.1\r\n" HOST "\r\n",
        "GET / ?a[]={b}|\\^` h 1.1 keep none"),
    ROW(REQUEST, "GET /a?b?c=/%2f HTTP/1.1\r\n" HOST "\r\n", "GET /a ?b?c=/%2f h 1.1 keep none"),
    ROW(REQUEST, "GET /? HTTP/1.1\r\n" HOST "\r\n", "GET / h 1.1 keep none"),
    ROW(REQUEST, "GET //x/../y;v=1 HTTP/1.1\r\n" HOST "\r\n", "GET //x/../y;v=1 h 1.1 keep none"),
    ROW(REQUEST, "GET /%41%ff HTTP/1.1\r\n" HOST "\r\n", "GET /%41%ff h 1.1 keep none"),
    ROW(REQUEST, "GET /%4 HTTP/1.1\r\n" HOST "\r\n", "refused: target-escape"),
    ROW(REQUEST, "GET /%zz HTTP/1.1\r\n" HOST "\r\n", "refused: target-escape"),
    ROW(REQUEST, "GET /?a=% HTTP/1.1\r\n" HOST "\r\n", "refused: target-escape"),
    ROW(REQUEST, "GET index.html HTTP/1.1\r\n" HOST "\r\n", "refused: target-form"),
    ROW(REQUEST, "GET ?a HTTP/1.1\r\n" HOST "\r\n", "refused: target-form"),
    ROW(REQUEST, "GET http://h/a?b HTTP/1.1\r\n" HOST "\r\n", "GET abs /a ?b h 1.1 keep none"),
    ROW(REQUEST, "GET HTTPS://H:1/ HTTP/1.1\r\nHost: h:1\r\n\r\n", "GET abs / H:1 1.1 keep none"),
    ROW(REQUEST, "GET http://h HTTP/1.1\r\n" HOST "\r\n", "GET abs  h 1.1 keep none"),
    ROW(REQUEST, "GET http://h?q HTTP/1.1\r\n" HOST "\r\n", "GET abs  ?q h 1.1 keep none"),
    ROW(REQUEST, "GET http://h/ HTTP/1.0\r\n\r\n", "GET abs / h 1.0 close none"),
    ROW(REQUEST, "GET http://other/ HTTP/1.1\r\n" HOST "\r\n", "refused: host-mismatch"),
    ROW(REQUEST, "GET http://h:80/ HTTP/1.1\r\n" HOST "\r\n", "refused: host-mismatch"),
    ROW(REQUEST, "GET http:///a HTTP/1.1\r\n" HOST "\r\n", "refused: target-authority"),
    ROW(REQUEST, "GET http://u:p@h/ HTTP/1.1\r\n" HOST "\r\n", "refused: target-authority"),
    ROW(REQUEST, "GET http://h:/ HTTP/1.1\r\n" HOST "\r\n", "refused: target-authority"),
    ROW(REQUEST, "GET ftp://h/ HTTP/1.1\r\n" HOST "\r\n", "refused: target-form"),
    ROW(REQUEST, "GET http:/h HTTP/1.1\r\n" HOST "\r\n", "refused: target-form"),
    ROW(REQUEST, "GET http:// HTTP/1.1\r\n" HOST "\r\n", "refused: target-form"),
    ROW(REQUEST, "OPTIONS * HTTP/1.1\r\n" HOST "\r\n", "OPTIONS star  h 1.1 keep none"),
    ROW(REQUEST, "GET * HTTP/1.1\r\n" HOST "\r\n", "refused: target-form"),
    ROW(REQUEST, "OPTIONS *a HTTP/1.1\r\n" HOST "\r\n", "refused: target-form"),
    ROW(REQUEST, "CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n",
        "CONNECT auth  h:443 1.1 keep none"),
    ROW(REQUEST, "CONNECT h HTTP/1.1\r\n" HOST "\r\n", "refused: target-authority"),
    ROW(REQUEST, "CONNECT / HTTP/1.1\r\n" HOST "\r\n", "refused: target-authority"),
    ROW(REQUEST, "CONNECT h:443 HTTP/1.1\r\nHost: other:443\r\n\r\n", "refused: host-mismatch"),
    ROW(REQUEST, "GET h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n", "refused: target-form"),

    /* versions */
    ROW(REQUEST, "GET /\r\n\r\n", "refused: version-missing"),
    ROW(REQUEST, "GET / \r\n\r\n", "refused: version-syntax"),
    ROW(REQUEST, "GET /\r HTTP/1.1\r\n", "refused: bare-cr"),
    ROW(REQUEST, "GET / HTTP/1.1\n" HOST "\n", "refused: bare-lf"),
    ROW(REQUEST, "GET / HTTP/1.1 \r\n" HOST "\r\n", "refused: version-syntax"),
    ROW(REQUEST, "GET / HTTP/1.1\rHost: h\r\n\r\n", "refused: bare-cr"),
    ROW(REQUEST, "GET / http/1.1\r\n", "refused: version-syntax"),
    ROW(REQUEST, "GET / HTTP/1.10\r\n", "refused: version-syntax"),
    ROW(REQUEST, "GET / HTTP/01.1\r\n", "refused: version-syntax"),
    ROW(REQUEST, "GET / HTTP/1,1\r\n", "refused: version-syntax"),
    ROW(REQUEST, "GET / HTTP/1.\r\n", "refused: version-syntax"),
    ROW(REQUEST, "GET / HTTP 1.1\r\n", "refused: version-syntax"),
    ROW(REQUEST, "GET / HTTPS/1.1\r\n", "refused: version-syntax"),
    ROW(REQUEST, "GET / HTTP/1.2\r\n" HOST "\r\n", "refused: version-unknown"),
    ROW(REQUEST, "GET / HTTP/0.9\r\n", "refused: version-unknown"),
    ROW(REQUEST, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "refused: version-unknown"),
    ROW(REQUEST, "GET / HTTP/9.1\r\n", "refused: version-unknown"),

    /* Host */
    ROW(REQUEST, LINE "\r\n", "refused: host-missing"),
    ROW(REQUEST, TOP HOST "\r\n", "refused: host-repeated"),
    ROW(REQUEST, TOP "hOST: other\r\n\r\n", "refused: host-repeated"),
    ROW(REQUEST, LINE "Host:\r\n\r\n", "refused: host-invalid"),
    ROW(REQUEST, LINE "Host: a b\r\n\r\n", "refused: host-invalid"),
    ROW(REQUEST, LINE "Host: a,b\r\n\r\n", "refused: host-invalid"),
    ROW(REQUEST, LINE "Host: a/b\r\n\r\n", "refused: host-invalid"),
    ROW(REQUEST, LINE "Host: u@h\r\n\r\n", "refused: host-invalid"),
    ROW(REQUEST, LINE "Host: h:\r\n\r\n", "refused: host-invalid"),
    ROW(REQUEST, LINE "Host: h:port\r\n\r\n", "refused: host-invalid"),
    ROW(REQUEST, LINE "Host: h:65536\r\n\r\n", "refused: host-invalid"),
    ROW(REQUEST, LINE "Host: h:080000\r\n\r\n", "refused: host-invalid"),
    ROW(REQUEST, LINE "Host: h:1:2\r\n\r\n", "refused: host-invalid"),
    ROW(REQUEST, LINE "Host: :80\r\n\r\n", "refused: host-invalid"),
    ROW(REQUEST, LINE "Host: h\xC3\xA9\r\n\r\n", "refused: host-invalid"),
    ROW(REQUEST, LINE "Host: [::1]:8000\r\n\r\n", "GET / [::1]:8000 1.1 keep none"),
    ROW(REQUEST, LINE "Host: [::ffff:1.2.3.4]\r\n\r\n", "GET / [::ffff:1.2.3.4] 1.1 keep none"),
    ROW(REQUEST, LINE "Host: [::1\r\n\r\n", "refused: host-invalid"),
    ROW(REQUEST, LINE "Host: []\r\n\r\n", "refused: host-invalid"),
    ROW(REQUEST, LINE "Host: [::1]x\r\n\r\n", "refused: host-invalid"),
    ROW(REQUEST, LINE "Host: [g::1]\r\n\r\n", "refused: host-invalid"),
    ROW(REQUEST, LINE "Host: a_b-c.d~:65535\r\n\r\n", "GET / a_b-c.d~:65535 1.1 keep none"),
    ROW(REQUEST, "GET / HTTP/1.0\r\nHost: a b\r\n\r\n", "refused: host-invalid"),

    /* field lines */
    ROW(REQUEST, LINE " Host: h\r\n\r\n", "refused: space-before-first-field"),
    ROW(REQUEST, LINE "\tHost: h\r\n\r\n", "refused: space-before-first-field"),
    ROW(REQUEST, LINE " \r\n" HOST "\r\n", "refused: space-before-first-field"),
    ROW(REQUEST, TOP "A: b\r\n c\r\n\r\n", "refused: folded-field"),
    ROW(REQUEST, TOP "A: b\r\n\tc\r\n\r\n", "refused: folded-field"),
    ROW(REQUEST, TOP " \r\n\r\n", "refused: folded-field"),
    ROW(REQUEST, TOP ": b\r\n\r\n", "refused: name-empty"),
    ROW(REQUEST, TOP "A : b\r\n\r\n", "refused: name-space"),
    ROW(REQUEST, TOP "A\t: b\r\n\r\n", "refused: name-space"),
    ROW(REQUEST, LINE "Host : h\r\n\r\n", "refused: name-space"),
    ROW(REQUEST, POST "Content-Length : 5\r\n\r\n", "refused: name-space"),
    ROW(REQUEST, POST "Transfer-Encoding : chunked\r\n\r\n", "refused: name-space"),
    ROW(REQUEST, POST "Transfer-Encoding\x0B: chunked\r\n\r\n", "refused: name-byte"),
    ROW(REQUEST, TOP "A B: c\r\n\r\n", "refused: name-space"),
    ROW(REQUEST, TOP "A(B): c\r\n\r\n", "refused: name-byte"),
    ROW(REQUEST, TOP "\"A\": c\r\n\r\n", "refused: name-byte"),
    ROW(REQUEST, TOP "A\x01: c\r\n\r\n", "refused: name-byte"),
    ROW(REQUEST, TOP "\xC3\x84: c\r\n\r\n", "refused: name-byte"),
    ROW(REQUEST, TOP "A\0: c\r\n\r\n", "refused: nul"),
    ROW(REQUEST, TOP "A\rB: c\r\n\r\n", "refused: bare-cr"),
    ROW(REQUEST, TOP "A\nB: c\r\n\r\n", "refused: bare-lf"),
    ROW(REQUEST, TOP "nocolon\r\n\r\n", "refused: colon-missing"),
    ROW(REQUEST, TOP "A: b\0c\r\n\r\n", "refused: nul"),
    ROW(REQUEST, TOP "A: 0123456789abcde\0c\r\n\r\n", "refused: nul"),
    ROW(REQUEST,
        TOP "A: b\x01"
            "c\r\n\r\n",
        "refused: value-byte"),
    ROW(REQUEST, TOP "A: 0123456789\x7F\r\n\r\n", "refused: value-byte"),
    ROW(REQUEST, TOP "A: \x0B\r\n\r\n", "refused: value-byte"),
    ROW(REQUEST, TOP "A: b\rc\r\n\r\n", "refused: bare-cr"),
    ROW(REQUEST, TOP "A: b\r\r\n\r\n", "refused: bare-cr"),
    ROW(REQUEST, TOP "A: b\nB: c\r\n\r\n", "refused: bare-lf"),
    ROW(REQUEST, TOP "A:\nB: c\r\n\r\n", "refused: bare-lf"),
    ROW(REQUEST, TOP "\n", "refused: bare-lf"),
    ROW(REQUEST, TOP "\r\r\n", "refused: bare-cr"),
    ROW(REQUEST, TOP "\rX", "refused: bare-cr"),

    /* fields that may stand once only */
    ROW(REQUEST, TOP "Authorization: a\r\nauthorization: b\r\n\r\n", "refused: field-repeated"),
    ROW(REQUEST, TOP "X-API-Key: a\r\nX-Api-Key: a\r\n\r\n", "refused: field-repeated"),
    ROW(REQUEST, TOP "Content-Type: a/b\r\nContent-Type: a/b\r\n\r\n", "refused: field-repeated"),

    /* Connection */
    ROW(REQUEST, TOP "Connection: close\r\n\r\n", "GET / h 1.1 close none"),
    ROW(REQUEST, TOP "Connection: CLOSE\r\n\r\n", "GET / h 1.1 close none"),
    ROW(REQUEST, TOP "Connection: keep-alive\r\n\r\n", "GET / h 1.1 keep none"),
    ROW(REQUEST, TOP "Connection: keep-alive, close\r\n\r\n", "GET / h 1.1 close none"),
    ROW(REQUEST, TOP "Connection: te\r\nA: b\r\nConnection: close\r\n\r\n",
        "GET / h 1.1 close none"),
    ROW(REQUEST, TOP "Connection: , ,close ,\r\n\r\n", "GET / h 1.1 close none"),
    ROW(REQUEST, TOP "Connection:\r\n\r\n", "GET / h 1.1 keep none"),
    ROW(REQUEST, TOP "Connection: closed\r\n\r\n", "GET / h 1.1 keep none"),
    ROW(REQUEST, "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", "GET /  1.0 keep none"),
    ROW(REQUEST, TOP "Connection: close foo\r\n\r\n", "refused: connection-syntax"),
    ROW(REQUEST, TOP "Connection: \"close\"\r\n\r\n", "refused: connection-syntax"),
    ROW(REQUEST, POST "Content-Length: 1\r\nConnection: close, Content-Length\r\n\r\n",
        "refused: connection-framing"),
    ROW(REQUEST, TOP "Connection: transfer-encoding\r\n\r\n", "refused: connection-framing"),
    ROW(REQUEST, TOP "Connection: Host\r\n\r\n", "refused: connection-framing"),

    /* Expect */
    ROW(REQUEST, POST "Expect: 100-Continue\r\nContent-Length: 2\r\n\r\nab",
        "POST / h 1.1 keep expects length 'ab'"),
    ROW(REQUEST, TOP "Expect: 100-continue\r\n\r\n", "GET / h 1.1 keep none"),
    ROW(REQUEST,
        "POST / HTTP/1.0\r\nExpect: 100-continue\r\n"
        "Content-Length: 1\r\n\r\na",
        "POST /  1.0 close length 'a'"),
    ROW(REQUEST, TOP "Expect: 200-ok\r\n\r\n", "refused: expect-unknown"),
    ROW(REQUEST, TOP "Expect: 100-continue, x\r\n\r\n", "refused: expect-unknown"),
    ROW(REQUEST, TOP "Expect:\r\n\r\n", "refused: expect-unknown"),

    /* Content-Length */
    ROW(REQUEST, POST "Content-Length: 5\r\n\r\nhello", "POST / h 1.1 keep length 'hello'"),
    ROW(REQUEST, POST "Content-Length: 5\r\n\r\nhel", "POST / h 1.1 keep length 'hel' more"),
    ROW(REQUEST, POST "Content-Length: 2\r\n\r\nhello", "POST / h 1.1 keep length 'he' +3"),
    ROW(REQUEST, POST "Content-Length: 0\r\n\r\n", "POST / h 1.1 keep length ''"),
    ROW(REQUEST, POST "\r\nhello", "POST / h 1.1 keep none +5"),
    ROW(REQUEST, TOP "Content-Length: 1\r\n\r\na", "GET / h 1.1 keep length 'a'"),
    ROW(CUT, POST "Content-Length: 5\r\n\r\nhel", "refused: body-cut"),
    ROW(CUT, POST "Content-Length: 5\r\n\r\nhello", "POST / h 1.1 keep length 'hello'"),
    ROW(REQUEST, POST "Content-Length: 5\r\nContent-Length: 5\r\n\r\n", "refused: length-repeated"),
    ROW(REQUEST, POST "Content-Length: 5\r\ncontent-length: 6\r\n\r\n", "refused: length-repeated"),
    ROW(REQUEST, POST "Content-Length: 5, 5\r\n\r\n", "refused: length-invalid"),
    ROW(REQUEST, POST "Content-Length: 5,\r\n\r\n", "refused: length-invalid"),
    ROW(REQUEST, POST "Content-Length: -5\r\n\r\n", "refused: length-invalid"),
    ROW(REQUEST, POST "Content-Length: +5\r\n\r\n", "refused: length-invalid"),
    ROW(REQUEST, POST "Content-Length: 0x5\r\n\r\n", "refused: length-invalid"),
    ROW(REQUEST, POST "Content-Length: 5a\r\n\r\n", "refused: length-invalid"),
    ROW(REQUEST, POST "Content-Length: 5 0\r\n\r\n", "refused: length-invalid"),
    ROW(REQUEST, POST "Content-Length: 5.0\r\n\r\n", "refused: length-invalid"),
    ROW(REQUEST, POST "Content-Length: 1e3\r\n\r\n", "refused: length-invalid"),
    ROW(REQUEST, POST "Content-Length: 1_0\r\n\r\n", "refused: length-invalid"),
    ROW(REQUEST, POST "Content-Length: 05\r\n\r\n", "refused: length-invalid"),
    ROW(REQUEST, POST "Content-Length: 00\r\n\r\n", "refused: length-invalid"),
    ROW(REQUEST, POST "Content-Length:\r\n\r\n", "refused: length-invalid"),
    ROW(REQUEST, POST "Content-Length: \xD9\xA5\r\n\r\n", "refused: length-invalid"),
    ROW(REQUEST, POST "Content-Length: 9223372036854775807\r\n\r\n", "refused: body-large"),
    ROW(REQUEST, POST "Content-Length: 9223372036854775808\r\n\r\n", "refused: length-large"),
    ROW(REQUEST, POST "Content-Length: 18446744073709551621\r\n\r\n", "refused: length-large"),

    /* Transfer-Encoding */
    ROW(REQUEST, CHUNKS "5\r\nhello\r\n0\r\n\r\n", "POST / h 1.1 keep chunked 'hello'"),
    ROW(REQUEST, POST "Transfer-Encoding: CHUNKED\r\n\r\n0\r\n\r\n",
        "POST / h 1.1 keep chunked ''"),
    ROW(REQUEST, POST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "refused: length-with-coding"),
    ROW(REQUEST, POST "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n",
        "refused: length-with-coding"),
    ROW(REQUEST, POST "Transfer-Encoding: identity\r\nContent-Length: 5\r\n\r\n",
        "refused: length-with-coding"),
    ROW(REQUEST, POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        "refused: coding-repeated"),
    ROW(REQUEST, POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n",
        "refused: coding-repeated"),
    ROW(REQUEST, POST "Transfer-Encoding: gzip, chunked\r\n\r\n", "refused: coding-unknown"),
    ROW(REQUEST, POST "Transfer-Encoding: chunked, chunked\r\n\r\n", "refused: coding-unknown"),
    ROW(REQUEST, POST "Transfer-Encoding: chunked, identity\r\n\r\n", "refused: coding-unknown"),
    ROW(REQUEST, POST "Transfer-Encoding: chunked;q=1\r\n\r\n", "refused: coding-unknown"),
    ROW(REQUEST, POST "Transfer-Encoding: ,chunked\r\n\r\n", "refused: coding-unknown"),
    ROW(REQUEST, POST "Transfer-Encoding: \"chunked\"\r\n\r\n", "refused: coding-unknown"),
    ROW(REQUEST, POST "Transfer-Encoding: xchunked\r\n\r\n", "refused: coding-unknown"),
    ROW(REQUEST, POST "Transfer-Encoding: chunkedx\r\n\r\n", "refused: coding-unknown"),
    ROW(REQUEST, POST "Transfer-Encoding: identity\r\n\r\n", "refused: coding-unknown"),
    ROW(REQUEST, POST "Transfer-Encoding:\r\n\r\n", "refused: coding-unknown"),
    ROW(REQUEST,
        POST "Transfer-Encoding: \x0B"
             "chunked\r\n\r\n",
        "refused: value-byte"),
    ROW(REQUEST, POST "Transfer-Encoding:\r\n chunked\r\n\r\n", "refused: folded-field"),
    ROW(REQUEST, "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "refused: coding-in-http10"),

    /* chunks */
    ROW(REQUEST, CHUNKS "1\r\na\r\n2\r\nbc\r\n0\r\n\r\nGET", "POST / h 1.1 keep chunked 'abc' +3"),
    ROW(REQUEST, CHUNKS "A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n",
        "POST / h 1.1 keep chunked '01234567890123456789'"),
    ROW(REQUEST, CHUNKS "0000000000000001\r\na\r\n000\r\n\r\n", "POST / h 1.1 keep chunked 'a'"),
    ROW(REQUEST, CHUNKS "1\r\na\r\n", "POST / h 1.1 keep chunked 'a' more"),
    ROW(CUT, CHUNKS "1\r\na\r\n", "refused: body-cut"),
    ROW(CUT, CHUNKS "1\r\na\r\n0\r\n", "refused: body-cut"),
    ROW(REQUEST, CHUNKS "1;a\r\na\r\n0;b=c;d=\"e f;\"\r\n\r\n", "POST / h 1.1 keep chunked 'a'"),
    ROW(REQUEST, CHUNKS "0\r\nA: b\r\nC:\r\n\r\n", "POST / h 1.1 keep chunked ''"),
    ROW(REQUEST, CHUNKS "\r\n", "refused: chunk-size"),
    ROW(REQUEST, CHUNKS "\n", "refused: bare-lf"),
    ROW(REQUEST, CHUNKS " 1\r\na\r\n", "refused: chunk-size"),
    ROW(REQUEST, CHUNKS "1 \r\na\r\n", "refused: chunk-size"),
    ROW(REQUEST, CHUNKS "1\t\r\na\r\n", "refused: chunk-size"),
    ROW(REQUEST, CHUNKS "-1\r\na\r\n", "refused: chunk-size"),
    ROW(REQUEST, CHUNKS "+1\r\na\r\n", "refused: chunk-size"),
    ROW(REQUEST, CHUNKS "0x1\r\na\r\n", "refused: chunk-size"),
    ROW(REQUEST, CHUNKS "1_0\r\na\r\n", "refused: chunk-size"),
    ROW(REQUEST, CHUNKS "g\r\n", "refused: chunk-size"),
    ROW(REQUEST, CHUNKS "1\0\r\na\r\n", "refused: chunk-size"),
    ROW(REQUEST, CHUNKS "1\na\r\n", "refused: bare-lf"),
    ROW(REQUEST, CHUNKS "1\rXa\r\n", "refused: bare-cr"),
    ROW(REQUEST, CHUNKS "00000000000000001\r\na\r\n", "refused: chunk-large"),
    ROW(REQUEST, CHUNKS "7fffffffffffffff\r\n", "refused: body-large"),
    ROW(REQUEST, CHUNKS "8000000000000000\r\n", "refused: chunk-large"),
    ROW(REQUEST, CHUNKS "ffffffffffffffff\r\n", "refused: chunk-large"),
    ROW(REQUEST, CHUNKS "10000000000000001\r\na\r\n", "refused: chunk-large"),
    ROW(REQUEST, CHUNKS "1\r\nab\r\n0\r\n\r\n", "refused: chunk-end"),
    ROW(REQUEST, CHUNKS "1\r\na\n0\r\n\r\n", "refused: chunk-end"),
    ROW(REQUEST, CHUNKS "1\r\na0\r\n\r\n", "refused: chunk-end"),
    ROW(REQUEST, CHUNKS "1\r\na\rb0\r\n\r\n", "refused: chunk-end"),
    ROW(REQUEST, CHUNKS "2\r\na\r\n0\r\n\r\n", "refused: chunk-end"),
    ROW(REQUEST, CHUNKS "1;\r\na\r\n", "refused: extension-byte"),
    ROW(REQUEST, CHUNKS "1; a\r\na\r\n", "refused: extension-byte"),
    ROW(REQUEST, CHUNKS "1 ;a\r\na\r\n", "refused: chunk-size"),
    ROW(REQUEST, CHUNKS "1;a\nb\r\na\r\n", "refused: bare-lf"),
    ROW(REQUEST, CHUNKS "1;\n", "refused: bare-lf"),
    ROW(REQUEST, CHUNKS "1;a\rb\r\na\r\n", "refused: bare-cr"),
    ROW(REQUEST, CHUNKS "1;a\x01\r\na\r\n", "refused: extension-byte"),
    ROW(REQUEST, CHUNKS "1;a;b;c=\"\"\r\na\r\n0\r\n\r\n", "POST / h 1.1 keep chunked 'a'"),
    ROW(REQUEST, CHUNKS "1;a=\"\\\"\\\\\t\xC3\xA9\";b\r\na\r\n0\r\n\r\n",
        "POST / h 1.1 keep chunked 'a'"),
    ROW(REQUEST, CHUNKS "1;a b=\"c ,,;;\r\na\r\n", "refused: extension-byte"),
    ROW(REQUEST, CHUNKS "1;a,\r\na\r\n", "refused: extension-byte"),
    ROW(REQUEST, CHUNKS "1;a =b\r\na\r\n", "refused: extension-byte"),
    ROW(REQUEST, CHUNKS "1;a= b\r\na\r\n", "refused: extension-byte"),
    ROW(REQUEST, CHUNKS "1;a=b \r\na\r\n", "refused: extension-byte"),
    ROW(REQUEST, CHUNKS "1;=b\r\na\r\n", "refused: extension-byte"),
    ROW(REQUEST, CHUNKS "1;a=\r\na\r\n", "refused: extension-byte"),
    ROW(REQUEST, CHUNKS "1;a=b=c\r\na\r\n", "refused: extension-byte"),
    ROW(REQUEST, CHUNKS "1;a=b\"c\"\r\na\r\n", "refused: extension-byte"),
    ROW(REQUEST, CHUNKS "1;a;;b\r\na\r\n", "refused: extension-byte"),
    ROW(REQUEST, CHUNKS "1;\"a\"\r\na\r\n", "refused: extension-byte"),
    ROW(REQUEST, CHUNKS "1;a=\"b\r\na\r\n", "refused: extension-byte"),
    ROW(REQUEST, CHUNKS "1;a=\"b\\\"\r\na\r\n", "refused: extension-byte"),
    ROW(REQUEST, CHUNKS "1;a=\"b\\\r\na\r\n", "refused: extension-byte"),
    ROW(REQUEST, CHUNKS "1;a=\"b\"c\r\na\r\n", "refused: extension-byte"),
    ROW(REQUEST, CHUNKS "1;a=\"b\nc\"\r\na\r\n", "refused: bare-lf"),
    ROW(REQUEST, CHUNKS "1;a=\"b\0\"\r\na\r\n", "refused: extension-byte"),
    ROW(REQUEST, CHUNKS "0\r\n A: b\r\n\r\n", "refused: folded-field"),
    ROW(REQUEST, CHUNKS "0\r\nA: b\r\n c\r\n\r\n", "refused: folded-field"),
    ROW(REQUEST, CHUNKS "0\r\n: b\r\n\r\n", "refused: name-empty"),
    ROW(REQUEST, CHUNKS "0\r\nA : b\r\n\r\n", "refused: name-space"),
    ROW(REQUEST, CHUNKS "0\r\n(: b\r\n\r\n", "refused: name-byte"),
    ROW(REQUEST, CHUNKS "0\r\nA(: b\r\n\r\n", "refused: name-byte"),
    ROW(REQUEST, CHUNKS "0\r\nA\r\n\r\n", "refused: colon-missing"),
    ROW(REQUEST, CHUNKS "0\r\nA\n\r\n", "refused: bare-lf"),
    ROW(REQUEST, CHUNKS "0\r\nA: b\n\r\n", "refused: bare-lf"),
    ROW(REQUEST, CHUNKS "0\r\nA: b\rc\r\n\r\n", "refused: bare-cr"),
    ROW(REQUEST, CHUNKS "0\r\nA: \0\r\n\r\n", "refused: nul"),
    ROW(REQUEST, CHUNKS "0\r\nA: \x02\r\n\r\n", "refused: value-byte"),
    ROW(REQUEST, CHUNKS "0\r\n\n", "refused: bare-lf"),
    ROW(REQUEST, CHUNKS "0\r\n\rX", "refused: bare-cr"),

    /* limits */
    ROW(TINY, "GET /123456789abcdef HTTP/1.1\r\n" HOST "\r\n",
        "GET /123456789abcdef h 1.1 keep none"),
    ROW(TINY, "GET /123456789abcdefg HTTP/1.1\r\n" HOST "\r\n", "refused: target-long"),
    ROW(TINY, "GET /123456789abcdefg\x01", "refused: target-long"),
    ROW(TINY, TOP "A: b\r\nB: c\r\n\r\n", "GET / h 1.1 keep none"),
    ROW(TINY, TOP "A: b\r\nB: c\r\nC: d\r\n\r\n", "refused: fields-many"),
    ROW(TINY, TOP "A: 0123456789012345678901234567890123456789012345678901234567890123\r\n\r\n",
        "GET / h 1.1 keep none"),
    ROW(TINY, TOP "A: 01234567890123456789012345678901234567890123456789012345678901234\r\n\r\n",
        "refused: head-large"),
    ROW(TINY, TOP "A: 0123456789012345678901234567890123456789012345678901234567890123456789\x01",
        "refused: head-large"),
    ROW(TINY, POST "Content-Length: 8\r\n\r\n12345678", "POST / h 1.1 keep length '12345678'"),
    ROW(TINY, POST "Content-Length: 9\r\n\r\n123456789", "refused: body-large"),
    ROW(TINY, CHUNKS "8\r\n12345678\r\n0\r\n\r\n", "POST / h 1.1 keep chunked '12345678'"),
    ROW(TINY, CHUNKS "4\r\n1234\r\n5\r\n12345\r\n0\r\n\r\n", "refused: body-large"),
    ROW(TINY, CHUNKS "1;a=45\r\n1\r\n0;b=45\r\n\r\n", "POST / h 1.1 keep chunked '1'"),
    ROW(TINY, CHUNKS "1;a=45\r\n1\r\n0;b=45678\r\n\r\n", "refused: extensions-large"),
    ROW(TINY, CHUNKS "0\r\nA: 456789\r\nB: 456789\r\n\r\n", "POST / h 1.1 keep chunked ''"),
    ROW(TINY, CHUNKS "0\r\nA: 456789\r\nB: 4567890\r\n\r\n", "refused: trailers-large"),

    /* responses */
    ROW(RESPONSE, OK "\r\nhello", "200 'OK' 1.1 close until-close 'hello'"),
    ROW(OPEN, OK "\r\nhello", "200 'OK' 1.1 close until-close 'hello' more"),
    ROW(RESPONSE, OK "Content-Length: 5\r\n\r\nhello", "200 'OK' 1.1 keep length 'hello'"),
    ROW(RESPONSE, OK "Content-Length: 5\r\n\r\nhell", "refused: body-cut"),
    ROW(RESPONSE, OK_CHUNKS "5\r\nhello\r\n0\r\n\r\n", "200 'OK' 1.1 keep chunked 'hello'"),
    ROW(RESPONSE, OK_CHUNKS "5\r\nhello\r\n", "refused: body-cut"),
    ROW(RESPONSE, OK_CHUNKS "5\r\nhello\r\n0\r\n", "refused: body-cut"),
    ROW(RESPONSE, OK "Connection: close\r\nContent-Length: 1\r\n\r\na",
        "200 'OK' 1.1 close length 'a'"),
    ROW(RESPONSE, "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na", "200 'OK' 1.0 close length 'a'"),
    ROW(RESPONSE, "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", "200 '' 1.1 keep length ''"),
    ROW(RESPONSE, "HTTP/1.1 404 Not  F\xC3\xBCnd\t!\r\nContent-Length: 0\r\n\r\n",
        "404 'Not  F\xC3\xBCnd\t!' 1.1 keep length ''"),
    ROW(RESPONSE, "HTTP/1.1 204 No Content\r\n\r\n", "204 'No Content' 1.1 keep none"),
    ROW(RESPONSE, "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
        "204 'No Content' 1.1 keep none"),
    ROW(RESPONSE, "HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\nabc",
        "refused: body-forbidden"),
    ROW(RESPONSE, "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "refused: body-forbidden"),
    ROW(RESPONSE, "HTTP/1.1 100 Continue\r\n\r\n" OK, "100 'Continue' 1.1 keep none +17"),
    ROW(RESPONSE, "HTTP/1.1 103 Early Hints\r\nContent-Length: 1\r\n\r\n",
        "refused: body-forbidden"),
    ROW(RESPONSE, "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
        "304 'Not Modified' 1.1 keep none"),
    ROW(RESPONSE, "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n",
        "304 'Not Modified' 1.1 keep none"),
    ROW(HEAD, OK "Content-Length: 5\r\n\r\n", "200 'OK' 1.1 keep none"),
    ROW(HEAD, OK "Transfer-Encoding: chunked\r\n\r\n", "200 'OK' 1.1 keep none"),
    ROW(HEAD, OK "Content-Length: 5, 5\r\n\r\n", "refused: length-invalid"),
    ROW(CONNECT, OK "Content-Length: 5\r\n\r\nhello!", "200 'OK' 1.1 close until-close 'hello!'"),
    ROW(CONNECT, "HTTP/1.1 407 No\r\nContent-Length: 5\r\n\r\nhello",
        "407 'No' 1.1 keep length 'hello'"),
    ROW(RESPONSE, OK "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "refused: length-with-coding"),
    ROW(RESPONSE, OK "Content-Length: 5\r\nContent-Length: 5\r\n\r\n", "refused: length-repeated"),
    ROW(RESPONSE, OK "Transfer-Encoding: gzip\r\n\r\n", "refused: coding-unknown"),
    ROW(RESPONSE, "HTTP/1.1 200\r\n\r\n", "refused: status-syntax"),
    ROW(RESPONSE, "HTTP/1.1 20 OK\r\n\r\n", "refused: status-syntax"),
    ROW(RESPONSE, "HTTP/1.1 2000 OK\r\n\r\n", "refused: status-syntax"),
    ROW(RESPONSE, "HTTP/1.1  200 OK\r\n\r\n", "refused: status-syntax"),
    ROW(RESPONSE, "HTTP/1.1 099 Low\r\n\r\n", "refused: status-syntax"),
    ROW(RESPONSE, "HTTP/1.1 600 High\r\n\r\n", "refused: status-syntax"),
    ROW(RESPONSE, "HTTP/1.1 -20 OK\r\n\r\n", "refused: status-syntax"),
    ROW(RESPONSE, "HTTP/2.0 200 OK\r\n\r\n", "refused: version-unknown"),
    ROW(RESPONSE, "HTTP/1.2 200 OK\r\n\r\n", "refused: version-unknown"),
    ROW(RESPONSE, "http/1.1 200 OK\r\n\r\n", "refused: version-syntax"),
    ROW(RESPONSE, "ICY 200 OK\r\n\r\n", "refused: version-syntax"),
    ROW(RESPONSE, "HTTP/1.1 200 O\x01K\r\n\r\n", "refused: phrase-byte"),
    ROW(RESPONSE, "HTTP/1.1 200 O\0K\r\n\r\n", "refused: nul"),
    ROW(RESPONSE, "HTTP/1.1 200 OK\n\r\n", "refused: bare-lf"),
    ROW(RESPONSE, "HTTP/1.1 200 OK\rA: b\r\n\r\n", "refused: bare-cr"),
    ROW(RESPONSE, OK " A: b\r\n\r\n", "refused: space-before-first-field"),
    ROW(RESPONSE, OK "A: b\r\n c\r\n\r\n", "refused: folded-field"),
    ROW(RESPONSE, "", "refused: body-cut"),
    ROW(RESPONSE, OK, "refused: body-cut"),
};

/* Reads a message as it arrives, in pieces that end at the given cuts. */

struct reading {
    const struct row *row;
    struct http1_head head;
    struct http1_body body;
    enum http1_verdict verdict;
    enum http1_reason reason;
    bool has_head;
    size_t used; /* of the message */
    struct buf content;
};

static const struct http1_limits *
limits_of(const struct row *row)
{
    return row->kind == TINY ? &tiny : &http_server_config_default.head;
}

static void
reading_init(struct reading *r, const struct row *row)
{
    *r = (struct reading){.row = row, .content = BUF_INIT(4096)};
    if (row->kind < RESPONSE)
        http1_request_init(&r->head, limits_of(row));
    else
        http1_response_init(&r->head, limits_of(row),
                            row->kind == HEAD      ? HTTP_HEAD
                            : row->kind == CONNECT ? HTTP_CONNECT
                                                   : HTTP_GET);
}

static void
read_body(struct reading *r, const char *bytes, size_t len)
{
    do {
        size_t used, piece;
        r->verdict = http1_body_read(&r->body, bytes + r->used, len - r->used, &used, &piece);
        r->used += used;
        buf_add(&r->content, bytes + r->used - piece, piece);
    } while (r->verdict == HTTP1_PIECE);
    r->reason = r->body.reason;
}

static void
read_some(struct reading *r, size_t len)
{
    char *bytes = malloc(len ? len : 1); /* another address each time, exactly as long */
    if (len)
        memcpy(bytes, r->row->text, len);
    if (!r->has_head) {
        r->verdict = http1_head_read(&r->head, bytes, len);
        r->reason = r->head.reason;
        if (r->verdict == HTTP1_DONE) {
            r->has_head = true;
            r->used = r->head.len;
            http1_body_init(&r->body, &r->head, r->row->kind == TINY ? 8 : 1000);
        }
    }
    if (r->has_head && r->verdict != HTTP1_REFUSED)
        read_body(r, bytes, len);
    free(bytes);
    r->head.bytes = r->row->text;
}

static void
read_end(struct reading *r)
{
    if (r->verdict != HTTP1_MORE ||
        (r->row->kind != CUT && r->row->kind != RESPONSE && r->row->kind != CONNECT))
        return;
    r->verdict = r->has_head ? http1_body_end(&r->body) : HTTP1_REFUSED;
    r->reason = r->has_head ? r->body.reason : HTTP1_BODY_CUT;
}

/* METHOD [form] path [?query] host | status 'phrase', version, keep|close, framing 'content',
 * [more], [+bytes behind it]; or "more"; or "refused: reason". */

static void
describe_request(const struct http1_head *h, struct buf *out)
{
    static const char *const forms[] = {"", "abs ", "auth ", "star "};
    buf_printf(out, "%.*s %s%.*s", (int)h->method_name.len, h->bytes + h->method_name.at,
               forms[h->form], (int)h->path.len, h->bytes + h->path.at);
    if (h->query.len)
        buf_printf(out, " ?%.*s", (int)h->query.len, h->bytes + h->query.at);
    buf_printf(out, " %.*s", (int)h->host.len, h->bytes + h->host.at);
}

static void
describe(const struct reading *r, struct buf *out)
{
    static const char *const framings[] = {"none", "length", "chunked", "until-close"};
    const struct http1_head *h = &r->head;
    buf_clear(out);
    if (r->verdict == HTTP1_REFUSED) {
        buf_printf(out, "refused: %s", http1_reason_row(r->reason)->name);
        return;
    }
    if (!r->has_head) {
        buf_add_str(out, "more");
        return;
    }
    if (h->is_response)
        buf_printf(out, "%u '%.*s'", h->status, (int)h->phrase.len, h->bytes + h->phrase.at);
    else
        describe_request(h, out);
    buf_printf(out, " 1.%u %s%s %s", h->minor, h->keep_alive ? "keep" : "close",
               h->expect_continue ? " expects" : "", framings[h->framing]);
    if (h->framing != HTTP1_NO_BODY)
        buf_printf(out, " '%s'", r->content.data);
    if (r->verdict == HTTP1_MORE)
        buf_add_str(out, " more");
    if (r->used < r->row->len)
        buf_printf(out, " +%zu", r->row->len - r->used);
}

/* step 0: whole after `cut` bytes; else that many bytes at a time. */
static void
read_row(const struct row *row, size_t cut, size_t step, struct buf *out)
{
    struct reading r;
    reading_init(&r, row);
    for (size_t len = cut; r.verdict == HTTP1_MORE && len < row->len; len += step ? step : row->len)
        read_some(&r, len);
    if (r.verdict == HTTP1_MORE)
        read_some(&r, row->len);
    read_end(&r);
    describe(&r, out);
    buf_finish(&r.content);
}

TEST(http1_messages_whole)
{
    _cleanup_buf_ struct buf got = BUF_INIT(4096);
    CHECK(ARRAY_SIZE(rows) >= 150);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        tap_note("row %zu: %.60s", i, rows[i].text);
        read_row(&rows[i], rows[i].len, 0, &got);
        CHECK_STR(got.data, rows[i].want);
    }
}

TEST(http1_messages_byte_by_byte)
{
    _cleanup_buf_ struct buf got = BUF_INIT(4096);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        tap_note("row %zu: %.60s", i, rows[i].text);
        read_row(&rows[i], 0, 1, &got);
        CHECK_STR(got.data, rows[i].want);
    }
}

TEST(http1_messages_cut_anywhere)
{
    _cleanup_buf_ struct buf got = BUF_INIT(4096);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        for (size_t cut = 0; cut <= rows[i].len; cut++) {
            tap_note("row %zu at %zu: %.60s", i, cut, rows[i].text);
            read_row(&rows[i], cut, 0, &got);
            CHECK_STR(got.data, rows[i].want);
        }
    }
}

TEST(http1_every_reason_is_shown)
{
    char want[64];
    for (int reason = HTTP1_NONE + 1; reason < HTTP1_REASON_COUNT; reason++) {
        bool shown = false;
        const struct http1_reason_row *row = http1_reason_row((enum http1_reason)reason);
        (void)snprintf(want, sizeof(want), "refused: %s", row->name);
        for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
            shown |= strcmp(rows[i].want, want) == 0;
        tap_note("%s", want);
        CHECK(shown || reason == HTTP1_PHRASE_LONG); /* too long for a row */
        CHECK(row->status >= 400 && row->status <= 505 && row->why);
    }
}

TEST(http1_phrase_has_a_limit)
{
    char text[1024];
    struct http1_head head;
    int len = snprintf(text, sizeof(text), "HTTP/1.1 200 %0513d\r\n\r\n", 0);
    http1_response_init(&head, &http_server_config_default.head, HTTP_GET);
    CHECK_EQ(http1_head_read(&head, text, (size_t)len), HTTP1_REFUSED);
    CHECK_EQ(head.reason, HTTP1_PHRASE_LONG);
    len = snprintf(text, sizeof(text), "HTTP/1.1 200 %0512d\r\n\r\n", 0);
    http1_response_init(&head, &http_server_config_default.head, HTTP_GET);
    CHECK_EQ(http1_head_read(&head, text, (size_t)len), HTTP1_DONE);
}

TEST(http1_fields_are_found)
{
    static const char text[] = TOP "accept: a\r\nX-Own: 1\r\nACCEPT:b\r\nx-own:  2 \r\n\r\n";
    struct http1_head head;
    http1_request_init(&head, &http_server_config_default.head);
    REQUIRE(http1_head_read(&head, text, sizeof(text) - 1) == HTTP1_DONE);
    CHECK_EQ(head.field_count, 5);
    const struct http1_field *accept = http1_find(&head, HTTP_FIELD_ACCEPT);
    REQUIRE(accept);
    CHECK(http1_is(&head, accept->value, "a"));
    CHECK(!http1_is(&head, accept->value, "ab"));
    CHECK(!http1_find(&head, HTTP_FIELD_COOKIE));
    CHECK(http1_is(&head, head.fields[2].name, "X-Own"));
    CHECK(http1_find_other(&head, "x-own") == &head.fields[2]);
    CHECK(!http1_find_other(&head, "x-ow"));
    CHECK(!http1_find_other(&head, "x-owner"));
    CHECK(http1_is(&head, head.fields[4].value, "2"));
}

TEST(http1_says_when_to_ask_again)
{
    static const struct {
        const char *field;
        uint64_t seconds;
    } waits[] = {
        {"X-Own: 1", 0},
        {"Retry-After: 17", 17},
        {"Retry-After:", 0},
        {"Retry-After: -1", 0},
        {"Retry-After: 1.5", 0},
        {"Retry-After: Wed, 21 Oct 2026 07:28:00 GMT", 0},
        {"Retry-After: 18446744073709551617", 3600},
    };
    for (size_t i = 0; i < ARRAY_SIZE(waits); i++) {
        char text[128];
        struct http1_head head;
        int len =
            snprintf(text, sizeof(text), OK "%s\r\nContent-Length: 0\r\n\r\n", waits[i].field);
        tap_note("%s", text);
        http1_response_init(&head, &http_server_config_default.head, HTTP_GET);
        REQUIRE(http1_head_read(&head, text, (size_t)len) == HTTP1_DONE);
        CHECK_EQ(http1_retry_after_s(&head), waits[i].seconds);
    }
}

TEST(http1_known_fields_are_known)
{
    static const char *const names[HTTP_FIELD_COUNT] = {
#define FIELD(name, text, ...) [HTTP_FIELD_##name] = text,
#include "http/field.def"
#undef FIELD
    };
    char text[128];
    CHECK_EQ(http_field_of("", 0), HTTP_FIELD_OTHER);
    for (int id = HTTP_FIELD_OTHER + 1; id < HTTP_FIELD_COUNT; id++) {
        struct http1_head head;
        int len = snprintf(text, sizeof(text), OK "%s: x\r\n", names[id]);
        tap_note("%s", text);
        http1_response_init(&head, &http_server_config_default.head, HTTP_GET);
        CHECK_EQ(http1_head_read(&head, text, (size_t)len), HTTP1_MORE);
        CHECK_EQ(head.fields[0].id, id);
        text[sizeof(OK) - 1] ^= 0x01; /* another first letter */
        http1_response_init(&head, &http_server_config_default.head, HTTP_GET);
        CHECK_EQ(http1_head_read(&head, text, (size_t)len), HTTP1_MORE);
        CHECK_EQ(head.fields[0].id, HTTP_FIELD_OTHER);
    }
}

TEST(http1_refused_stays_refused)
{
    struct http1_head head;
    http1_request_init(&head, &http_server_config_default.head);
    CHECK_EQ(http1_head_read(&head, " ", 1), HTTP1_REFUSED);
    CHECK_EQ(http1_head_read(&head, TOP "\r\n", sizeof(TOP) + 1), HTTP1_REFUSED);
    CHECK_EQ(head.reason, HTTP1_METHOD_BYTE);
}
