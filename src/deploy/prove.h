#pragma once

/* Does a model answer? One request of its own kind, through its own port, as a client would make it. */

#include "base/err.h"

struct config_model;

int deploy_prove(const struct config_model *model, struct err *reterr) must_check;
