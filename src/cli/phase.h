#pragma once

/* One phase of a deployment, for the verbs `deploy phase1` to `deploy phase4`. */

#include "cli/cli.h"

int cli_deploy_phase(struct cli *cli, unsigned phase) must_check;
