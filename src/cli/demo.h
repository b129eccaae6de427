#pragma once

/* `citadel up --demo`: an appliance that needs nothing. A directory of its own, gone at the end, with
 * a configuration of three simulated models on two simulated GPUs. */

#include "base/err.h"

struct buf;
struct cli;

struct demo {
    char dir[64];
    char config_file[96];
    unsigned ports[3];
    int turn; /* held by the first demo of the machine; -1: not ours */
};

/* Sets the environment so that our children see the made-up driver. */
int demo_make(struct demo *demo, const char *program, struct err *reterr) must_check;
void demo_tell(const struct demo *demo, struct buf *out); /* what a person may try */
void demo_remove(struct demo *demo, struct cli *cli);
