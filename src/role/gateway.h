#pragma once

/* The gateway: the address that clients use. It relays requests to models (gateway/relay.h), and
 * answers itself:
 *
 *     GET /v1/models, /v1/models/NAME    what can be asked
 *     GET /health, /ready                anybody who may ask at all: it lives; it takes requests
 *     GET /metrics, /metrics/...         gateway.metrics_allow; the latter are the monitor's pages
 *
 * RUN/gateway/control.sock has the operations of api/operations.def that are its own.
 *
 * Until a key is made, and without `gateway.anonymous`, it listens on loopback only, and answers
 * nobody else; from then on it needs one of everybody. */

#include "base/err.h"

struct config;

/* Until SIGTERM or SIGINT, and then until what is under way is answered, for gateway.drain_timeout
 * at most, or until a second signal; what is not, is told that there will be no answer. */
int gateway_run(const struct config *config, struct err *reterr) must_check;
