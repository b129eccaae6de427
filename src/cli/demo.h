#pragma once

/* `citadel up --demo`: an appliance that needs nothing. A directory of its own, gone at the end,
 * with a configuration of three simulated models on two simulated GPUs, monitor and gateway. It
 * is locked while its demonstration lives, so that the next one can tell what was left by one
 * that was killed. */

#include "base/err.h"

struct buf;
struct cli;

struct demo {
    char dir[64];
    char config_file[96];
    unsigned ports[3], monitor_port, gateway_port;
    int lock;
    int turn; /* held by the first demo of the machine; -1: not ours */
};

/* In which the directories of demonstrations are. */
const char *demo_place(void);
#define DEMO_NAME "citadel-demo-" /* and six letters or digits */
#define DEMO_CONFIG "citadel.yaml"
#define DEMO_HEAD "# Made by `citadel up --demo`; it goes with it.\n" /* of the configuration */

/* Ends and removes what this user's demonstrations left that were killed. */
void demo_sweep(struct cli *cli);

/* Sets the environment so that our children see the made-up driver. */
int demo_make(struct demo *demo, const char *program, struct err *reterr) must_check;
/* What a person may try, of the models that are up. */
void demo_tell(const struct demo *demo, bool (*is_up)(const char *name, const void *arg),
               const void *arg, struct buf *out);
void demo_remove(struct demo *demo, struct cli *cli);
