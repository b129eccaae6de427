#include "http/client_int.h"

#include <errno.h>
#include <string.h>

ssize_t
link_receive(struct link *link, void *to, size_t len)
{
    return link->tls ? tls_read(link->tls, to, len) : sock_receive(link->fd, to, len);
}

ssize_t
link_send(struct link *link, const void *bytes, size_t len)
{
    return link->tls ? tls_write(link->tls, bytes, len) : sock_send(link->fd, bytes, len);
}

static int
shake(struct link *link, struct err *reterr)
{
    int r = tls_open(link->tls);
    if (r < 0 && r != -EAGAIN)
        return err_set(reterr, ERR_HTTP_CONNECT, "no TLS with %s (%s): %s", link->client->address,
                       link->client->tls_name, tls_why(link->tls));
    return r;
}

int
link_open(struct link *link, struct err *reterr)
{
    const struct http_client *client = link->client;
    int r = link->tls ? 0 : sock_connected(link->fd);
    if (r < 0)
        return err_set(reterr, ERR_HTTP_CONNECT, "cannot connect to %s: %s", client->address,
                       strerror(-r));
    if (client->tls && !link->tls)
        link->tls = tls_connect(client->tls, link->fd, client->tls_name);
    return link->tls ? shake(link, reterr) : 0;
}

unsigned
link_events(const struct link *link)
{
    return link->tls && !tls_wants_write(link->tls) ? LOOP_READ : LOOP_WRITE;
}
