#pragma once

/* Requests that used nothing cost whoever sends them nothing either, and so may be many: they are
 * to fill neither ledger nor log. Within a minute a few of each who sends them are written down,
 * and a few of all; what is left out is told as one sum, when the minute is over, or as soon after
 * that as there is room to tell it. */

#include "base/util.h"

#define FLOOD_MINUTE_US UINT64_C(60000000)
#define FLOOD_WHO_MAX 128 /* who are told apart; the rest is one */

/* Rows within a minute: of each who sends them, and of all. */
struct flood_bounds {
    unsigned each, all;
};
extern const struct flood_bounds flood_strangers; /* told apart by their addresses */
extern const struct flood_bounds flood_refused;   /* and those who may ask by their keys */

/* Zeroed: nobody came. */
struct flood {
    struct flood_who {
        uint64_t id;
        uint64_t requests;
    } places[FLOOD_WHO_MAX + 1]; /* the last is the rest */
    size_t count;                /* of these, but for the last */
    uint64_t requests, rows;
    uint64_t left_out; /* of the minutes that are over */
};

/* True: it is written down. */
bool flood_take(struct flood *f, const struct flood_bounds *bounds, uint64_t who);
void flood_turn(struct flood *f); /* a minute is over */
