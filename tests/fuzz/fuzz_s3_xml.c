/* Any bytes as an answer of S3: paths and texts are within their bounds, and what begins ends. */

#include "backup/s3_xml.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static int
look(void *arg, const char *path, const char *text)
{
    size_t *depth = arg, slashes = 0;
    for (const char *c = path; *c; c++)
        slashes += *c == '/';
    assert(path[0] && slashes < S3_XML_DEPTH_MAX && strlen(text) <= S3_XML_TEXT_MAX);
    *depth = slashes;
    return 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    size_t depth = 0;
    int r = s3_xml_read((const char *)data, len, look, &depth, NULL);
    assert(r < 0 || depth == 0); /* the last that ends is the whole */
    return 0;
}
