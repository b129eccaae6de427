#pragma once

/* What the verbs of GPUs share. */

#include "cli/cli.h"
#include "gpu/settings.h"

struct config;

/* The section gpu of the configuration, as values of the driver. */
struct gpu_settings cli_gpu_wish(const struct config *config);

/* A value as a person reads it: "300 W", "on". */
const char *cli_gpu_value(enum gpu_setting setting, uint64_t value, char text[32]);

/* Sets the GPUs as the configuration says, or `back` to what was there before, and shows what was done, as
 * lines or JSON. The first refusal is returned as an error, the others are spoken. Where no model needs a
 * GPU it is no wonder that there is no driver. Returns an exit code, or a negative errno. */
int cli_gpu_set(struct cli *cli, bool back, uint64_t limit_us) must_check;
