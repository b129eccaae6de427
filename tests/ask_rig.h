#pragma once

/* Bodies that are there as a whole, and in pieces, as the gateway reads them. */

#include "gateway/ask.h"
#include "gateway/patch.h"

/* What a test gives as parameters. */
enum { RIG_SEED = ASK_MEMBER_COUNT, RIG_TOP_P, RIG_TEMPERATURE, RIG_KWARGS, RIG_MEMBERS };

static const char *const rig_names[RIG_MEMBERS] = {
#define MEMBER(name, text) [ASK_##name] = (text),
    ASK_MEMBERS(MEMBER)
#undef MEMBER
        [RIG_SEED] = "seed",
    [RIG_TOP_P] = "top_p",
    [RIG_TEMPERATURE] = "temperature",
    [RIG_KWARGS] = "chat_template_kwargs",
};

/* piece: bytes of each. To be finished in any case. */
static inline int
ask_pieces(struct ask *ask, const char *body, size_t len, size_t piece, struct err *reterr)
{
    int r = 0;
    ask_begin(ask, rig_names, RIG_MEMBERS);
    for (size_t at = 0; at < len && r == 0; at += piece)
        r = ask_read(ask, body + at, MIN(piece, len - at), reterr);
    return r == 0 ? ask_end(ask, reterr) : r;
}

static inline int
ask_whole(struct ask *ask, const char *body, size_t len, struct err *reterr)
{
    return ask_pieces(ask, body, len, len + 1, reterr);
}

#define _cleanup_ask_ _cleanup_(ask_finish)
