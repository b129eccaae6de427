#pragma once

/* For the fuzzer: the reader of the journal. */

#include "sys/change.h"

/* Fills id and files of c, which was initialised; false when the text is no whole journal. */
bool change_parse(const char *text, size_t len, struct change *c, bool *ret_decided) must_check;
