#include "base/buf.h"

#include "tap.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

TEST(an_empty_buffer_is_an_empty_string)
{
    _cleanup_buf_ struct buf b = BUF_INIT(100);
    CHECK_STR(b.data, "");
    buf_add(&b, "", 0);
    CHECK_EQ(b.room, 0);
    buf_clear(&b);
    buf_consume(&b, 0);
    CHECK_STR(b.data, "");
}

TEST(what_does_not_fit_is_not_added_in_part)
{
    _cleanup_buf_ struct buf b = BUF_INIT(10);
    buf_add_str(&b, "12345");
    buf_add_str(&b, "678901");
    CHECK_EQ(buf_error(&b), -ENOBUFS);
    CHECK_STR(b.data, "12345");
    buf_add_char(&b, '6'); /* would fit, but the failure stays */
    CHECK_STR(b.data, "12345");
    buf_clear(&b);
    CHECK_EQ(buf_error(&b), 0);
    buf_add_str(&b, "1234567890");
    CHECK_EQ(buf_error(&b), 0);
    CHECK_EQ(b.len, 10);
    buf_printf(&b, "%d", 1);
    CHECK_EQ(buf_error(&b), -ENOBUFS);
}

TEST(any_mix_of_additions_keeps_the_invariants)
{
    _cleanup_buf_ struct buf b = BUF_INIT(100000);
    char *mirror = calloc(1, 100001);
    size_t len = 0;
    REQUIRE(mirror);
    for (unsigned i = 0; i < 20000; i++) {
        char piece[32];
        int n = snprintf(piece, sizeof(piece), "%u,", i * 2654435761u);
        if (i % 7 == 0 && len > 50) {
            buf_consume(&b, 50);
            memmove(mirror, mirror + 50, len - 50);
            len -= 50;
        }
        if (len + (size_t)n > 100000)
            break;
        if (i % 2)
            buf_printf(&b, "%s", piece);
        else
            buf_add(&b, piece, (size_t)n);
        memcpy(mirror + len, piece, (size_t)n);
        len += (size_t)n;
        REQUIRE(b.len == len && b.data[len] == '\0' && b.len <= b.ceiling_bytes);
    }
    CHECK(memcmp(b.data, mirror, len) == 0);
    free(mirror);
}

TEST(numbers_are_written_whole)
{
    _cleanup_buf_ struct buf b = BUF_INIT(100);
    buf_add_u64(&b, 0);
    buf_add_char(&b, ' ');
    buf_add_u64(&b, UINT64_MAX);
    CHECK_STR(b.data, "0 18446744073709551615");
}

TEST(reserved_room_counts_when_committed)
{
    _cleanup_buf_ struct buf b = BUF_INIT(100);
    char *room = buf_reserve(&b, 80);
    REQUIRE(room);
    memcpy(room, "xyz", 3);
    CHECK_EQ(b.len, 0);
    buf_commit(&b, 3);
    CHECK_STR(b.data, "xyz");
    CHECK(buf_reserve(&b, 98) == NULL);
    CHECK_EQ(buf_error(&b), -ENOBUFS);
}

TEST(truncating_forgets_what_did_not_fit)
{
    _cleanup_buf_ struct buf b = BUF_INIT(5);
    buf_truncate(&b, 0);
    CHECK_STR(b.data, "");
    buf_add_str(&b, "123");
    buf_add_str(&b, "456");
    CHECK_EQ(buf_error(&b), -ENOBUFS);
    buf_truncate(&b, 2);
    CHECK_STR(b.data, "12");
    CHECK_EQ(buf_error(&b), 0);
}

TEST(words_are_quoted_for_a_shell)
{
    static const struct {
        const char *word, *want;
    } rows[] = {
        {"/srv/models/phi-3.5_mini", "/srv/models/phi-3.5_mini"},
        {"", "''"},
        {"a b", "'a b'"},
        {"$(touch pwn)", "'$(touch pwn)'"},
        {"a;id", "'a;id'"},
        {"`id`", "'`id`'"},
        {"~", "'~'"},
        {"*", "'*'"},
        {"a\"b\\", "'a\"b\\'"},
        {"a'b", "'a'\\''b'"},
        {"\xc3\xa9", "'\xc3\xa9'"},
        {"tab\ty", "$'tab\\011y'"},
        {"it's \xc2\x9b", "$'it\\047s \\302\\233'"},
        {"\\\xe2\x80\xae\xff", "$'\\134\\342\\200\\256\\377'"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_buf_ struct buf b = BUF_INIT(100);
        tap_note("row %zu", i);
        buf_add_word(&b, rows[i].word);
        CHECK_STR(b.data, rows[i].want);
    }
}
