#pragma once

/* The manual pages, in mdoc, out of the tables. */

#include "base/buf.h"

void manual_citadel(struct buf *out);      /* citadel(1) */
void manual_citadel_yaml(struct buf *out); /* citadel.yaml(5) */
