#pragma once

/* Puts a switch, `enabled: true` or `false`, into a configuration as a person has written it: every other
 * byte stays, comments and all. Where the text is written in a way that this does not understand, or the
 * result would mean anything else but that, nothing is changed. */

#include "base/buf.h"
#include "base/err.h"

/* section: "models.phi3" or "gateway". The whole new text is added to out, which is empty; it is the old
 * one where that is written there already. ERR_CONFIG_SPLICE: with what to write by hand. */
int config_splice_enabled(const char *text, size_t len, const char *section, bool enabled,
                          struct buf *out, struct err *reterr) must_check;
