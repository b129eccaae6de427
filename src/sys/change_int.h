#pragma once

/* For the fuzzer: the journal's text. What is read is printed as it was. */

#include "sys/change.h"

/* Fills id and files of c, which was initialised; false when the text is no whole journal. */
bool change_parse(const char *text, size_t len, struct change *c, bool *ret_decided) must_check;
void change_print(const struct change *c, bool decided, struct buf *out);
