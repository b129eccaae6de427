/* Any text as an address to listen on: what is accepted prints as something that reads back as the
 * same. A long path is cut where it is printed, so only addresses of hosts are compared. */

#include "sys/sock.h"

#include <string.h>
#include <sys/socket.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    char text[8192];
    sock_addr_text printed;
    struct sock_addr addr, back;
    struct err err;
    if (len >= sizeof(text))
        return 0;
    memcpy(text, data, len);
    text[len] = '\0';
    if (sock_addr_parse(text, &addr, &err) < 0 || addr.family == AF_UNIX)
        return 0;
    int r = sock_addr_parse(sock_addr_print(&addr, printed), &back, &err);
    assert(r == 0 && back.family == addr.family && back.port == addr.port);
    assert(memcmp(back.ip, addr.ip, sizeof(addr.ip)) == 0);
    return 0;
}
