#pragma once

/* The address of a host's name. Resolvers wait, for seconds where a network is down: so one is asked on
 * a thread, and tells on the loop. */

#include "sys/loop.h"

struct resolve;

/* ip: the first address there is, as sock_addr_parse() takes it before ":PORT"; NULL: none, and why.
 * Both are valid inside the call only. */
typedef void (*resolve_told)(void *arg, const char *ip, const char *why);

/* Tells once, unless it is forgotten before; then, or after told(), it is not there any more. */
struct resolve *resolve_begin(struct loop *loop, const char *host, resolve_told told, void *arg)
    must_check;
void resolve_forget(struct resolve *r);
