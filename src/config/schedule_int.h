#pragma once

/* When a job runs: "every 15m", "hourly", "daily 02:00", "weekly sunday 03:00",
 * "monthly 1 04:00", "never". Times are local, as systemd's are. */

#include "config/config.h"

#define SCHEDULE_TEXT_MAX 32

bool schedule_parse(const char *text, struct config_schedule *ret_schedule);
const char *schedule_print(const struct config_schedule *schedule, char text[SCHEDULE_TEXT_MAX]);
