#pragma once

/* Inside an emergency stop: emergency.c has its order and who is killed, emergency_ask.c what is asked of
 * others, who may never answer. */

#include "deploy/emergency.h"

/* A child that tells systemd. */
struct emergency_order {
    pid_t pid; /* 0: none */
    int fd;
    uint64_t until_us;
};

void emergency_order_begin(struct emergency_order *order,
                           bool machine); /* of this one, or of none */
/* Waits for what is left of its time. */
enum emergency_systemd emergency_order_end(struct emergency_order *order);

/* Reads the GPUs until none lists what was killed, for so long. */
void emergency_prove(uint64_t limit_us, struct emergency_report *report);
