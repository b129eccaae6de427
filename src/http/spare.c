#include "http/spare.h"

#define SPARES_MAX 64
#define ROOM_MAX (64 * KIB)

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
spare_trim(struct buf *b)
{
    if (b->room > ROOM_MAX)
        buf_finish(b);
    else
        buf_clear(b);
}
