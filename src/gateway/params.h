#pragma once

/* Members that the configuration gives to the requests for a model: those that hold
 * where a client says nothing, and those that hold whatever he says. Each is written as
 * JSON; what is none is a text. */

#include "base/mem.h"
#include "gateway/ask.h"

struct config_model;

struct params {
    struct ask_param items[ASK_PARAMS_MAX];
    size_t count;
    struct arena arena; /* of their values; names are the configuration's */
};

void params_init(struct params *p, const struct config_model *model);
void params_finish(struct params *p);
