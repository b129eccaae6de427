#include "gateway/trace.h"

#include "base/hash.h"
#include "base/text.h"

#include <stdio.h>
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

bool
trace_is_sampled(const char *parent)
{
    const char *digits = "0123456789abcdef";
    return (strchr(digits, parent[FLAGS_AT + 1]) - digits) & 1;
}

/* ---- our part ---- */

/* Hashes of a count under this process' own key: nobody foresees them, and no two
 * processes draw the same. */
static void
draw(char *id, size_t len)
{
    static struct {
        char what[8];
        uint64_t count;
    } at = {"trace", 0};
    for (size_t i = 0; i < len; i += TRACE_SPAN_LEN) {
        uint64_t n = 0;
        while (n == 0) { /* which would be none */
            at.count++;
            n = hash_key(&at, sizeof(at));
        }
        *text_put_hex(id + i, n) = '\0';
    }
}

void
trace_begin(struct trace *t, const char *parent)
{
    *t = (struct trace){0};
    if (parent) {
        memcpy(t->id, parent + TRACE_AT, TRACE_ID_LEN);
        memcpy(t->parent, parent + PARENT_AT, TRACE_SPAN_LEN);
    } else {
        draw(t->id, TRACE_ID_LEN);
    }
    draw(t->span, TRACE_SPAN_LEN);
    draw(t->wait, TRACE_SPAN_LEN);
    draw(t->call, TRACE_SPAN_LEN);
    draw(t->stream, TRACE_SPAN_LEN);
}

void
trace_call(struct trace *t)
{
    draw(t->call, TRACE_SPAN_LEN);
}

const char *
trace_print(const struct trace *t, trace_parent text)
{
    (void)snprintf(text, sizeof(trace_parent), "00-%s-%s-01", t->id, t->call);
    return text;
}
