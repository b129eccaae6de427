#include "sim/words.h"

#include <stdlib.h>
#include <string.h>

#define ARENA_BYTES_MAX (32 * MIB)

static bool
is_blank(char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

size_t
word_len(const char *text, const char *end)
{
    const char *p = text;
    while (p < end && is_blank(*p))
        p++;
    if (p == end)
        return 0;
    while (p < end && !is_blank(*p))
        p++;
    return (size_t)(p - text);
}

uint64_t
word_count(const char *text, size_t len)
{
    const char *end = text + len;
    uint64_t count = 0;
    for (size_t step; (step = word_len(text, end)); text += step)
        count++;
    return count;
}

void
words_init(struct words *words)
{
    *words = (struct words){0};
    arena_init(&words->arena, ARENA_BYTES_MAX);
}

void
words_finish(struct words *words)
{
    map_finish(&words->ids);
    free(words->texts);
    arena_finish(&words->arena);
}

/* The map holds what is behind a pointer: the place in texts, which moves; so it keeps the number,
 * plus one, as the pointer itself. */
unsigned
words_id(struct words *words, const char *text, size_t len)
{
    uintptr_t known = (uintptr_t)map_get_n(&words->ids, text, len);
    if (known)
        return (unsigned)known - 1;
    char *copy = words->count < WORDS_MAX ? arena_strndup(&words->arena, text, len) : NULL;
    if (!copy)
        return 0;
    if (words->count == words->room) {
        size_t room = MAX(words->room * 2, (size_t)64);
        words->texts = mem_grow(words->texts, words->room * sizeof(*words->texts),
                                room * sizeof(*words->texts));
        words->room = room;
    }
    words->texts[words->count] = copy;
    (void)map_add(&words->ids, copy, (void *)(words->count + 1));
    return (unsigned)words->count++;
}

const char *
words_text(const struct words *words, uint64_t id)
{
    return id < words->count ? words->texts[id] : NULL;
}
