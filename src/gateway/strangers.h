#pragma once

/* Who is turned away before it is known whose request it is. Each one is counted, by why. One that
 * shows no key that is good, or comes from where nobody may ask, is written down like any other
 * request, as far as flood.h has it: so many of each address, and of all. */

#include "gateway/flood.h"

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

/* Rows within a minute: of one address, and of all. */
#define STRANGER_ROWS 10
#define STRANGERS_ROWS 100

/* Zeroed: nobody came. */
struct strangers {
    uint64_t counts[STRANGER_WHYS];
    struct flood flood;
};

/* address: share_address(). True: it is written down. */
bool strangers_take(struct strangers *s, enum stranger_why why, uint64_t address);
