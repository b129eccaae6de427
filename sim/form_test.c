#include "sim/form.h"

#include "base/buf.h"
#include "tap.h"

#include <stdio.h>
#include <string.h>

TEST(boundaries_are_found)
{
    static const struct {
        const char *type, *want; /* NULL: refused */
    } rows[] = {
        {"multipart/form-data; boundary=abc", "abc"},
        {"Multipart/Form-Data;boundary=a-b.c", "a-b.c"},
        {"multipart/form-data; boundary=\"x y\"", NULL},
        {"multipart/form-data; boundary=\"x=y\"", "x=y"},
        {"multipart/form-data; boundary=\"open", NULL},
        {"multipart/form-data; boundary=", NULL},
        {"multipart/form-data; charset=utf-8; boundary=abc; x=y", "abc"},
        {"multipart/form-data; xboundary=abc", NULL},
        {"multipart/form-data;", NULL},
        {"multipart/form-data", NULL},
        {"application/json; boundary=abc", NULL},
        {"multipart/form-data; boundary="
         "12345678901234567890123456789012345678901234567890123456789012345678901",
         NULL},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char boundary[FORM_BOUNDARY_MAX + 1] = "";
        bool found = form_boundary(rows[i].type, strlen(rows[i].type), boundary);
        tap_note("%s", rows[i].type);
        CHECK_EQ(found, rows[i].want != NULL);
        if (rows[i].want)
            CHECK_STR(boundary, rows[i].want);
    }
}

TEST(forms_are_read_or_refused)
{
    static const struct {
        const char *body, *want;
    } rows[] = {
        {"--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nw\r\n--b--\r\n", "model=w;"},
        {"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n"
         "Content-Type: audio/wav\r\n\r\n\r\n-b\r\n--b\r\ncontent-disposition: form-data; "
         "name=\"x\"\r\n\r\n\r\n--b--",
         "file[a.wav]=\r\n-b;x=;"},
        {"--b--", ""},
        {"", "refused"},
        {"--c\r\n", "refused"},
        {"--b", "refused"},
        {"--b\r\n\r\nw\r\n--b--", "refused"},
        {"--b\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\nw", "refused"},
        {"--b\r\nContent-Disposition: form-data; filename=\"x\"\r\n\r\nw\r\n--b--", "refused"},
        {"--b\r\nContent-Disposition: form-data; name=\"x", "refused"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_arena_ struct arena arena;
        _cleanup_buf_ struct buf seen = BUF_INIT(4096);
        struct form form;
        arena_init(&arena, 64 * KIB);
        tap_note("%s", rows[i].body);
        if (form_parse(&form, &arena, rows[i].body, strlen(rows[i].body), "b", NULL) < 0)
            buf_add_str(&seen, "refused");
        for (size_t n = 0; n < form.count && strcmp(seen.data, "refused") != 0; n++) {
            const struct form_part *p = &form.parts[n];
            buf_printf(&seen, p->file ? "%s[%s]=%.*s;" : "%s%s=%.*s;", p->name,
                       p->file ? p->file : "", (int)p->len, p->bytes);
        }
        CHECK_STR(seen.data, rows[i].want);
    }
}
