#pragma once

/* What goes through it goes on as one frame of zstd, with a checksum, as `zstd -d` reads it. */

#include "backup/flow.h"

struct squeeze;

/* threads: that compress, beside the caller's. */
int squeeze_new(const struct flow_sink *to, unsigned threads, struct squeeze **ret,
                struct err *reterr) must_check;
void squeeze_free(struct squeeze *s);

struct flow_sink squeeze_sink(struct squeeze *s);
/* Without it the frame has no end, and says so to whoever reads it. */
int squeeze_end(struct squeeze *s, struct err *reterr) must_check;
