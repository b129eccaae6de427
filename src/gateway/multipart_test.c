#include "gateway/multipart.h"

#include "base/buf.h"
#include "sys/files.h"
#include "tap.h"

#include <errno.h>

#define TYPE "multipart/form-data; boundary=b"
#define HEAD(rest) "--b\r\nContent-Disposition: form-data; " rest "\r\n\r\n"

/* step: bytes at a time. */
static int
read_form(struct multipart *m, const char *type, const char *body, size_t len, size_t step,
          struct err *err)
{
    int r = multipart_init(m, type, strlen(type), err);
    for (size_t at = 0; r == 0 && at < len; at += step)
        r = multipart_read(m, body + at, MIN(step, len - at), err);
    return r == 0 ? multipart_end(m, err) : r;
}

TEST(fields_are_found_where_they_stand)
{
    static const struct {
        const char *type, *body, *model;
    } rows[] = {
        {TYPE, HEAD("name=\"model\"") "phi3\r\n--b--\r\n", "phi3"},
        {TYPE, HEAD("name=model") "phi3\r\n--b--", "phi3"},
        {TYPE, HEAD("name=\"model\"") "\r\n--b--", ""},
        {TYPE, HEAD("name=\"model\"") "a\rb", NULL},
        {TYPE, HEAD("name=\"x\"; filename=\"model\"") "f\r\n" HEAD("name=\"model\"") "m\r\n--b--",
         "m"},
        {TYPE, HEAD("name=\"x\"") "\r\n-\r\n--\r\n--a\r\n\r\n" HEAD("name=\"model\"") "-\r\n--b--",
         "-"},
        {TYPE, "preamble --b\r\n--a\r\n" HEAD("name=\"model\"") "m\r\n--b--\r\nepilogue\r\n--b",
         "m"},
        {TYPE,
         "--b \t\r\nA: b\r\ncontent-disposition:form-data ; NAME=\"model\" ;\r\n\r\nm\r\n--b--",
         "m"},
        {"Multipart/Form-Data; charset=UTF-8; Boundary=\"b c'()+_,-./:=?b\"",
         "--b c'()+_,-./:=?b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n"
         "--b c'()+_,-./:=?b--",
         "m"},
        {TYPE,
         "--b\r\nContent-Transfer-Encoding: binary\r\nContent-Disposition: form-data; "
         "name=\"model\"\r\n\r\nm\r\n--b--",
         "m"},
        {TYPE,
         "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n"
         "CONTENT-TRANSFER-ENCODING:8Bit \r\n\r\nm\r\n--b--",
         "m"},
        {TYPE, HEAD("name=\"model\"\r\nContent-Transfer-Encoding: 7bit") "m\r\n--b--", "m"},
        {TYPE, "--b--", NULL},
        {TYPE, HEAD("name=\"model\\\"\"") "x\r\n--b--", NULL},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        for (size_t step = 1; step < 40; step++) {
            struct multipart m;
            const char *body = rows[i].body;
            size_t len = strlen(body);
            int r = read_form(&m, rows[i].type, body, len, step, NULL);
            const struct multipart_value *v = &m.fields[MULTIPART_MODEL];
            tap_note("%s", body);
            if (strstr(body, "a\rb")) {
                CHECK_EQ(r, -EBADMSG);
                continue;
            }
            REQUIRE(r == 0);
            CHECK_EQ(v->there, rows[i].model != NULL);
            CHECK_STR(v->text, rows[i].model ? rows[i].model : "");
            if (v->there)
                CHECK(memcmp(body + v->at, v->text, v->len) == 0 && v->len == strlen(v->text));
            CHECK(memcmp(body + m.first, m.mark + 2, m.mark_len - 2) == 0);
        }
    }
}

TEST(what_two_readers_might_read_otherwise_is_refused)
{
    static const struct {
        const char *body, *what;
        int r;
    } rows[] = {
        {"", "at byte 0 of the form: it ends before the boundary that would end it", -EBADMSG},
        {HEAD("name=\"a\"") "x",
         "at byte 50 of the form: it ends before the boundary that would end it", -EBADMSG},
        {"--bc\r\n", "at byte 3 of the form: a line begins like the boundary and goes on",
         -EBADMSG},
        {"--b-\r\n", "at byte 4 of the form: a line begins like the boundary and goes on",
         -EBADMSG},
        {"--b\n", "at byte 3 of the form: a line begins like the boundary and goes on", -EBADMSG},
        {"--b\r\nA: b\n\n",
         "at byte 9 of the form: a line in the head of a part does not end with CR LF", -EBADMSG},
        {"--b\r\nA: b\rc",
         "at byte 10 of the form: a line in the head of a part does not end with CR LF", -EBADMSG},
        {"--b\r\n\r\n", "at byte 7 of the form: a part has no name", -EBADMSG},
        {"--b\r\nA: b\r\n c\r\n\r\n",
         "at byte 17 of the form: a line in the head of a part has no name", -EBADMSG},
        {HEAD("filename=\"x\""), "at byte 53 of the form: a part has no name", -EBADMSG},
        {HEAD("name=a; name*0=model"), "at byte 61 of the form: a part has no plain name, or two",
         -EBADMSG},
        {HEAD("name*=utf-8''model"), "at byte 59 of the form: a part has no plain name, or two",
         -EBADMSG},
        {HEAD("name=\"x\"; name=\"model\""),
         "at byte 63 of the form: a part has no plain name, or two", -EBADMSG},
        {HEAD("name=\"mo\\del\""), "at byte 54 of the form: the disposition of a part is malformed",
         -EBADMSG},
        {HEAD("name=\"a\" x"), "at byte 51 of the form: the disposition of a part is malformed",
         -EBADMSG},
        {"--b\r\nContent-Disposition: attachment; name=\"a\"\r\n\r\n",
         "at byte 50 of the form: the disposition of a part is not form-data", -EBADMSG},
        {"--b\r\nContent-Disposition: form-data; name=\"a\"\r\nContent-Disposition: form-data\r\n"
         "\r\n",
         "at byte 81 of the form: a part has two dispositions", -EBADMSG},
        {HEAD("name=\"model\"; filename=\"x\""),
         "at byte 67 of the form: the field 'model' is a file, or has a transfer encoding",
         -EBADMSG},
        {"--b\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: form-data; "
         "name=\"model\"\r\n\r\n",
         "at byte 88 of the form: the field 'model' is a file, or has a transfer encoding",
         -EBADMSG},
        {HEAD("name=\"model\"\r\nContent-Transfer-Encoding: 8bit, base64"),
         "at byte 94 of the form: the field 'model' is a file, or has a transfer encoding",
         -EBADMSG},
        {HEAD("name=\"model\"\r\nContent-Transfer-Encoding:"),
         "at byte 81 of the form: the field 'model' is a file, or has a transfer encoding",
         -EBADMSG},
        {HEAD("name=\"model\"") "a\r\n" HEAD("name=\"model\""),
         "at byte 109 of the form: the field 'model' is there twice", -EBADMSG},
        {HEAD("name=\"model\"") "--b--", "at byte 56 of the form: a part has a head and no body",
         -EBADMSG},
        {HEAD("name=\"model\"") "a\r\nb\r\n--b--",
         "the field 'model' is 'a??b', expected a line of 255 bytes at most", -EINVAL},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        for (size_t step = 1; step < 100; step += 7) {
            struct multipart m;
            struct err err = {0};
            tap_note("%s", rows[i].body);
            CHECK_EQ(read_form(&m, TYPE, rows[i].body, strlen(rows[i].body), step, &err),
                     rows[i].r);
            CHECK_STR(err.what, rows[i].what);
        }
    }
}

