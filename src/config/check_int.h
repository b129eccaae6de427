#pragma once

/* Between the files of checks. */

#include "config/read_int.h"

/* Where an option of a section was given; else where the section begins, which for a model may also
 * be in the defaults. */
/* Labels go into metrics, whose rules they keep. */
void check_labels(const struct loading *l, const struct config_pairs *labels, const void *section,
                  const char *path);
struct value_at check_at(const struct loading *l, const void *section, const char *option);

/* Whether the gateway answers to this name: that of a model, one it is served under, or one that
 * a peer serves. check_models() has noted them. */
bool check_is_served(const struct loading *l, const char *name);

/* "did you mean phi3?", or what there is to choose from. */
const char *check_suggest_model(const struct loading *l, const char *name);

void check_models(const struct loading *l);
void check_routes(const struct loading *l); /* aliases, fallbacks and other references to models */
