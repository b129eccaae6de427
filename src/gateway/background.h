#pragma once

/* What is made in the background: somebody works on it when the answer to its request has ended.
 * Until it is heard what it took, it has taken what was reserved for it. And until it is known to be
 * over, it is one of its key's requests at a time; but no longer than a request may last, since
 * nobody has to come again for it. */

#include "gateway/keyring.h"

struct background;

/* All of them. Zeroed: there are none. */
struct backgrounds {
    struct background *first;
};
void backgrounds_finish(struct backgrounds *all); /* their owners have dropped them */

/* Its request was settled just now, by so many tokens. */
struct background *background_begin(struct backgrounds *all, struct loop *loop,
                                    struct holder *holder, uint64_t tokens, uint64_t limit_us)
    must_check;
void background_end(struct background *b); /* it is over */
/* And what it took is heard; a second time it is nothing new. */
void background_took(struct background *b, uint64_t tokens);
/* Nobody can ask for it any more: it counts until its time is over. NULL is none. */
void background_drop(struct background *b);
