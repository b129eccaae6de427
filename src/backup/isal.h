#pragma once

/* ISA-L, loaded when parity is first made (sys/library.h): it makes it many times as fast as we can. Nothing
 * of a repair needs it. */

#include "base/err.h"

#include <isa-l/erasure_code.h>

struct isal {
    __typeof__(&ec_init_tables) ec_init_tables;
    __typeof__(&ec_encode_data_update) ec_encode_data_update;
};

/* NULL where it is not there: PARITY_SLOW. Any thread may ask. */
const struct isal *isal_load(struct err *reterr) must_check;
