#pragma once

/* Which fields of a head are passed on: the rows of header.def. */

#include "base/util.h"

enum header_way { HEADER_TO_ENGINE, HEADER_TO_CLIENT };

bool header_passes(enum header_way way, const char *name, size_t len);