TEST(a_content_type_has_one_boundary)
{
    static const char *const types[] = {
        "application/json",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=\"\"",
        "multipart/form-data; boundary=a; boundary=b",
        "multipart/form-data; boundary=a b",
        "multipart/form-data; boundary=\"a",
        "multipart/form-data; boundary=\"a \"",
        "multipart/form-data; boundary=\"a<\"",
        ("multipart/form-data; boundary=0123456789012345678901234567890123456789012345678901234"
         "5678901234567890"),
        "multipart/form-data; boundary=b; boundary*=utf-8''c",
        "multipart/form-data; boundary=b; boundary*0=c",
        "multipart/form-data; boundary=b; charset=utf-7",
        "multipart/form-data; boundary=b; x=y",
        "multipart/mixed; boundary=b",
        "multipart/form-datax; boundary=b",
    };
    for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
        struct multipart m;
        tap_note("%s", types[i]);
        CHECK_EQ(multipart_init(&m, types[i], strlen(types[i]), NULL), -EBADMSG);
    }
}

TEST(everything_that_grows_has_a_ceiling)
{
    struct multipart m;
    for (size_t n = MULTIPART_TEXT_MAX; n <= MULTIPART_TEXT_MAX + 1; n++) {
        _cleanup_buf_ struct buf body = BUF_INIT(64 * KIB);
        buf_add_str(&body, HEAD("name=\"model\""));
        for (size_t i = 0; i < n; i++)
            buf_add_char(&body, 'm');
        buf_add_str(&body, "\r\n--b--");
        CHECK_EQ(read_form(&m, TYPE, body.data, body.len, 100, NULL),
                 n > MULTIPART_TEXT_MAX ? -EINVAL : 0);
    }
    for (size_t n = MULTIPART_PARTS_MAX; n <= MULTIPART_PARTS_MAX + 1; n++) {
        _cleanup_buf_ struct buf body = BUF_INIT(64 * KIB);
        for (size_t i = 0; i < n; i++)
            buf_add_str(&body, HEAD("name=\"x\"") "\r\n");
        buf_add_str(&body, "--b--");
        CHECK_EQ(read_form(&m, TYPE, body.data, body.len, 100, NULL),
                 n > MULTIPART_PARTS_MAX ? -EBADMSG : 0);
    }
    _cleanup_buf_ struct buf body = BUF_INIT(64 * KIB);
    buf_add_str(&body, "--b\r\nA: ");
    for (size_t i = 0; i < MULTIPART_HEAD_MAX; i++)
        buf_add_char(&body, 'a');
    CHECK_EQ(read_form(&m, TYPE, body.data, body.len, 100, NULL), -EBADMSG);
}

TEST(forms_of_clients_are_read)
{
    static const struct {
        const char *file, *model, *stream;
    } rows[] = {
        {"tests/data/openai/audio-transcriptions-request.http", "openai/whisper-large-v3", ""},
        {"tests/data/openai/audio-transcriptions-request-file-first-stream.http",
         "openai/whisper-large-v3", "true"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_buf_ struct buf text = BUF_INIT(1 * MIB);
        struct multipart m;
        REQUIRE(file_read(tap_source(rows[i].file), &text, NULL) == 0);
        const char *type = strstr(text.data, "Content-Type: ") + strlen("Content-Type: ");
        const char *body = strstr(text.data, "\r\n\r\n") + 4;
        size_t len = text.len - (size_t)(body - text.data);
        REQUIRE(multipart_init(&m, type, strcspn(type, "\r"), NULL) == 0);
        REQUIRE(multipart_read(&m, body, len, NULL) == 0 && multipart_end(&m, NULL) == 0);
        CHECK_STR(m.fields[MULTIPART_MODEL].text, rows[i].model);
        CHECK_STR(m.fields[MULTIPART_STREAM].text, rows[i].stream);
    }
}
