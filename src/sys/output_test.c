#include "sys/output.h"

#include "tap.h"

#include <errno.h>
#include <string.h>

static int
run(const char *script, size_t ceiling, uint64_t limit_us, struct buf *out, struct buf *words,
    struct proc_end *ret_end, struct err *reterr)
{
    const char *const argv[] = {"sh", "-c", script, NULL};
    const struct output_wish wish = {.argv = argv, .in = -1, .limit_us = limit_us};
    buf_init(out, ceiling);
    buf_init(words, ceiling);
    return output_read(&wish, out, words, ret_end, reterr);
}

TEST(what_a_program_says)
{
    static const struct {
        const char *script;
        int status;
        const char *out, *last;
    } rows[] = {
        {"echo a; echo b >&2; echo c >&2", 0, "a\n", "c"},
        {"echo why >&2; echo; echo >&2; exit 3", 3, "\n", "why"},
        {"exit 1", 1, "", ""},
        {"exec >&- 2>&-; exit 5", 5, "", ""},
        {"cat", 0, "", ""}, /* nothing to read */
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_buf_ struct buf out, words;
        struct proc_end end;
        tap_note("%s", rows[i].script);
        REQUIRE(run(rows[i].script, 100, 30000000, &out, &words, &end, NULL) == 0);
        CHECK_EQ(end.status, rows[i].status);
        CHECK_STR(out.data, rows[i].out);
        CHECK_STR(output_last_line(&words), rows[i].last);
    }
}

TEST(a_program_that_says_too_much_is_heard_to_its_end)
{
    _cleanup_buf_ struct buf out, words;
    struct proc_end end;
    REQUIRE(run("yes | head -c 300000; exit 7", 1000, 30000000, &out, &words, &end, NULL) == 0);
    CHECK_EQ(end.status, 7);
    CHECK_EQ(out.len, 1000);
    CHECK(buf_error(&out) < 0);
}

TEST(a_program_that_hangs_is_killed)
{
    static const char *const scripts[] = {"exec sleep 1000", "exec >&- 2>&-; exec sleep 1000"};
    for (size_t i = 0; i < ARRAY_SIZE(scripts); i++) {
        _cleanup_buf_ struct buf out, words;
        struct proc_end end;
        struct err err;
        CHECK_EQ(run(scripts[i], 100, 20000, &out, &words, &end, &err), -ETIMEDOUT);
        CHECK(strstr(err.what, "sh was killed after 20ms"));
    }
}

TEST(a_program_that_is_not_there)
{
    _cleanup_buf_ struct buf out = BUF_INIT(10), words = BUF_INIT(10);
    const char *const argv[] = {"/nonexistent/program", NULL};
    const struct output_wish wish = {.argv = argv, .in = -1, .limit_us = 1000000};
    struct proc_end end;
    CHECK_EQ(output_read(&wish, &out, &words, &end, NULL), -ENOENT);
}
