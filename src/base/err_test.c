#include "base/err.h"

#include "base/text.h"
#include "tap.h"

#include <ctype.h>
#include <errno.h>

TEST(an_error_carries_id_sentence_and_errno)
{
    struct err err = {0};
    CHECK_EQ(err_set(&err, ERR_VALUE, "'%s' is not a port", "70000"), -EINVAL);
    CHECK_EQ(err.id, ERR_VALUE);
    CHECK_STR(err.what, "'70000' is not a port");
    CHECK_STR(err.fix, "");
    CHECK_EQ(err_exit(&err), 64);
    err_fix(&err, "give a port from 1 to %d", 65535);
    CHECK_STR(err.fix, "give a port from 1 to 65535");
    err_prefix(&err, "%s", "models.phi3.port");
    CHECK_STR(err.what, "models.phi3.port: '70000' is not a port");
    CHECK_EQ(err_set(NULL, ERR_VALUE, "nobody listens"), -EINVAL);
    err_fix(NULL, "nobody");
    err_prefix(NULL, "nobody");
}

TEST(a_new_error_forgets_the_old_fix)
{
    struct err err = {0};
    (void)err_set(&err, ERR_VALUE, "first");
    err_fix(&err, "mend the first");
    (void)err_set(&err, ERR_VALUE, "second");
    CHECK_STR(err.fix, "");
}

TEST(hostile_text_cannot_drive_a_terminal)
{
    struct err err = {0};
    (void)err_set(&err, ERR_VALUE, "%s",
                  "a\x1b[2Jb\nc\x7f"
                  "d\xc2\x9b"
                  "e\xc3\xa9");
    CHECK_STR(err.what, "a?[2Jb?c?d?e\xc3\xa9");
    err_fix(&err, "%s", "\r");
    CHECK_STR(err.fix, "?");
}

TEST(long_text_is_cut_at_a_character)
{
    char text[1200];
    for (size_t shift = 0; shift < 3; shift++) {
        struct err err = {0};
        memset(text, 'x', shift);
        for (size_t i = shift; i + 3 < sizeof(text); i += 3)
            memcpy(text + i, "\xe2\x82\xac", 4);
        (void)err_set(&err, ERR_VALUE, "%s", text);
        CHECK(text_is_utf8(err.what, strlen(err.what)));
        CHECK(text_ends(err.what, "..."));
        err_prefix(&err, "%s", text);
        CHECK(text_is_utf8(err.what, strlen(err.what)));
        CHECK(text_ends(err.what, "..."));
    }
}

TEST(system_errors_find_their_id)
{
    static const struct {
        int err;
        enum err_id id;
    } rows[] = {
        {ENOENT, ERR_NOT_FOUND},    {ENOTDIR, ERR_NOT_FOUND},         {EACCES, ERR_NOT_PERMITTED},
        {EPERM, ERR_NOT_PERMITTED}, {EFBIG, ERR_TOO_LARGE},           {EIO, ERR_SYSTEM},
        {ENOSPC, ERR_SYSTEM},       {EADDRINUSE, ERR_ADDRESS_IN_USE},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct err err = {0};
        CHECK_EQ(err_set_errno(&err, rows[i].err, "cannot open %s", "/x"), -rows[i].err);
        CHECK_EQ(err.id, rows[i].id);
    }
    struct err err = {0};
    (void)err_set_errno(&err, ENOENT, "cannot open %s", "/x");
    CHECK_STR(err.what, "cannot open /x: No such file or directory");
}

TEST(the_table_is_complete)
{
    CHECK(err_row(ERR_NONE)->name == NULL);
    CHECK_EQ(err_find(NULL), ERR_NONE);
    CHECK_EQ(err_find("system.no-such"), ERR_NONE);
    for (int i = ERR_NONE + 1; i < ERR_COUNT; i++) {
        const struct err_row *row = err_row((enum err_id)i);
        const char *dot = strchr(row->name, '.');
        tap_note("%s", row->name);
        CHECK(dot && dot > row->name && dot[1]);
        for (const char *c = row->name; *c; c++)
            CHECK(islower((unsigned char)*c) || isdigit((unsigned char)*c) || strchr(".-", *c));
        CHECK_EQ(err_find(row->name), i);
        CHECK(row->err > 0);
        CHECK(strlen(row->help) > 10);
        CHECK(row->http_status >= 400 && row->http_status < 600);
        for (int j = ERR_NONE + 1; j < i; j++)
            CHECK(strcmp(row->name, err_row((enum err_id)j)->name) != 0);
    }
}

TEST(exit_codes_differ)
{
    for (const struct exit_row *row = exit_rows; row->name; row++) {
        CHECK(strlen(row->help) > 3);
        for (const struct exit_row *other = exit_rows; other < row; other++)
            CHECK(other->code != row->code);
    }
}
