/* What a request has of what all have together: a connection, and room for its body. */

#include "config/config.h"
#include "gateway/relay_int.h"

#include <inttypes.h>
#include <stdio.h>

static const struct config_gateway_limits *
limits_of(const struct passage *p)
{
    return &p->routing->config->gateway.limits;
}

/* refused: of what he has his share. */
static int
refuse_share(struct passage *p, const char *refused, const char *option, struct err *reterr)
{
    char who[TEXT_NAME_MAX + 16] = "your address";
    if (p->reply.caller)
        (void)snprintf(who, sizeof(who), "the key '%s'", p->account.row.key_name);
    int r = err_set(reterr, ERR_SHARE_TAKEN, "%s has %s", who, refused);
    err_fix(reterr, "one may have half of %s; fewer at a time, or wait for some to end", option);
    p->retry_after_s = 1;
    return r;
}

int
passage_enter(struct passage *p, struct err *reterr)
{
    struct relay *relay = p->relay;
    uint64_t most = MIN(limits_of(p)->connections, relay->connections_max),
             others = relay->counts.requests - 1;
    bool has_key = p->reply.caller;
    char refused[128];
    uint64_t caller = has_key ? p->key : share_address(http_request_address(p->request));
    p->share = share_take(relay->shares, caller);
    uint64_t has = p->share->requests - 1, free = most - MIN(others, most);
    if (has == 0 || share_allows(has, 1, free))
        return 0;
    (void)snprintf(refused, sizeof(refused),
                   "%" PRIu64 " requests at a time here, and there is room for %" PRIu64
                   " more of all others",
                   has, free);
    return refuse_share(p, refused, "gateway.limits.connections", reterr);
}

void
passage_leave(struct passage *p)
{
    share_drop(p->relay->shares, p->share);
}

int
passage_reserve(struct passage *p, uint64_t bytes, struct err *reterr)
{
    const struct config_gateway_limits *limits = limits_of(p);
    struct question *q = p->question;
    uint64_t others = p->relay->counts.bodies_bytes - q->room_bytes, more = bytes - q->room_bytes;
    uint64_t has = p->share->bytes - q->room_bytes;
    uint64_t free = limits->bodies_bytes - MIN(others, limits->bodies_bytes);
    char refused[128];
    if (bytes <= q->room_bytes)
        return 0;
    if (bytes > limits->body_bytes) {
        int r = err_set(reterr, ERR_TOO_LARGE, "the body is larger than %" PRIu64 " bytes",
                        limits->body_bytes);
        err_fix(reterr, "gateway.limits.body is the limit");
        return r;
    }
    if (bytes > free)
        return err_set(reterr, ERR_BODIES_FULL,
                       "there is no room for more requests' bodies at the moment");
    if (!share_allows(has, bytes, free)) {
        (void)snprintf(refused, sizeof(refused),
                       "bodies of %" PRIu64 " bytes here, and there is room for %" PRIu64
                       " more of all others",
                       has, free);
        return refuse_share(p, refused, "gateway.limits.bodies", reterr);
    }
    p->relay->counts.bodies_bytes += more;
    p->share->bytes += more;
    q->room_bytes = bytes;
    return 0;
}

void
passage_drop_room(struct passage *p)
{
    struct question *q = p->question;
    p->relay->counts.bodies_bytes -= q->room_bytes;
    p->share->bytes -= q->room_bytes;
    q->room_bytes = 0;
}

/* What takes no slot: else one key could have all connections to a server that are kept for it.
 * Each server has its own, so that a key has no less of one for what it asks another. */
int
passage_step_aside(struct passage *p, const struct backend *b, struct err *reterr)
{
    unsigned all = backend_asides(b), has = backend_asides_of(b, p->share->caller);
    char refused[128];
    if (share_allows(has, 1, BACKEND_ASIDES_MAX - all))
        return 0;
    (void)snprintf(refused, sizeof(refused), "%u requests about responses under way at %s", has,
                   backend_name(b));
    return refuse_share(p, refused, "the connections for these", reterr);
}
