#pragma once

/* Things that wait, on lists by what they wait for. All on one list wait equally long, so the first
 * of it is the next to expire, and being put on a list costs a few pointers. One timer serves all
 * lists of a struct waits; it runs while something can expire. */

#include "sys/loop.h"

struct wait {
    struct wait *next, *previous;
    struct wait_list *list; /* NULL: waits for nothing */
    uint64_t since_us;
};

struct wait_list {
    struct wait *first, *last;
    uint64_t limit_us; /* 0: for ever */
};

struct waits {
    struct loop *loop;
    struct wait_list *lists;
    size_t count;
    void (*expired)(struct waits *waits, struct wait *wait); /* takes it off its list */
    struct loop_timer timer;
    uint64_t due_us; /* of the timer, 0: not set */
};

/* The lists are the caller's, with their limits. */
void waits_init(struct waits *waits, struct loop *loop, struct wait_list *lists, size_t count,
                void (*expired)(struct waits *waits, struct wait *wait));
void waits_finish(struct waits *waits);

/* What the lists allow is another now, also for what is on them. */
void waits_limits_changed(struct waits *waits);

/* From now, at the end of the list; whatever list it was on before. */
void wait_begin(struct waits *waits, struct wait_list *list, struct wait *wait);
void wait_end(struct waits *waits, struct wait *wait);
