#pragma once

/* Inside the gateway: gateway.c has its life and its addresses, gateway_http.c who asks what,
 * gateway_control.c the control socket, gateway_reload.c another configuration. */

#include "gateway/relay.h"
#include "http/server.h"
#include "role/control.h"
#include "role/gateway.h"
#include "role/life.h"

struct gateway {
    const struct config *config; /* as the relay has it */
    struct life life;
    struct relay *relay;
    struct http_server *server;
    bool is_handed; /* its addresses are */
    struct role_control control;
    uint64_t since_us; /* 1970 */
    bool drains;
    struct loop_timer deadline; /* of that */
};

/* gateway.c */
void gateway_limits_changed(struct gateway *g);
void gateway_listen_anew(struct gateway *g); /* since gateway_is_local() has changed */

/* gateway_control.c */
int gateway_control_open(struct gateway *g, struct err *reterr) must_check;

/* gateway_reload.c: what has changed is printed, whether or not it could be taken up */
struct json_writer;
int gateway_reload(struct gateway *g, struct json_writer *w, struct err *reterr) must_check;

/* gateway_http.c */
struct http_service gateway_service(struct gateway *g);
/* Only those on this host, as long as there are no keys. */
bool gateway_is_local(const struct gateway *g);
