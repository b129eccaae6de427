#include "base/map.h"

#include "base/hash.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

struct map_slot {
    const char *name; /* NULL: free */
    size_t len;
    uint64_t hash;
    void *value;
};

void
map_finish(struct map *m)
{
    free(m->slots);
    *m = (struct map){0};
}

/* The slot that holds the name, or the free one where it would go. At most 3/4 are taken. */
static struct map_slot *
find(const struct map *m, const char *name, size_t len, uint64_t hash)
{
    for (size_t i = hash & (m->room - 1);; i = (i + 1) & (m->room - 1)) {
        struct map_slot *slot = &m->slots[i];
        if (!slot->name)
            return slot;
        if (slot->hash == hash && slot->len == len && memcmp(slot->name, name, len) == 0)
            return slot;
    }
}

void *
map_get_n(const struct map *m, const char *name, size_t len)
{
    return m->room ? find(m, name, len, hash_key(name, len))->value : NULL;
}

void *
map_get(const struct map *m, const char *name)
{
    return map_get_n(m, name, strlen(name));
}

static void
grow(struct map *m)
{
    struct map old = *m;
    m->room = old.room ? old.room * 2 : 16;
    m->slots = mem_alloc(m->room * sizeof(*m->slots));
    for (size_t i = 0; i < old.room; i++) {
        struct map_slot *slot = &old.slots[i];
        if (slot->name)
            *find(m, slot->name, slot->len, slot->hash) = *slot;
    }
    free(old.slots);
}

void *
map_add(struct map *m, const char *name, void *value)
{
    assert(value);
    if (m->count >= m->room / 4 * 3)
        grow(m);
    size_t len = strlen(name);
    uint64_t hash = hash_key(name, len);
    struct map_slot *slot = find(m, name, len, hash);
    if (slot->name)
        return slot->value;
    *slot = (struct map_slot){name, len, hash, value};
    m->count++;
    return value;
}
