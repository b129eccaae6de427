#pragma once

/* How units reach systemd: it runs its generators at boot and at every daemon-reload, and ours copies
 * those of the current generation. So a deployment is one rename, and systemd sees one generation as
 * a whole or, when that cannot be read, none of it.
 *
 * It runs before there is a configuration to read, so it looks in one place: a deployment whose
 * paths.generations is elsewhere keeps a link there.
 *
 * Only names of our own units are taken (citadel-*.service, .socket, .target and .timer): whatever is
 * in that directory, no other unit of the machine is replaced. */

#include "base/err.h"

#define GENERATOR_NAME "citadel-generator" /* argv[0] of the program, as which systemd calls it */
#define GENERATOR_STORE "/etc/citadel"     /* of generations; the only one it looks at */
#define GENERATOR_SOURCE GENERATOR_STORE "/current/units"

/* Copies the units of a directory into one of systemd's, with links for what WantedBy= of their [Install]
 * says; and one that starts citadel-ai.target with the machine. What rests (rest.h) in `store` gets none.
 * No such directory: nothing is deployed, and nothing is done. After an error nothing is left there. */
int generator_copy(const char *from, const char *store, const char *to, struct err *reterr)
    must_check;

/* The program under its other name; systemd's arguments. Returns an exit code. */
int generator_main(int argc, char *const argv[]);
