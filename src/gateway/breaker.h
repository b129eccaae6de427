#pragma once

/* Whether a server that keeps failing is asked: no more after so many failures in a row, then,
 * after a pause, by one request, which finds out: it succeeds, or fails, or has lasted long
 * enough that who comes need not wait for its end, though the next failure opens it again. Only
 * what is the server's own fault is to be counted here. It knows no clock; the caller says what
 * time it is. */

#include "base/util.h"

#define BREAKER_FAILURES 5                 /* in a row */
#define BREAKER_PAUSE_US UINT64_C(1000000) /* the first; doubled by each trial that fails */
#define BREAKER_PAUSE_MAX_US UINT64_C(30000000)
#define BREAKER_TRIAL_US UINT64_C(1000000) /* a trial that has lasted so long keeps nobody out */

/* Zeroed: nothing has failed. */
struct breaker {
    unsigned failures; /* in a row */
    uint64_t cut_us;   /* the last of them that was a cut */
    uint64_t open_until_us, pause_us;
    uint64_t trials; /* so far: the last one's number */
    uint64_t trial;  /* the request that is on its way to find out; 0: none */
};

bool breaker_is_tried(const struct breaker *b); /* now: who waits for that knows soon */

bool breaker_admits(const struct breaker *b, uint64_t now_us);
/* Before that it admits none, as far as anybody can say; now_us where it may. */
uint64_t breaker_opens_us(const struct breaker *b, uint64_t now_us);

/* A request sets out, if it is admitted. ret_trial: its number when it is the one that finds out,
 * else 0. And how it ended: a trial of an earlier time than this is a request like any other. */
bool breaker_begin(struct breaker *b, uint64_t now_us, uint64_t *ret_trial) must_check;
void breaker_succeed(struct breaker *b);
/* Its trial has lasted BREAKER_TRIAL_US, or has begun to answer, and has not failed. */
void breaker_last(struct breaker *b);
void breaker_fail(struct breaker *b, uint64_t trial, uint64_t now_us);
/* It failed since its connection was cut. since_us: when it set out; those that were on their way
 * at the last cut tell of the same one, as all streams of a server do that has ended. */
void breaker_cut(struct breaker *b, uint64_t trial, uint64_t since_us, uint64_t now_us);
void breaker_pass(struct breaker *b, uint64_t trial); /* it says nothing about the server */
