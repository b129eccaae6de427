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

/* A moment since 1970 as people here write it: "2026-11-21 14:03:07". */
#define CLOCK_LOCAL_MAX 32
const char *clock_print_local(uint64_t wall_us, char text[CLOCK_LOCAL_MAX]);
