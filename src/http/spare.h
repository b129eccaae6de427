#pragma once

/* What is kept to be used again with the room that its buffers have, so that a busy server or
 * client allocates nothing. The last one given is taken first, while its memory is still in the
 * cache. */

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

/* Room to read into. A loop reads from one connection at a time, and most of what is read is taken
 * at once: so all share it, and only what has to wait for its rest keeps it. */
void spare_lend(struct buf *room, struct buf *to);     /* unless it has some */
void spare_return(struct buf *room, struct buf *from); /* of which all was taken */
