#pragma once

/* Inside the gateway: gateway.c has its life and its addresses, gateway_http.c who asks what. */

#include "gateway/relay.h"
#include "http/server.h"
#include "role/gateway.h"
#include "role/life.h"

struct gateway {
    const struct config *config;
    struct life life;
    struct relay *relay;
    struct http_server *server;
    uint64_t since_s; /* 1970 */
    bool drains;
    struct loop_timer deadline; /* of that */
};

/* gateway_http.c */
struct http_service gateway_service(struct gateway *g);
/* Only those on this host, as long as there are no keys. */
bool gateway_is_local(const struct gateway *g);
