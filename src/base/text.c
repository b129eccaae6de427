#include "base/text.h"

#include <ctype.h>
#include <string.h>

/* Longer words than this are never typing errors of ours. */
#define WORD_MAX 64

bool
text_eq(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

bool
text_starts(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

bool
text_ends(const char *text, const char *end)
{
    size_t text_len = strlen(text), end_len = strlen(end);
    return text_len >= end_len && strcmp(text + text_len - end_len, end) == 0;
}

size_t
text_utf8_step(const char *text, size_t left)
{
    /* Unicode 15, table 3-7. */
    const unsigned char *p = (const unsigned char *)text;
    unsigned char first = p[0], low = 0x80, high = 0xBF;
    size_t len;
    if (first < 0x80)
        return 1;
    if (first < 0xC2 || first > 0xF4)
        return 0;
    len = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
    if (first == 0xE0)
        low = 0xA0;
    else if (first == 0xED)
        high = 0x9F;
    else if (first == 0xF0)
        low = 0x90;
    else if (first == 0xF4)
        high = 0x8F;
    if (left < len || p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < len; i++)
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    return len;
}

bool
text_is_utf8(const char *text, size_t len)
{
    while (len > 0) {
        size_t step = text_utf8_step(text, len);
        if (step == 0)
            return false;
        text += step;
        len -= step;
    }
    return true;
}

char *
text_put_char(char *to, uint32_t c)
{
    static const unsigned char lead[] = {0, 0xC0, 0xE0, 0xF0};
    unsigned more = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    *to++ = (char)(lead[more] | c >> (6 * more));
    while (more-- > 0)
        *to++ = (char)(0x80 | (c >> (6 * more) & 0x3F));
    return to;
}

char *
text_put_hex(char *to, uint64_t n)
{
    for (int shift = 60; shift >= 0; shift -= 4)
        *to++ = "0123456789abcdef"[n >> shift & 15];
    return to;
}

void
text_copy(char *to, size_t room, const char *from)
{
    assert(room > 0);
    size_t len = strnlen(from, room - 1);
    memcpy(to, from, len);
    to[len] = '\0';
}

uint32_t
text_next_char(const char **text, const char *end)
{
    const unsigned char *p = (const unsigned char *)*text;
    size_t len = text_utf8_step(*text, (size_t)(end - *text));
    *text += len ? len : 1;
    if (len == 0)
        return TEXT_NO_CHAR;
    uint32_t c = len == 1 ? p[0] : p[0] & (0x7Fu >> len);
    for (size_t i = 1; i < len; i++)
        c = c << 6 | (p[i] & 0x3Fu);
    return c;
}

bool
text_is_dangerous(uint32_t c)
{
    return c < 0x20 || (c >= 0x7F && c <= 0x9F) ||       /* C0, DEL, C1 */
           c == 0x61C || (c >= 0x200B && c <= 0x200F) || /* zero width, marks of direction */
           (c >= 0x2028 && c <= 0x202E) ||               /* line and paragraph, turns */
           (c >= 0x2060 && c <= 0x206F) || c == 0xFEFF;  /* invisible, isolates */
}

bool
text_is_name(const char *text)
{
    size_t len = 0;
    for (; text[len]; len++) {
        char c = text[len];
        bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (!plain && (len == 0 || !strchr("-_.", c)))
            return false;
    }
    return len >= 1 && len <= TEXT_NAME_MAX;
}

/* Edits (insert, delete, replace, swap of neighbours) from a to b, as Damerau counts them;
 * case and the difference of '-', '_' and ' ' are no edits. */
static size_t
edit_distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
    size_t rows[3][WORD_MAX + 1];
    size_t *before = rows[0], *last = rows[1], *now = rows[2];
    for (size_t j = 0; j <= b_len; j++)
        last[j] = j;
    for (size_t i = 1; i <= a_len; i++) {
        now[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            size_t best = MIN(last[j], now[j - 1]) + 1;
            size_t same = a[i - 1] == b[j - 1] ? 0 : 1;
            best = MIN(best, last[j - 1] + same);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                best = MIN(best, before[j - 2] + 1);
            now[j] = best;
        }
        size_t *oldest = before;
        before = last;
        last = now;
        now = oldest;
    }
    return last[b_len];
}

static size_t
fold(char *folded, const char *text)
{
    size_t len = 0;
    for (; len < WORD_MAX && text[len]; len++) {
        char c = (char)tolower((unsigned char)text[len]);
        folded[len] = c == '-' || c == ' ' ? '_' : c;
    }
    return len;
}

const char *
text_nearest(const char *text, const char *(*candidate)(size_t i, const void *arg), const void *arg)
{
    char word[WORD_MAX], other[WORD_MAX];
    const char *nearest = NULL;
    size_t word_len = fold(word, text);
    /* A third of the word may be wrong, and one letter always: enough for slips, too little to
     * suggest a different word. */
    size_t best = MAX(word_len / 3, (size_t)1) + 1;
    for (size_t i = 0;; i++) {
        const char *name = candidate(i, arg);
        if (!name)
            return nearest;
        size_t distance = edit_distance(word, word_len, other, fold(other, name));
        if (*name && distance < best) { /* "" is one that is not to be told */
            best = distance;
            nearest = name;
        }
    }
}

void
text_disarm(char *text)
{
    const char *from = text, *end = text + strlen(text);
    while (from < end) {
        const char *at = from;
        uint32_t c = text_next_char(&from, end);
        if (c == TEXT_NO_CHAR || text_is_dangerous(c))
            *text++ = '?';
        else
            while (at < from)
                *text++ = *at++;
    }
    *text = '\0';
}

void
text_make_safe(char *text, size_t room, int wanted)
{
    static const char mark[] = "...";
    assert(wanted >= 0 && room >= sizeof(mark));
    if ((size_t)wanted >= room) {
        size_t cut = room - sizeof(mark);
        while (cut > 0 && ((unsigned char)text[cut] & 0xC0) == 0x80)
            cut--;
        memcpy(text + cut, mark, sizeof(mark));
    }
    text_disarm(text);
}
