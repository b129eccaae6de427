#pragma once

#include "sim/call.h"

#define ROUTE(method, path, body, need, count, function, name) \
    void function(struct call *call, const struct value *body_);
#include "sim/routes.def"
#undef ROUTE
