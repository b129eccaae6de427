#pragma once

#include "base/util.h"

/* Who gave the command, behind sudo too. */
const char *cli_asker(char text[64]);
