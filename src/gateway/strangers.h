#pragma once

/* Who is turned away before it is known whose request it is. Each one is counted, by why. One that
 * shows no key that is good, or comes from where nobody may ask, is written down like any other
 * request; but a flood of guesses is to fill neither ledger nor log: within a minute STRANGER_ROWS
 * of each address are, and STRANGERS_ROWS of all. What is left out of that is told as one sum, when
 * the minute is over. */

#include "base/util.h"

enum stranger_why {
    STRANGER_KEY,     /* shows none that is good */
    STRANGER_ADDRESS, /* may not ask from there */
    STRANGER_PAGE,    /* nor may a page of that one */
    STRANGER_METRICS, /* asks for metrics, likewise: no request for a model, nor are those below */
    STRANGER_PATH,    /* asks for what is not there, */
    STRANGER_METHOD,  /* or otherwise than it is asked for */
    STRANGER_WHYS
};
extern const char *const stranger_words[STRANGER_WHYS];

#define STRANGER_ROWS 10
#define STRANGERS_ROWS 100
#define STRANGERS_MINUTE_US UINT64_C(60000000)

#define STRANGERS_MAX 64 /* addresses that are told apart; the rest is one */

/* Zeroed: nobody came. */
struct strangers {
    uint64_t counts[STRANGER_WHYS];

    /* of the minute that runs */
    struct stranger {
        uint64_t address; /* share_address() */
        uint64_t requests;
    } places[STRANGERS_MAX + 1]; /* the last is the rest */
    size_t count;                /* of these, but for the last */
    uint64_t requests, rows;
};

/* True: it is written down. */
bool strangers_take(struct strangers *s, enum stranger_why why, uint64_t address);
/* A minute is over: so many came that were not written down. */
uint64_t strangers_turn(struct strangers *s);
