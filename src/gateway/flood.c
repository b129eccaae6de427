#include "gateway/flood.h"

const struct flood_bounds flood_strangers = {10, 100};
const struct flood_bounds flood_refused = {100, 500};

static struct flood_who *
place_of(struct flood *f, uint64_t who)
{
    for (size_t i = 0; i < f->count; i++)
        if (f->places[i].id == who)
            return &f->places[i];
    if (f->count == FLOOD_WHO_MAX)
        return &f->places[FLOOD_WHO_MAX];
    f->places[f->count] = (struct flood_who){.id = who};
    return &f->places[f->count++];
}

bool
flood_take(struct flood *f, const struct flood_bounds *bounds, uint64_t who)
{
    f->requests++;
    if (place_of(f, who)->requests++ >= bounds->each || f->rows >= bounds->all)
        return false;
    f->rows++;
    return true;
}

void
flood_turn(struct flood *f)
{
    f->left_out += f->requests - f->rows;
    f->requests = f->rows = 0;
    f->count = 0;
    f->places[FLOOD_WHO_MAX].requests = 0;
}
