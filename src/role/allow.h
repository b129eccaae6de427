#pragma once

/* Whether an address is one of those of a list, as monitor.allow is: addresses, and networks as
 * 192.168.10.0/24. */

#include "base/util.h"

struct config_list;

/* bytes: 4 of IPv4, 16 of IPv6; an IPv4 address in IPv6 clothes (::ffff:a.b.c.d) is that one. */
bool allow_address(const struct config_list *networks, const uint8_t *bytes, size_t len);

/* Who is at the other end of a connection; of a socket that is a file, this host as 127.0.0.1. */
bool allow_peer(const struct config_list *networks, int fd);
