#pragma once

/* Where another gateway is, as its URL says: http[s]://HOST[:PORT][/BASE]. A BASE that ends with
 * /v1, as clients are given it, means the same without that: our paths bring it. */

#include "base/err.h"

#define PEER_HOST_MAX 255

struct peer_url {
    bool is_tls;
    bool is_ip;                   /* host is an address, and no name */
    char host[PEER_HOST_MAX + 1]; /* without brackets */
    unsigned port;
    char authority[PEER_HOST_MAX + 9]; /* as it stands in Host */
    const char *base;                  /* within the URL, before our paths; */
    size_t base_len;                   /* 0: none */
};

/* option: who has it, for the sentence. */
int peer_read_url(const char *option, const char *url, struct peer_url *ret_url, struct err *reterr)
    must_check;

/* Of a request that comes from another gateway, which does not go on to a
 * third: so none goes round. */
#define PEER_FIELD "X-Citadel-Peer"
