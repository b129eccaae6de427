#pragma once

/* The address of the server. As vLLM does, it is bound long before it is listened on: until then
 * nobody else can listen there, and who connects is refused. */

#include "base/err.h"

struct buf;
struct settings;

/* A bound socket; where: "http://127.0.0.1:8000", or "unix:/path". */
int port_bind(const struct settings *settings, struct buf *where, struct err *reterr) must_check;
int port_listen(int fd, struct err *reterr) must_check;
