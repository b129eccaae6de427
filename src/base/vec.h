#pragma once

/* A growing list of plain items: `VEC(struct thing) things = {0};`
 * The caller bounds the count before it adds what comes from outside. */

#include "base/mem.h"

#include <stdlib.h>

#define VEC(type)     \
    struct {          \
        type *items;  \
        size_t count; \
        size_t room;  \
    }

/* A new zeroed item at the end, as a pointer that lives until the next addition. */
#define vec_add(v)                                                                            \
    ({                                                                                        \
        __typeof__(v) vec_ = (v);                                                             \
        vec_->items = vec_grow_(vec_->items, vec_->count, &vec_->room, sizeof(*vec_->items)); \
        &vec_->items[vec_->count++];                                                          \
    })

#define vec_push(v, item) (*vec_add(v) = (item))

#define vec_finish(v)                 \
    do {                              \
        __typeof__(v) vec_ = (v);     \
        free(vec_->items);            \
        vec_->items = NULL;           \
        vec_->count = vec_->room = 0; \
    } while (0)

#define vec_foreach(v, it) \
    for (__typeof__(*(v)->items) *it = (v)->items; it && it < (v)->items + (v)->count; it++)

static inline void *
vec_grow_(void *items, size_t count, size_t *room, size_t item_bytes)
{
    if (count < *room) {
        assert(items);
        return items;
    }
    size_t wanted = *room ? *room * 2 : 8;
    items = mem_grow(items, *room * item_bytes, wanted * item_bytes);
    *room = wanted;
    return items;
}
