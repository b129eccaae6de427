#pragma once

/* What one caller may have of what all have together. A caller is a key or, where
 * there is none, an address.
 *
 * Who has something of it gets no more than is free then: one alone may have half, two a third
 * each, three a quarter. So however much they want, there is room for the next one. */

#include "base/util.h"

struct shares;

/* Of one caller, while there is a request of his. */
struct share {
    uint64_t caller;
    unsigned requests;
    uint64_t bytes; /* room for bodies */
    struct share *next;
};

struct shares *shares_new(void) must_check;
void shares_free(struct shares *s); /* there is no request */

/* http_request_address() as a caller. */
uint64_t share_address(uint64_t address);

/* A request begins; and ends. */
struct share *share_take(struct shares *s, uint64_t caller) must_check;
void share_drop(struct shares *s, struct share *share);
unsigned share_requests(const struct shares *s, uint64_t caller); /* that he has */

/* has: the caller, besides what is wanted now; free: of what all have together, without that. Who
 * has nothing may have all that is free. */
bool share_allows(uint64_t has, uint64_t wanted, uint64_t free);
