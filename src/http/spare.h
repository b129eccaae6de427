#pragma once

/* What is kept to be used again with the room that its buffers have, so that a busy server or client
 * allocates nothing. The last one given is taken first, while its memory is still in the cache. */

#include "base/buf.h"

/* In what is kept. */
struct spare {
    struct spare *next;
};

struct spares {
    struct spare *first;
    unsigned count;
};

struct spare *spares_take(struct spares *spares); /* NULL: there is none */
/* False: there are enough, and this one is to be freed. */
bool spares_give(struct spares *spares, struct spare *spare) must_check;

/* Empties a buffer of what is given; one that grew large gives its room back. */
void spare_trim(struct buf *b);
