#include "http/spare.h"

#define SPARES_MAX 64
#define ROOM_MAX (64 * KIB) /* of the one that is lent */
#define KEPT_MAX (8 * KIB)  /* of each of many, which a crowd leaves behind */

struct spare *
spares_take(struct spares *spares)
{
    struct spare *spare = spares->first;
    if (spare) {
        spares->first = spare->next;
        spares->count--;
    }
    return spare;
}

bool
spares_give(struct spares *spares, struct spare *spare)
{
    if (spares->count >= SPARES_MAX)
        return false;
    spare->next = spares->first;
    spares->first = spare;
    spares->count++;
    return true;
}

void
spare_lend(struct buf *room, struct buf *to)
{
    if (to->room > 0 || room->room == 0)
        return;
    size_t ceiling_bytes = to->ceiling_bytes;
    *to = *room;
    to->ceiling_bytes = ceiling_bytes;
    buf_init(room, room->ceiling_bytes);
}

void
spare_return(struct buf *room, struct buf *from)
{
    if (from->room == 0)
        return;
    size_t ceiling_bytes = from->ceiling_bytes;
    buf_clear(from);
    if (room->room > 0 || from->room > ROOM_MAX) {
        buf_finish(from);
        return;
    }
    *room = *from;
    buf_init(from, ceiling_bytes);
}

void
spare_trim(struct buf *b)
{
    if (b->room > KEPT_MAX)
        buf_finish(b);
    else
        buf_clear(b);
}
