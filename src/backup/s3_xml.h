#pragma once

/* What S3 answers, as far as XML goes there: elements and text, the five entities, characters by
 * number. What a document may have besides (a DOCTYPE, CDATA) is refused; attributes, prefixes,
 * comments and the declaration are stepped over. */

#include "base/err.h"

#define S3_XML_DEPTH_MAX 16
#define S3_XML_TEXT_MAX 4096 /* of an element; longer is refused */

/* Called where an element ends, with its path ("ListBucketResult/Contents/Key") and its own text,
 * both until it returns. Less than 0 ends it. */
typedef int s3_xml_each(void *arg, const char *path, const char *text);

/* -EBADMSG: that is no such document. */
int s3_xml_read(const char *text, size_t len, s3_xml_each *each, void *arg, struct err *reterr)
    must_check;
