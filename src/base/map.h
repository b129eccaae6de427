#pragma once

/* A table from names to pointers; names and values belong to the caller and outlive the map.
 * Open addressing; the hash is keyed, so a stranger who picks the names cannot make it slow. */

#include "base/util.h"

struct map {
    struct map_slot *slots;
    size_t count;
    size_t room; /* a power of two, or 0 */
};

void map_finish(struct map *m);
void *map_get(const struct map *m, const char *name);
void *map_get_n(const struct map *m, const char *name, size_t len);

/* Adds, unless the name is there: then nothing changes and the value that is there is returned. */
void *map_add(struct map *m, const char *name, void *value);

#define _cleanup_map_ _cleanup_(map_finish)
