#pragma once

/* What time it is. */

#include "base/util.h"

/* Never set back; counts from boot, without the time a machine was suspended. For timeouts. */
uint64_t clock_now_us(void);

/* Since 1970, as the host believes. For people and for samples. */
uint64_t clock_wall_us(void);

/* Names this boot: a state from another boot (a pid, a monotonic time, a GPU lease) means nothing.
 * -errno where /proc is not there. */
#define CLOCK_BOOT_ID_LEN 36
int clock_boot_id(char ret_id[CLOCK_BOOT_ID_LEN + 1]) must_check;
