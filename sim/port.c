#include "sim/port.h"

#include "base/buf.h"
#include "base/text.h"
#include "sim/settings.h"
#include "sys/files.h"
#include "sys/sock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define BACKLOG 4096

/* vLLM sets both options: of two servers of one user, each takes a share of the connections; beside
 * one that does not share, it finds out when it binds, or not before it listens. */
static int
bind_tcp(const struct sock_addr *addr)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(addr->port)};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(addr->port)};
    bool six = addr->family == AF_INET6;
    const int on = 1;
    memcpy(&in.sin_addr, addr->ip, 4);
    memcpy(&in6.sin6_addr, addr->ip, 16);
    _cleanup_close_ int fd = socket(addr->family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0 ||
        bind(fd, six ? (struct sockaddr *)&in6 : (struct sockaddr *)&in,
             six ? sizeof(in6) : sizeof(in)) < 0)
        return -errno;
    return take_fd(&fd);
}

/* What stood at the path is replaced, as uvicorn does it. */
static int
bind_unix(const char *path)
{
    struct file_place place;
    int r = file_place_open(path, &place);
    if (r < 0)
        return r;
    _cleanup_close_ int dir = place.dir;
    (void)unlinkat(dir, place.name, 0);
    _cleanup_close_ int fd = sock_bind_at(dir, place.name, SOCK_STREAM);
    if (fd >= 0 && fchmodat(dir, place.name, 0600, 0) < 0)
        return -errno;
    return fd < 0 ? fd : take_fd(&fd);
}

int
port_bind(const struct settings *settings, struct buf *where, struct err *reterr)
{
    struct sock_addr addr;
    sock_addr_text text;
    bool bare_ipv6 = strchr(settings->host, ':') && settings->host[0] != '[';
    if (settings->uds)
        buf_printf(where, "unix:%s", settings->uds);
    else
        buf_printf(where, bare_ipv6 ? "[%s]:%llu" : "%s:%llu", settings->host,
                   (unsigned long long)settings->port);
    int r = sock_addr_parse(where->data, &addr, reterr);
    if (r < 0)
        return r;
    int fd = settings->uds ? bind_unix(addr.path) : bind_tcp(&addr);
    if (fd < 0)
        return err_set_errno(reterr, -fd, "cannot bind %s", sock_addr_print(&addr, text));
    if (!settings->uds) {
        addr.port = (uint16_t)MAX(sock_bound_port(fd), 0);
        buf_clear(where);
        buf_printf(where, "http://%s", sock_addr_print(&addr, text));
    }
    return fd;
}

int
port_listen(int fd, struct err *reterr)
{
    return listen(fd, BACKLOG) < 0 ? err_set_errno(reterr, errno, "cannot listen") : 0;
}
