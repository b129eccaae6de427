#include "gateway/strangers.h"

const char *const stranger_words[STRANGER_WHYS] = {
    [STRANGER_KEY] = "key",         [STRANGER_ADDRESS] = "address", [STRANGER_PAGE] = "page",
    [STRANGER_METRICS] = "metrics", [STRANGER_PATH] = "path",       [STRANGER_METHOD] = "method",
};

bool
strangers_take(struct strangers *s, enum stranger_why why, uint64_t address)
{
    static const struct flood_bounds bounds = {STRANGER_ROWS, STRANGERS_ROWS};
    s->counts[why]++;
    return why < STRANGER_METRICS && flood_take(&s->flood, &bounds, address);
}
