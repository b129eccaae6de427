#include "http/write.h"

#include "http/server.h"
#include "tap.h"

#include <errno.h>
#include <stdio.h>

TEST(write_response_head)
{
    _cleanup_buf_ struct buf out = BUF_INIT(1024);
    struct http_writer w;
    http_write_response(&w, &out, 404);
    http_write_field(&w, "Content-Type", "text/plain");
    http_write_field_n(&w, "\xC3\xA9", "", 0); /* a name that is no token */
    CHECK_EQ(http_write_end(&w), -EINVAL);
    CHECK_STR(out.data, "");
    http_write_response(&w, &out, 404);
    http_write_field(&w, "Content-Type", "text/plain; \t caf\xC3\xA9");
    http_write_length(&w, 0);
    CHECK_EQ(http_write_end(&w), 0);
    CHECK_STR(out.data, "HTTP/1.1 404 Not Found\r\n"
                        "Content-Type: text/plain; \t caf\xC3\xA9\r\n"
                        "Content-Length: 0\r\n\r\n");
}

TEST(write_request_head)
{
    _cleanup_buf_ struct buf out = BUF_INIT(1024);
    struct http_writer w;
    http_write_request(&w, &out, "POST", "/a?b");
    http_write_field(&w, "Host", "h");
    http_write_chunked(&w);
    CHECK_EQ(http_write_end(&w), 0);
    CHECK_STR(out.data, "POST /a?b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
}

TEST(write_refuses_injection)
{
    static const struct {
        const char *method, *target, *name, *value;
        size_t len;
        bool allowed;
    } rows[] = {
        {"GET", "/", "A", "b", 1, true},          {"GET", "/", "A", "", 0, true},
        {"GET", "/", "A", "b\r\nC: d", 7, false}, {"GET", "/", "A", "b\rc", 3, false},
        {"GET", "/", "A", "b\nc", 3, false},      {"GET", "/", "A", "b\0c", 3, false},
        {"GET", "/", "A", "\x01", 1, false},      {"GET", "/", "A", "\x7F", 1, false},
        {"GET", "/", "", "b", 1, false},          {"GET", "/", "A:", "b", 1, false},
        {"GET", "/", "A B", "b", 1, false},       {"GET", "/", "A\r\nB", "b", 1, false},
        {"GET", "/", "A\xC3\xA9", "b", 1, false}, {"", "/", "A", "b", 1, false},
        {"GET /x", "/", "A", "b", 1, false},      {"GET\r\n", "/", "A", "b", 1, false},
        {"GET", "", "A", "b", 1, false},          {"GET", "/a b", "A", "b", 1, false},
        {"GET", "/\r\nA: b", "A", "b", 1, false}, {"GET", "/#a", "A", "b", 1, false},
        {"GET", "/\xC3\xA9", "A", "b", 1, false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_buf_ struct buf out = BUF_INIT(1024);
        struct http_writer w;
        tap_note("row %zu", i);
        buf_add_str(&out, "before");
        http_write_request(&w, &out, rows[i].method, rows[i].target);
        http_write_field_n(&w, rows[i].name, rows[i].value, rows[i].len);
        CHECK_EQ(http_write_end(&w), rows[i].allowed ? 0 : -EINVAL);
        CHECK(rows[i].allowed == (out.len > 6));
        CHECK(memcmp(out.data, "before", 6) == 0);
    }
}

/* What our own parser refuses, or reads as something else. */
TEST(write_refuses_what_is_not_read_back)
{
    static const struct {
        const char *first, *name, *value;
        bool allowed;
    } rows[] = {
        {"B", "A", "b c", true},
        {"B", "A", " b", false},
        {"B", "A", "b\t", false},
        {"B", "A", " ", false},
        {"A", "A", "b", true},
        {"Accept", "Accept", "b", true},
        {"Host", "host", "b", false},
        {"Content-Type", "CONTENT-TYPE", "b", false},
        {"Authorization", "Authorization", "b", false},
        {"B", "Content-Length", "1", false},
        {"B", "transfer-encoding", "chunked", false},
        {"B", "Connection", "close", false},
        {"B", "Keep-Alive", "b", false},
        {"B", "Proxy-Connection", "b", false},
        {"B", "TE", "trailers", false},
        {"B", "Trailer", "b", false},
        {"B", "Upgrade", "b", false},
        {"B", "Expect", "100-continue", false},
        {"B", "Content-Lengths", "1", true},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_buf_ struct buf out = BUF_INIT(1024);
        struct http_writer w;
        tap_note("%s: %s", rows[i].name, rows[i].value);
        http_write_response(&w, &out, 200);
        http_write_field(&w, rows[i].first, "b");
        http_write_field(&w, rows[i].name, rows[i].value);
        CHECK_EQ(http_write_end(&w), rows[i].allowed ? 0 : -EINVAL);
    }
}

TEST(write_above_the_ceiling_is_told)
{
    _cleanup_buf_ struct buf out = BUF_INIT(32);
    struct http_writer w;
    http_write_response(&w, &out, 200);
    http_write_field(&w, "A", "0123456789012345678901234567890123456789");
    CHECK_EQ(http_write_end(&w), -ENOBUFS);
}

TEST(write_chunks_that_read_back)
{
    static const size_t sizes[] = {1, 9, 10, 15, 16, 17, 255, 256, 4095, 4096, 65535, 65536};
    _cleanup_buf_ struct buf out = BUF_INIT(1 << 20);
    _cleanup_buf_ struct buf content = BUF_INIT(1 << 20);
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        char *to = buf_reserve(&content, sizes[i]);
        REQUIRE(to);
        memset(to, 'a' + (int)i, sizes[i]);
        buf_commit(&content, sizes[i]);
        http_write_chunk(&out, content.data + content.len - sizes[i], sizes[i]);
    }
    http_write_chunk(&out, "", 0);
    http_write_last_chunk(&out);
    CHECK_EQ(buf_error(&out), 0);

    struct http1_head head = {.framing = HTTP1_CHUNKED, .limits = &http_server_config_default.head};
    struct http1_body body;
    size_t at = 0, got = 0, used, piece;
    enum http1_verdict verdict;
    http1_body_init(&body, &head, UINT64_MAX);
    while ((verdict = http1_body_read(&body, out.data + at, out.len - at, &used, &piece)) ==
           HTTP1_PIECE) {
        at += used;
        REQUIRE(got + piece <= content.len);
        CHECK(memcmp(out.data + at - piece, content.data + got, piece) == 0);
        got += piece;
    }
    CHECK_EQ(verdict, HTTP1_DONE);
    CHECK_EQ(got, content.len);
    CHECK_EQ(at + used, out.len);
}

TEST(write_dates)
{
    struct http_date date = {0};
    CHECK_STR(http_date(&date, 0), "Thu, 01 Jan 1970 00:00:00 GMT");
    CHECK_STR(http_date(&date, UINT64_C(784111777) * 1000000), "Sun, 06 Nov 1994 08:49:37 GMT");
    CHECK_STR(http_date(&date, UINT64_C(784111777) * 1000000 + 999999),
              "Sun, 06 Nov 1994 08:49:37 GMT");
    CHECK_STR(http_date(&date, UINT64_C(1709210096) * 1000000), "Thu, 29 Feb 2024 12:34:56 GMT");
}

TEST(write_phrases)
{
    CHECK_STR(http_status_phrase(200), "OK");
    CHECK_STR(http_status_phrase(431), "Request Header Fields Too Large");
    CHECK_STR(http_status_phrase(299), "");
    for (int reason = 1; reason < HTTP1_REASON_COUNT; reason++)
        CHECK(http_status_phrase((unsigned)http1_reason_row((enum http1_reason)reason)->status)[0]);
}
