#include "backup/s3_xml.h"

#include "base/buf.h"
#include "tap.h"

#include <errno.h>
#include <string.h>

static int
note(void *arg, const char *path, const char *text)
{
    buf_printf(arg, "%s=%s\n", path, text);
    return strcmp(text, "stop") == 0 ? -ECANCELED : 0;
}

TEST(s3_xml_says_what_it_holds)
{
    static const struct {
        const char *text, *want;
    } rows[] = {
        {"<?xml version=\"1.0\"?>\n<L xmlns=\"http://s3/\">\n<C><K>a/b</K><S>5</S></C><T/></L>\n",
         "L/C/K=a/b\nL/C/S=5\nL/C=\nL/T=\nL=\n"},
        {"<x:a b='>' c=\"/\"><!-- <no> -->t</x:a>", "a=t\n"},
        {"<a>&lt;&amp;&gt;&quot;&apos;&#65;&#x42;&#252;</a>", "a=<&>\"'AB\xc3\xbc\n"},
        {"<a  />", "a=\n"},
        {"<a>1<b>2</b></a>", "a/b=2\na=\n"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_buf_ struct buf got = BUF_INIT(4 * KIB);
        struct err err = {0};
        CHECK_EQ(s3_xml_read(rows[i].text, strlen(rows[i].text), note, &got, &err), 0);
        CHECK_STR(got.data, rows[i].want);
    }
}

TEST(s3_xml_is_refused)
{
    static const char *const rows[] = {
        "",
        " ",
        "<",
        "<a",
        "<a>",
        "<a></b>",
        "</a>",
        "x<a/>",
        "<a/> x",
        "<a/><b/>",
        "<!DOCTYPE a><a/>",
        "<a><![CDATA[x]]></a>",
        "<a>&b;</a>",
        "<a>&</a>",
        "<a>&#0;</a>",
        "<a>&#xD800;</a>",
        "<a>&#x110000;</a>",
        "<a>&#;</a>",
        "<a>&#x;</a>",
        "<a>&#12345678901;</a>",
        "<a b='></a>",
        "<a<b/></a>",
        "< a/>",
        "<!-- <a/>",
        "<?xml <a/>",
        "<a></a",
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_buf_ struct buf got = BUF_INIT(4 * KIB);
        struct err err = {0};
        tap_note("%s", rows[i]);
        CHECK_EQ(s3_xml_read(rows[i], strlen(rows[i]), note, &got, &err), -EBADMSG);
        CHECK_EQ(err.id, ERR_REMOTE_REFUSED);
    }
    struct err err = {0};
    _cleanup_buf_ struct buf got = BUF_INIT(4 * KIB);
    CHECK_EQ(s3_xml_read("<a>\0</a>", 8, note, &got, &err), -EBADMSG);
    CHECK_EQ(s3_xml_read("<a>stop</a>x", 12, note, &got, &err), -ECANCELED);
}

TEST(s3_xml_is_bounded)
{
    _cleanup_buf_ struct buf text = BUF_INIT(MIB), got = BUF_INIT(MIB);
    struct err err = {0};
    for (int i = 0; i <= S3_XML_DEPTH_MAX; i++)
        buf_add_str(&text, "<a>");
    CHECK_EQ(s3_xml_read(text.data, text.len, note, &got, &err), -EBADMSG);
    CHECK(strstr(err.what, "too deep"));
    buf_clear(&text);
    buf_add_str(&text, "<a>");
    for (int i = 0; i <= S3_XML_TEXT_MAX; i++)
        buf_add_char(&text, 'x');
    buf_add_str(&text, "</a>");
    CHECK_EQ(s3_xml_read(text.data, text.len, note, &got, &err), -EBADMSG);
    CHECK(strstr(err.what, "too long"));
}
