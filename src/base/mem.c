#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Blocks start small (most arenas hold one small file, or a request; of up to 1032 bytes the C library
 * has some at hand) and grow to 256 KiB, above which one allocation more costs nothing against filling
 * it. */
#define BLOCK_BYTES_MIN ((size_t)992)
#define BLOCK_BYTES_MAX ((size_t)256 * 1024)

struct arena_block {
    struct arena_block *next;
    size_t used;
    size_t room;
    _Alignas(max_align_t) unsigned char data[];
};

static void *
or_die(void *p)
{
    if (!p) {
        (void)fputs("citadel: out of memory\n", stderr);
        abort();
    }
    return p;
}

void *
mem_alloc(size_t bytes)
{
    return or_die(calloc(1, bytes ? bytes : 1));
}

void *
mem_grow(void *p, size_t old_bytes, size_t new_bytes)
{
    assert(new_bytes > old_bytes);
    unsigned char *grown = or_die(realloc(p, new_bytes));
    memset(grown + old_bytes, 0, new_bytes - old_bytes);
    return grown;
}

char *
mem_strndup(const char *text, size_t len)
{
    char *copy = mem_alloc(len + 1);
    memcpy(copy, text, len);
    return copy;
}

char *
mem_strdup(const char *text)
{
    return mem_strndup(text, strlen(text));
}

char *
mem_printf(const char *fmt, ...)
{
    char *text = NULL;
    va_list args;
    va_start(args, fmt);
    int len = vasprintf(&text, fmt, args);
    va_end(args);
    return or_die(len < 0 ? NULL : text);
}

void
arena_init(struct arena *a, size_t ceiling_bytes)
{
    assert(ceiling_bytes <= SIZE_MAX / 2);
    *a = (struct arena){.ceiling_bytes = ceiling_bytes};
}

void
arena_finish(struct arena *a)
{
    while (a->blocks) {
        struct arena_block *block = a->blocks;
        a->blocks = block->next;
        free(block);
    }
    a->held_bytes = 0;
    a->full = false;
}

void
arena_clear(struct arena *a)
{
    struct arena_block *kept = a->blocks;
    for (struct arena_block *next; kept && (next = kept->next); kept = next)
        free(kept);
    if (kept)
        kept->used = 0;
    a->blocks = kept;
    a->held_bytes = kept ? sizeof(*kept) + kept->room : 0;
    a->full = false;
}

/* What needs a block of its own goes behind the first, whose room is used further. */
static struct arena_block *
add_block(struct arena *a, size_t bytes)
{
    struct arena_block *first = a->blocks, *block;
    size_t room = MIN(first ? first->room * 2 : BLOCK_BYTES_MIN, BLOCK_BYTES_MAX);
    size_t left = a->ceiling_bytes - a->held_bytes;
    if (left < sizeof(*block) || bytes > left - sizeof(*block))
        return NULL;
    bool alone = first && bytes > room;
    room = MIN(MAX(room, bytes), left - sizeof(*block));
    block = malloc(sizeof(*block) + room);
    if (!block)
        return NULL;
    block->used = 0;
    block->room = room;
    block->next = alone ? first->next : first;
    *(alone ? &first->next : &a->blocks) = block;
    a->held_bytes += sizeof(*block) + room;
    return block;
}

static struct arena_block *
find_room(struct arena *a, size_t bytes)
{
    struct arena_block *first = a->blocks;
    if (first && bytes <= first->room - first->used)
        return first;
    if (first && first->used == 0) /* kept when the arena was cleared, and too small */
        arena_finish(a);
    return add_block(a, bytes);
}

void *
arena_alloc(struct arena *a, size_t bytes)
{
    const size_t align = _Alignof(max_align_t);
    /* What is above the ceiling is not rounded, which could overflow. */
    size_t padded =
        bytes > a->ceiling_bytes ? bytes : MAX((bytes + align - 1) / align * align, align);
    struct arena_block *block = a->full ? NULL : find_room(a, padded);
    if (!block) {
        a->full = true;
        return NULL;
    }
    void *p = block->data + block->used;
    block->used += padded;
    return memset(p, 0, padded);
}

char *
arena_strndup(struct arena *a, const char *text, size_t len)
{
    char *copy = arena_alloc(a, len + 1);
    if (copy)
        memcpy(copy, text, len);
    return copy;
}

char *
arena_strdup(struct arena *a, const char *text)
{
    return arena_strndup(a, text, strlen(text));
}

char *
arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    va_list again;
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    assert(len >= 0);
    char *text = arena_alloc(a, (size_t)len + 1);
    if (text)
        (void)vsnprintf(text, (size_t)len + 1, fmt, again);
    va_end(again);
    return text;
}
