#include "http/server_int.h"

#include <errno.h>
#include <sys/socket.h>

static ssize_t
result(ssize_t n)
{
    if (n >= 0)
        return n;
    return errno == EINTR ? -EAGAIN : -errno;
}

ssize_t
conn_receive(struct conn *c, void *to, size_t len)
{
    return c->tls ? tls_read(c->tls, to, len) : result(recv(c->fd, to, len, 0));
}

ssize_t
conn_send(struct conn *c, const void *bytes, size_t len)
{
    return c->tls ? tls_write(c->tls, bytes, len) : result(send(c->fd, bytes, len, MSG_NOSIGNAL));
}
