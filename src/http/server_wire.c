#include "http/server_int.h"

#include "sys/sock.h"

ssize_t
conn_receive(struct conn *c, void *to, size_t len)
{
    return c->tls ? tls_read(c->tls, to, len) : sock_receive(c->fd, to, len);
}

ssize_t
conn_send(struct conn *c, const void *bytes, size_t len)
{
    return c->tls ? tls_write(c->tls, bytes, len) : sock_send(c->fd, bytes, len);
}
