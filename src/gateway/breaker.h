#pragma once

/* Whether a server that keeps failing is asked: no more after so many failures in a row, then, after a
 * pause, by one request at a time until one succeeds. Only what is the server's own fault is to be
 * counted here. It knows no clock; the caller says what time it is. */

#include "base/util.h"

#define BREAKER_FAILURES 5                 /* in a row */
#define BREAKER_PAUSE_US UINT64_C(1000000) /* the first; doubled by each trial that fails */
#define BREAKER_PAUSE_MAX_US UINT64_C(30000000)

/* Zeroed: nothing has failed. */
struct breaker {
    unsigned failures; /* in a row */
    uint64_t open_until_us, pause_us;
    bool is_tried; /* a request is on its way that finds out */
};

bool breaker_admits(const struct breaker *b, uint64_t now_us);
/* When it will admit one again; now_us where it does. */
uint64_t breaker_opens_us(const struct breaker *b, uint64_t now_us);

/* A request that was admitted sets out: whether it is the one that finds out. And how it ended. */
bool breaker_begin(struct breaker *b) must_check;
void breaker_succeed(struct breaker *b);
void breaker_fail(struct breaker *b, bool is_trial, uint64_t now_us);
void breaker_pass(struct breaker *b, bool is_trial); /* it says nothing about the server */
