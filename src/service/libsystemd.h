#pragma once

/* libsystemd, loaded when it is first asked for: linked, it would be a third of the memory of every
 * shim. */

#include "base/err.h"

#include <systemd/sd-bus.h>
#include <systemd/sd-journal.h>

/* Its calls, without the sd_ of their names. */
struct libsystemd {
#define CALL(name) __typeof__(sd_##name) *name;
#include "service/libsystemd.def"
#undef CALL
};

/* Once loaded, it stays. ERR_SYSTEMD_ABSENT. */
int libsystemd_load(const struct libsystemd **ret_sd, struct err *reterr) must_check;
