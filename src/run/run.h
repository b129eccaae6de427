#pragma once

/* The shim: one process that stays beside one engine, from its start to the last byte of GPU memory
 * that it gives back.
 *
 * It takes the host's start lock and a lease of GPUs, sees that their memory is free, starts the
 * engine and follows its log for as long as it progresses; is ready when the model has answered a
 * request of its own kind; watches that it works; puts it to sleep and wakes it; and ends with a
 * reason. Whatever dies in whatever order, no process of the engine is left behind.
 *
 * It tells how it is on $NOTIFY_SOCKET, if there is one, and on RUN/models/NAME/control.sock:
 *
 *     GET  /state          state.h
 *     POST /sleep?level=1  answered when it sleeps, or with what is in the way
 *     POST /wake
 *     POST /drain          as SIGTERM: finishes what it has begun, and ends */

#include "base/err.h"

struct config;
struct config_model;

/* Runs until the engine is to end, or does. Returns an exit code: 0 asked to, 64 it will never work,
 * 75 not now, 1 crashed; reterr tells why it is not 0. The engine's output goes to our stderr. */
int run_model(const struct config *config, const struct config_model *model, struct err *reterr);

/* A shim has these four ways to end, and no other: whoever starts it knows them. What is neither
 * hopeless nor untimely is a failure like a crash. */
enum exit_code run_exit(const struct err *why);

/* In the environment of all that a service starts: RUN_MARK=RUN/services/NAME, or with models/ for
 * services/ where no supervisor of ours runs it; more may follow. */
#define RUN_MARK "CITADEL_SERVICE"

/* Where the engine of a model answers: "127.0.0.1:11400". */
#define RUN_ADDRESS_MAX 32
const char *run_address(unsigned port, char text[RUN_ADDRESS_MAX]);

#define RUN_SOCKET_NAME "control.sock"
