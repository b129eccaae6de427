#pragma once

/* `citadel probe`: reads the GPUs for the monitor, whom a driver that hangs must not stop. Each
 * byte on its standard input asks for one reading; it is answered on standard output by a uint64_t,
 * its length, and so many bytes of gpu/transfer.h. It ends with its input. */

#include "base/err.h"

int probe_run(struct err *reterr) must_check;
