/* Where a bucket is, as somebody has written it. */

#include "backup/s3.h"

#include "base/text.h"

#include <string.h>

static int
no_place(struct err *reterr, const char *text, const char *why)
{
    int r = err_set(reterr, ERR_REPOSITORY_OTHER, "'%s' %s", text, why);
    err_fix(reterr, "as in s3://s3.eu-central-1.amazonaws.com/bucket/citadel?region=eu-central-1");
    return r;
}

static bool
take(char *to, size_t room, const char *from, const char *end, const char *letters)
{
    size_t len = (size_t)(end - from);
    if (len == 0 || len >= room)
        return false;
    memcpy(to, from, len);
    to[len] = '\0';
    return strspn(to, letters) == len;
}

#define LOWER "abcdefghijklmnopqrstuvwxyz0123456789.-"
#define LETTERS LOWER "ABCDEFGHIJKLMNOPQRSTUVWXYZ_"

/* The port that the scheme has anyway is not said, as no client says it: it would be signed. */
static void
drop_port(struct s3_place *place)
{
    const char *port = place->is_plain ? ":80" : ":443";
    if (text_ends(place->host, port))
        place->host[strlen(place->host) - strlen(port)] = '\0';
}

static bool
take_prefix(struct s3_place *place, const char *from, const char *end)
{
    while (end > from && end[-1] == '/')
        end--;
    if (from == end)
        return true;
    if (!take(place->prefix, sizeof(place->prefix) - 1, from, end, LETTERS "/"))
        return false;
    memcpy(place->prefix + (end - from), "/", sizeof("/"));
    return !strstr(place->prefix, "//") && place->prefix[0] != '/';
}

int
s3_parse(const char *text, struct s3_place *ret, struct err *reterr)
{
    struct s3_place place = {.is_plain = text_starts(text, "s3+http://"), .region = "us-east-1"};
    if (!place.is_plain && !text_starts(text, "s3://"))
        return no_place(reterr, text, "is no place for S3");
    const char *from = strstr(text, "://") + 3, *query = strchrnul(from, '?');
    const char *slash = memchr(from, '/', (size_t)(query - from));
    if (memchr(from, '@', (size_t)(query - from)))
        return no_place(reterr, "s3://...", "has a key in it: keys are secrets, and have files");
    if (!slash || !take(place.host, sizeof(place.host), from, slash, LETTERS ":[]"))
        return no_place(reterr, text, "names no host, or one that is none");
    const char *bucket = slash + 1, *end = memchr(bucket, '/', (size_t)(query - bucket));
    end = end ? end : query;
    if (end - bucket < 3 || !take(place.bucket, sizeof(place.bucket), bucket, end, LOWER))
        return no_place(reterr, text,
                        "names no bucket: 3 to 63 lower-case letters, digits, '.', '-'");
    if (!take_prefix(&place, end < query ? end + 1 : end, query))
        return no_place(reterr, text, "has a prefix that is none");
    if (*query && (!text_starts(query, "?region=") ||
                   !take(place.region, sizeof(place.region), query + strlen("?region="),
                         query + strlen(query), LOWER)))
        return no_place(reterr, text, "may say a region behind its '?', and nothing else");
    drop_port(&place);
    *ret = place;
    return 0;
}
