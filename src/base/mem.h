#pragma once

/* Memory that has one owner, or an arena.
 *
 * mem_*: small or already bounded sizes; they abort when there is no memory, since nothing useful
 * can be done then. What depends on input is bounded first, by a ceiling of arena or buf. */

#include "base/util.h"

void *mem_alloc(size_t bytes) __attribute__((malloc, returns_nonnull)); /* zeroed */
void *mem_grow(void *p, size_t old_bytes, size_t new_bytes) __attribute__((returns_nonnull));
char *mem_strdup(const char *text) __attribute__((malloc, returns_nonnull));
char *mem_strndup(const char *text, size_t len) __attribute__((malloc, returns_nonnull));
char *mem_printf(const char *fmt, ...) printf_like(1, 2) __attribute__((returns_nonnull));

#define mem_new(type) ((type *)mem_alloc(sizeof(type)))

/* An arena: many small things that end together (a parsed file, a request, a plan).
 * It never holds more than its ceiling, room that is not used yet counted; then allocations return
 * NULL and `full` stays set, so that a builder may check once at its end. */
struct arena {
    struct arena_block *blocks; /* the first has room, those behind it are filled */
    size_t held_bytes;          /* of all blocks, with their heads */
    size_t ceiling_bytes;
    bool full;
};

void arena_init(struct arena *a, size_t ceiling_bytes);
void arena_finish(struct arena *a);
void arena_clear(struct arena *a); /* likewise, but keeps a block for what comes next */

void *arena_alloc(struct arena *a, size_t bytes) must_check; /* zeroed, aligned for anything */
char *arena_strndup(struct arena *a, const char *text, size_t len) must_check;
char *arena_strdup(struct arena *a, const char *text) must_check;
char *arena_printf(struct arena *a, const char *fmt, ...) printf_like(2, 3) must_check;

#define arena_new(a, type) ((type *)arena_alloc((a), sizeof(type)))
#define _cleanup_arena_ _cleanup_(arena_finish)
