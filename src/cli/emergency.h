#pragma once

/* An emergency stop that is in force, as several verbs tell it. */

#include "cli/cli.h"
#include "run/marker.h"

/* "since 2026-11-21 14:03:11, by ann: the reason"; "" when it tells nothing of itself. */
void cli_emergency_line(const struct run_marker *marker, struct buf *out);
/* Its members, or null, under that name. */
void cli_emergency_json(const struct run_marker *marker, struct json_writer *w, const char *name);
