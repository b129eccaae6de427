#include "deploy/compare.h"

#include "base/text.h"

#include "tap.h"

#include <stdlib.h>
#include <string.h>

#define FILE_OF(name_, text_)                                        \
    {                                                                \
        .name = (name_), .bytes = (text_), .len = sizeof(text_) - 1, \
    }

TEST(files_are_compared_by_name)
{
    static const struct generation_file old[] = {FILE_OF("a", "1"), FILE_OF("b", "1"),
                                                 FILE_OF("d", "1")};
    static const struct generation_file new[] = {FILE_OF("b", "2"), FILE_OF("c", "1"),
                                                 FILE_OF("d", "1")};
    _cleanup_arena_ struct arena arena;
    struct deploy_change *items;
    size_t count;
    arena_init(&arena, 1 * MIB);
    CHECK_EQ(deploy_compare(old, 3, new, 3, &arena, &items, &count), 0);
    CHECK_EQ(count, 3);
    CHECK_STR(items[0].name, "a");
    CHECK(items[0].from && !items[0].to);
    CHECK_STR(items[1].name, "b");
    CHECK(items[1].from == &old[1] && items[1].to == &new[0]);
    CHECK_STR(items[2].name, "c");
    CHECK(!items[2].from && items[2].to);
    CHECK_EQ(deploy_compare(old, 3, old, 3, &arena, &items, &count), 0);
    CHECK_EQ(count, 0);
}

TEST(what_is_a_unit)
{
    CHECK_STR(deploy_unit_of("units/citadel-phi3.service"), "citadel-phi3.service");
    CHECK_STR(deploy_unit_of("units/citadel-gateway.socket"), "citadel-gateway.socket");
    CHECK_STR(deploy_unit_of("units/citadel.tmpfiles"), NULL);
    CHECK_STR(deploy_unit_of("config.yaml"), NULL);
}

static const struct {
    const char *what, *from, *to, *want;
} rows[] = {
    {"a line between", "a\nb\nc\n", "a\nB\nc\n", " a\n-b\n+B\n c\n"},
    {"added at the end", "a\n", "a\nb\n", " a\n+b\n"},
    {"removed at the beginning", "a\nb\n", "b\n", "-a\n b\n"},
    {"far from each other", "1\n2\n3\n4\n5\n6\n7\n8\n9\n", "x\n2\n3\n4\n5\n6\n7\n8\ny\n",
     "-1\n+x\n 2\n 3\n 4\n...\n 6\n 7\n 8\n-9\n+y\n"},
    {"what stays is found", "a\nb\nc\nd\n", "b\nx\nd\n", "-a\n b\n-c\n+x\n d\n"},
    {"no end of line", "a", "a\nb", " a\n+b\n"},
    {"what could drive a terminal", "a\n", "\033[2J\n", "-a\n+?[2J\n"},
    {"to nothing", "a\n", "", "-a\n"},
};

TEST(lines_that_went_and_came)
{
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_buf_ struct buf out = BUF_INIT(1 * MIB);
        const struct generation_file from = {"f", rows[i].from, strlen(rows[i].from)};
        const struct generation_file to = {"f", rows[i].to, strlen(rows[i].to)};
        const struct deploy_change change = {"f", &from, &to};
        tap_note("%s", rows[i].what);
        deploy_print_change(&change, &out);
        CHECK(strncmp(out.data, "--- f\n+++ f\n", 12) == 0);
        CHECK_STR(out.data + 12, rows[i].want);
    }
}

TEST(a_file_that_comes_or_goes_says_so)
{
    static const struct generation_file file = FILE_OF("f", "a\n");
    const struct deploy_change created = {"f", NULL, &file}, removed = {"f", &file, NULL};
    _cleanup_buf_ struct buf out = BUF_INIT(1 * MIB);
    deploy_print_change(&created, &out);
    CHECK_STR(out.data, "--- (nothing)\n+++ f\n+a\n");
    buf_clear(&out);
    deploy_print_change(&removed, &out);
    CHECK_STR(out.data, "--- f\n+++ (nothing)\n-a\n");
}

/* Applied to the old text, it gives the new one. */
static void
apply(const char *diff, struct buf *old, struct buf *new)
{
    for (const char *at = diff; *at;) {
        size_t len = strcspn(at, "\n") + 1;
        if (text_starts(at, "...")) { /* what stays was left out, at the beginning or the end */
            at += len;
            continue;
        }
        if (*at != '+')
            buf_add(old, at + 1, len - 1);
        if (*at != '-')
            buf_add(new, at + 1, len - 1);
        at += len;
    }
}

/* The same on every machine. */
static unsigned
pick(unsigned *state, unsigned of)
{
    *state = *state * 1664525 + 1013904223;
    return (*state >> 16) % of;
}

static void
write_lines(unsigned *state, struct buf *out)
{
    for (unsigned lines = pick(state, 6); lines > 0; lines--)
        buf_printf(out, "%c\n", "abc"[pick(state, 3)]);
}

/* Five lines at most: with three around a change nothing is left out but at the ends. */
TEST(what_is_shown_is_in_both_texts)
{
    unsigned state = 7;
    for (unsigned round = 0; round < 2000; round++) {
        _cleanup_buf_ struct buf from = BUF_INIT(1 * KIB), to = BUF_INIT(1 * KIB);
        _cleanup_buf_ struct buf out = BUF_INIT(4 * KIB);
        _cleanup_buf_ struct buf old = BUF_INIT(1 * KIB), new = BUF_INIT(1 * KIB);
        write_lines(&state, &from);
        write_lines(&state, &to);
        const struct generation_file a = {"f", from.data, from.len}, b = {"f", to.data, to.len};
        const struct deploy_change change = {"f", &a, &b};
        deploy_print_change(&change, &out);
        tap_note("%s%s%s", from.data, to.data, out.data);
        apply(out.data + strlen("--- f\n+++ f\n"), &old, &new);
        CHECK(strstr(from.data, old.data) != NULL);
        CHECK(strstr(to.data, new.data) != NULL);
        CHECK(text_eq(from.data, to.data) == (out.len == strlen("--- f\n+++ f\n")));
    }
}
