#include "backup/sums.h"

#include <string.h>

void
sums_print(const uint8_t digest[HASH_SHA256_BYTES], const char *path, struct buf *out)
{
    char hex[HASH_SHA256_HEX];
    hash_sha256_hex(digest, hex);
    buf_printf(out, "%s%s  ", strpbrk(path, "\\\n\r") ? "\\" : "", hex);
    for (const char *p = path; *p; p++)
        switch (*p) {
        case '\\':
            buf_add_str(out, "\\\\");
            break;
        case '\n':
            buf_add_str(out, "\\n");
            break;
        case '\r':
            buf_add_str(out, "\\r");
            break;
        default:
            buf_add_char(out, *p);
        }
    buf_add_char(out, '\n');
}
