/* The examples of "Signature Calculations for the Authorization Header" in the manual of Amazon S3, whose
 * signatures are what other programs agree on. */

#include "backup/s3_sign.h"

#include "base/buf.h"
#include "tap.h"

#include <string.h>

static const char *
signature(const struct s3_signing *s, struct buf *value)
{
    buf_clear(value);
    s3_sign(s, value);
    const char *found = strstr(value->data, "Signature=");
    return found ? found + strlen("Signature=") : value->data;
}

#define TIME "20130524T000000Z"
#define HOST                                     \
    {                                            \
        "host", "examplebucket.s3.amazonaws.com" \
    }
#define SHA(digest)                    \
    {                                  \
        "x-amz-content-sha256", digest \
    }
#define DATE               \
    {                      \
        "x-amz-date", TIME \
    }

TEST(s3_signs_as_its_manual_does)
{
    static const char body[] = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072";
    static const struct {
        const char *method, *path, *query, *body, *signature;
        struct s3_field fields[5];
        size_t count;
    } rows[] = {
        {"GET",
         "/test.txt",
         "",
         S3_EMPTY_SHA256,
         "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
         {HOST, {"range", "bytes=0-9"}, SHA(S3_EMPTY_SHA256), DATE},
         4},
        {"PUT",
         "/test%24file.text",
         "",
         body,
         "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
         {{"date", "Fri, 24 May 2013 00:00:00 GMT"},
          HOST,
          SHA(body),
          DATE,
          {"x-amz-storage-class", "REDUCED_REDUNDANCY"}},
         5},
        {"GET",
         "/",
         "lifecycle=",
         S3_EMPTY_SHA256,
         "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
         {HOST, SHA(S3_EMPTY_SHA256), DATE},
         3},
        {"GET",
         "/",
         "max-keys=2&prefix=J",
         S3_EMPTY_SHA256,
         "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
         {HOST, SHA(S3_EMPTY_SHA256), DATE},
         3},
    };
    _cleanup_secret_ struct secret secret = {0};
    _cleanup_buf_ struct buf value = BUF_INIT(KIB * 8);
    secret_set(&secret, "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const struct s3_signing s = {.method = rows[i].method,
                                     .path = rows[i].path,
                                     .query = rows[i].query,
                                     .fields = rows[i].fields,
                                     .fields_count = rows[i].count,
                                     .body_sha256 = rows[i].body,
                                     .region = "us-east-1",
                                     .key_id = "AKIAIOSFODNN7EXAMPLE",
                                     .secret = &secret,
                                     .time = TIME};
        CHECK_STR(signature(&s, &value), rows[i].signature);
    }
    CHECK(strncmp(
              value.data,
              "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
              "SignedHeaders=host;x-amz-content-sha256;x-amz-date,Signature=",
              140) == 0);
}

TEST(s3_encodes_what_is_no_letter)
{
    _cleanup_buf_ struct buf to = BUF_INIT(KIB);
    char when[S3_TIME_TEXT];
    s3_encode(&to, "a b/\xc3\xbc~$+%", true);
    s3_encode(&to, "/", false);
    CHECK_STR(to.data, "a%20b/%C3%BC~%24%2B%25%2F");
    s3_time(1369353600, when);
    CHECK_STR(when, TIME);
}
