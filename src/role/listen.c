#include "role/listen.h"

#include "base/text.h"
#include "sys/sock.h"

#include <sys/socket.h>

#define MODE 0660

int
role_listen(struct http_server *server, const char *address, unsigned port, struct err *reterr)
{
    sock_addr_text text;
    struct sock_addr addr = {.family = AF_UNIX, .path = address};
    int fd =
        *address == '/' ? 0 : sock_addr_parse(sock_ip_print(address, port, text), &addr, reterr);
    if (fd == 0)
        fd = sock_listen(&addr, MODE, reterr);
    return fd < 0 ? fd : http_server_listen(server, fd, reterr);
}

const char *
role_reach(const char *ip)
{
    if (text_eq(ip, "0.0.0.0"))
        return "127.0.0.1";
    return text_eq(ip, "::") ? "::1" : ip;
}
