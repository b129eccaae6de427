#include "gateway/strangers.h"

const char *const stranger_words[STRANGER_WHYS] = {
    [STRANGER_KEY] = "key",         [STRANGER_ADDRESS] = "address", [STRANGER_PAGE] = "page",
    [STRANGER_METRICS] = "metrics", [STRANGER_PATH] = "path",       [STRANGER_METHOD] = "method",
};

static struct stranger *
place_of(struct strangers *s, uint64_t address)
{
    for (size_t i = 0; i < s->count; i++)
        if (s->places[i].address == address)
            return &s->places[i];
    if (s->count == STRANGERS_MAX)
        return &s->places[STRANGERS_MAX];
    s->places[s->count] = (struct stranger){.address = address};
    return &s->places[s->count++];
}

bool
strangers_take(struct strangers *s, enum stranger_why why, uint64_t address)
{
    s->counts[why]++;
    if (why >= STRANGER_METRICS)
        return false;
    s->requests++;
    if (place_of(s, address)->requests++ >= STRANGER_ROWS || s->rows >= STRANGERS_ROWS)
        return false;
    s->rows++;
    return true;
}

uint64_t
strangers_turn(struct strangers *s)
{
    uint64_t left_out = s->requests - s->rows;
    s->requests = s->rows = 0;
    s->count = 0;
    s->places[STRANGERS_MAX].requests = 0;
    return left_out;
}
