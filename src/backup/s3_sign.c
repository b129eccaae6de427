#include "backup/s3_sign.h"

#include "base/buf.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK 64
#define REQUEST_MAX ((size_t)(64 * KIB))
#define ALGORITHM "AWS4-HMAC-SHA256"
#define DATE_LEN 8

struct digest {
    uint8_t bytes[HASH_SHA256_BYTES];
};

/* RFC 2104. */
static struct digest
hmac(const void *key, size_t key_len, const void *bytes, size_t len)
{
    uint8_t pad[BLOCK] = {0};
    struct digest inner, outer;
    struct hash_sha256 hash;
    if (key_len > BLOCK) {
        hash_sha256_init(&hash);
        hash_sha256_update(&hash, key, key_len);
        hash_sha256_final(&hash, pad);
    } else {
        memcpy(pad, key, key_len);
    }
    for (size_t i = 0; i < BLOCK; i++)
        pad[i] ^= 0x36;
    hash_sha256_init(&hash);
    hash_sha256_update(&hash, pad, BLOCK);
    hash_sha256_update(&hash, bytes, len);
    hash_sha256_final(&hash, inner.bytes);
    for (size_t i = 0; i < BLOCK; i++)
        pad[i] ^= 0x36 ^ 0x5c;
    hash_sha256_init(&hash);
    hash_sha256_update(&hash, pad, BLOCK);
    hash_sha256_update(&hash, inner.bytes, sizeof(inner.bytes));
    hash_sha256_final(&hash, outer.bytes);
    explicit_bzero(pad, sizeof(pad));
    explicit_bzero(&hash, sizeof(hash));
    return outer;
}

static struct digest
hmac_text(const struct digest *key, const char *text)
{
    return hmac(key->bytes, sizeof(key->bytes), text, strlen(text));
}

/* Of that day, that region and S3 alone. */
static struct digest
signing_key(const struct s3_signing *s, const char *date)
{
    char *first = mem_printf("AWS4%s", secret_reveal(s->secret));
    struct digest key = hmac(first, strlen(first), date, strlen(date));
    explicit_bzero(first, strlen(first));
    free(first);
    key = hmac_text(&key, s->region);
    key = hmac_text(&key, "s3");
    return hmac_text(&key, "aws4_request");
}

static void
add_names(struct buf *to, const struct s3_signing *s)
{
    for (size_t i = 0; i < s->fields_count; i++)
        buf_printf(to, "%s%s", i > 0 ? ";" : "", s->fields[i].name);
}

void
s3_sign(const struct s3_signing *s, struct buf *ret_value)
{
    _cleanup_buf_ struct buf request = BUF_INIT(REQUEST_MAX), text = BUF_INIT(REQUEST_MAX);
    char hex[HASH_SHA256_HEX], date[DATE_LEN + 1] = {0};
    memcpy(date, s->time, DATE_LEN);

    buf_printf(&request, "%s\n%s\n%s\n", s->method, s->path, s->query);
    for (size_t i = 0; i < s->fields_count; i++)
        buf_printf(&request, "%s:%s\n", s->fields[i].name, s->fields[i].value);
    buf_add_char(&request, '\n');
    add_names(&request, s);
    buf_printf(&request, "\n%s", s->body_sha256);
    hash_sha256_text(request.data, request.len, hex);

    buf_printf(&text, ALGORITHM "\n%s\n%s/%s/s3/aws4_request\n%s", s->time, date, s->region, hex);
    struct digest key = signing_key(s, date), signature = hmac_text(&key, text.data);
    explicit_bzero(&key, sizeof(key));
    hash_sha256_hex(signature.bytes, hex);

    buf_printf(ret_value,
               ALGORITHM " Credential=%s/%s/%s/s3/aws4_request,SignedHeaders=", s->key_id, date,
               s->region);
    add_names(ret_value, s);
    buf_printf(ret_value, ",Signature=%s", hex);
}

void
s3_time(time_t now, char ret_text[S3_TIME_TEXT])
{
    struct tm tm;
    (void)strftime(ret_text, S3_TIME_TEXT, "%Y%m%dT%H%M%SZ", gmtime_r(&now, &tm));
}

void
s3_encode(struct buf *to, const char *text, bool slashes)
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~";
    for (; *text; text++)
        if (strchr(plain, *text) || (*text == '/' && slashes))
            buf_add_char(to, *text);
        else
            buf_printf(to, "%%%02X", (unsigned char)*text);
}
