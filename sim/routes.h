#pragma once

#include "sim/sim.h"

#define ROUTE(method, path, function) void function(struct sim *sim, struct http_request *r);
#include "sim/routes.def"
#undef ROUTE
