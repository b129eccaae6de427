#pragma once

/* Sockets that serve and connect, TCP and Unix, named by one text:
 *
 *   127.0.0.1:8000   [::1]:8000   localhost:8000 (as 127.0.0.1)   unix:/run/citadel/monitor/control.sock
 *
 * Only addresses, no names: nothing here waits for a resolver. The path of a Unix socket may be
 * as long as any path. Every descriptor is close-on-exec and non-blocking. */

#include "base/err.h"

#include <sys/types.h>

struct sock_addr {
    int family;       /* AF_INET, AF_INET6 or AF_UNIX */
    uint16_t port;    /* 0 when listening: any that is free, see sock_bound_port() */
    uint8_t ip[16];   /* the first 4 of AF_INET */
    const char *path; /* of AF_UNIX: a part of the text that was parsed, NULL of an unnamed peer */
};

int sock_addr_parse(const char *text, struct sock_addr *ret_addr, struct err *reterr) must_check;

/* The text of it, cut where a path is longer than this; also of a peer. */
#define SOCK_ADDR_TEXT_MAX 128
typedef char sock_addr_text[SOCK_ADDR_TEXT_MAX];
const char *sock_addr_print(const struct sock_addr *addr, sock_addr_text text);
/* Likewise, of an address as people write it: 10.0.0.2, 2001:db8::1 or [2001:db8::1]. */
const char *sock_ip_print(const char *ip, unsigned port, sock_addr_text text);

/* A listening descriptor, or -errno. -EADDRINUSE: somebody answers there; a Unix socket's file
 * that nobody answers at is replaced.
 * mode: who may connect to a Unix socket, at no moment more than these. */
int sock_listen(const struct sock_addr *addr, mode_t mode, struct err *reterr) must_check;
/* Whether a TCP address is free to listen at: 0, -EADDRINUSE, or why it cannot be. Nobody can connect
 * meanwhile, nor is a service in the way that listens just then. */
int sock_try(const struct sock_addr *addr) must_check;
int sock_bound_port(int fd) must_check; /* of a TCP socket, or -errno */

/* Likewise at a path, of a type: SOCK_STREAM listens, SOCK_DGRAM hears. What stands there and is no
 * socket stays: -ENOTSOCK. */
int sock_bind_path(const char *path, int type, mode_t mode) must_check;

/* A socket with a new file in a directory, which nobody may connect to until its mode is changed, nor
 * before somebody listens. -EADDRINUSE: there is something of that name. */
int sock_bind_at(int dir, const char *name, int type) must_check;

/* The next connection; -EAGAIN when there is none. -EMFILE, -ENFILE, -ENOBUFS and -ENOMEM: stop
 * watching for a while, since the connection stays in the queue. ret_peer may be NULL. */
int sock_accept(int fd, struct sock_addr *ret_peer) must_check;
int sock_peer_addr(int fd, struct sock_addr *ret_peer) must_check; /* of a connection, or -errno */

/* A descriptor whose connection may still be under way: when it is writable, sock_connected()
 * tells 0 or -errno. */
int sock_connect(const struct sock_addr *addr, struct err *reterr) must_check;
int sock_connected(int fd) must_check;
int sock_connect_path(const char *path, int type) must_check; /* or -errno */

/* recv() and send() of a descriptor that does not block: bytes, or -errno; -EAGAIN: not now. */
ssize_t sock_receive(int fd, void *to, size_t len) must_check;
ssize_t sock_send(int fd, const void *bytes, size_t len) must_check;

/* Who is at the other end of a Unix socket; as of its connect(), as the kernel knows. */
struct sock_peer {
    pid_t pid;
    uid_t uid;
    gid_t gid;
};
int sock_peer(int fd, struct sock_peer *ret_peer) must_check;
