#pragma once

/* What the verbs of GPUs share. */

#include "cli/cli.h"
#include "gpu/settings.h"

struct config;

/* The section gpu of the configuration, as values of the driver. */
struct gpu_settings cli_gpu_wish(const struct config *config);

/* A value as a person reads it: "300 W", "on". */
const char *cli_gpu_value(enum gpu_setting setting, uint64_t value, char text[32]);

/* What was done, as lines or JSON; the first refusal is returned as an error, the others are spoken. */
int cli_gpu_changes(struct cli *cli, const struct gpu_changes *changes) must_check;

/* Whether it is no wonder that there is no driver: no model needs a GPU. */
bool cli_gpu_is_absent(const struct config *config, const struct err *err);
