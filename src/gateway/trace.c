#include "gateway/trace.h"

#include <string.h>

enum { TRACE_AT = 3, TRACE_LEN = 32, PARENT_AT = 36, PARENT_LEN = 16, FLAGS_AT = 53 };

static bool
is_hex(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!(text[i] >= '0' && text[i] <= '9') && !(text[i] >= 'a' && text[i] <= 'f'))
            return false;
    return true;
}

static bool
is_zero(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (text[i] != '0')
            return false;
    return true;
}

/* Version ff is none; 00 ends with its flags. */
static bool
is_version(const char *text, size_t len)
{
    bool is_first = memcmp(text, "00", 2) == 0;
    return is_hex(text, 2) && memcmp(text, "ff", 2) != 0 &&
           (len == TRACE_PARENT_LEN || (!is_first && text[TRACE_PARENT_LEN] == '-'));
}

bool
trace_is_parent(const char *text, size_t len)
{
    return len >= TRACE_PARENT_LEN && is_version(text, len) && text[TRACE_AT - 1] == '-' &&
           is_hex(text + TRACE_AT, TRACE_LEN) && !is_zero(text + TRACE_AT, TRACE_LEN) &&
           text[PARENT_AT - 1] == '-' && is_hex(text + PARENT_AT, PARENT_LEN) &&
           !is_zero(text + PARENT_AT, PARENT_LEN) && text[FLAGS_AT - 1] == '-' &&
           is_hex(text + FLAGS_AT, 2);
}
