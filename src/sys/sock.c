/* The address of a Unix socket holds 108 bytes, less than a path may have. So its directory (to
 * listen) or the socket's own file (to connect) is opened first, and named to the kernel as
 * /proc/self/fd/N.
 *
 * A Unix socket is made under a name of its own and moved to its place when it listens and has its
 * mode, in one step that sees what is there: nothing, or exactly the file at which nobody
 * answered. Of two processes that start at once, one is told that the address is in use. */

#include "sys/sock.h"

#include "base/quantity.h"
#include "base/text.h"
#include "sys/files.h"
#include "sys/root.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define FD_PATH "/proc/self/fd/"
#define DRAFT ".socket-" /* and a lot, until it has its name */
#define DRAFT_OLD_S 60
#define BACKLOG 4096 /* the kernel lowers it to net.core.somaxconn, by default this */

union address {
    struct sockaddr any;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    struct sockaddr_un un;
};

static bool
parse_port(const char *text, uint16_t *ret_port)
{
    uint64_t port;
    if (quantity_parse_u64(text, &port, NULL) < 0 || port > UINT16_MAX)
        return false;
    *ret_port = (uint16_t)port;
    return true;
}

static bool
parse_host(const char *host, struct sock_addr *ret)
{
    size_t len = strlen(host);
    if (host[0] == '[' && host[len - 1] == ']' && len - 2 < INET6_ADDRSTRLEN) {
        char inner[INET6_ADDRSTRLEN] = "";
        memcpy(inner, host + 1, len - 2);
        ret->family = AF_INET6;
        return inet_pton(AF_INET6, inner, ret->ip) == 1;
    }
    ret->family = AF_INET;
    return inet_pton(AF_INET, text_eq(host, "localhost") ? "127.0.0.1" : host, ret->ip) == 1;
}

static int
parse_tcp(const char *text, struct sock_addr *ret, struct err *reterr)
{
    char host[INET6_ADDRSTRLEN + 2]; /* with its brackets */
    const char *colon = strrchr(text, ':');
    if (!colon || (text[0] == '[' && colon[-1] != ']'))
        return err_set(reterr, ERR_VALUE, "'%s' has no port", text);
    size_t len = (size_t)(colon - text);
    if (len == 0)
        return err_set(reterr, ERR_VALUE, "'%s' has no host", text);
    if (!parse_port(colon + 1, &ret->port))
        return err_set(reterr, ERR_VALUE, "'%s': '%s' is not a port from 0 to 65535", text,
                       colon + 1);
    if (len < sizeof(host)) {
        memcpy(host, text, len);
        host[len] = '\0';
        if (parse_host(host, ret))
            return 0;
    }
    return err_set(reterr, ERR_VALUE, "'%s': '%.*s' is not an IP address", text,
                   (int)MIN(len, (size_t)INT_MAX), text);
}

/* Abstract sockets (unix:@name) have no file whose mode could keep strangers out. */
static int
parse_unix(const char *path, struct sock_addr *ret, struct err *reterr)
{
    size_t len = strlen(path);
    if (path[0] != '/')
        return err_set(reterr, ERR_VALUE, "'unix:%s' is not an absolute path", path);
    if (len >= PATH_MAX)
        return err_set(reterr, ERR_VALUE, "a socket's path of %zu bytes is too long", len);
    if (path[len - 1] == '/')
        return err_set(reterr, ERR_VALUE, "'unix:%s' names a directory", path);
    ret->family = AF_UNIX;
    ret->path = path;
    return 0;
}

int
sock_addr_parse(const char *text, struct sock_addr *ret_addr, struct err *reterr)
{
    struct sock_addr addr = {0};
    int r = text_starts(text, "unix:") ? parse_unix(text + strlen("unix:"), &addr, reterr)
                                       : parse_tcp(text, &addr, reterr);
    if (r < 0) {
        err_fix(reterr, "write it like 127.0.0.1:8000, [::1]:8000, 0.0.0.0:8000 (every interface) "
                        "or unix:/path");
        return r;
    }
    *ret_addr = addr;
    return 0;
}

const char *
sock_addr_print(const struct sock_addr *addr, sock_addr_text text)
{
    char ip[INET6_ADDRSTRLEN];
    if (addr->family == AF_UNIX) {
        (void)snprintf(text, SOCK_ADDR_TEXT_MAX, "unix:%s", addr->path ? addr->path : "");
        return text;
    }
    const char *r = inet_ntop(addr->family, addr->ip, ip, sizeof(ip));
    assert(r);
    return sock_ip_print(ip, addr->port, text);
}

const char *
sock_ip_print(const char *ip, unsigned port, sock_addr_text text)
{
    bool lacks_brackets = strchr(ip, ':') && ip[0] != '[';
    (void)snprintf(text, SOCK_ADDR_TEXT_MAX, lacks_brackets ? "[%s]:%u" : "%s:%u", ip, port);
    return text;
}

static socklen_t
to_kernel(const struct sock_addr *addr, union address *ret)
{
    *ret = (union address){0};
    ret->any.sa_family = (sa_family_t)addr->family;
    if (addr->family == AF_INET6) {
        ret->in6.sin6_port = htons(addr->port);
        memcpy(&ret->in6.sin6_addr, addr->ip, 16);
        return sizeof(ret->in6);
    }
    ret->in.sin_port = htons(addr->port);
    memcpy(&ret->in.sin_addr, addr->ip, 4);
    return sizeof(ret->in);
}

static void
from_kernel(const union address *from, struct sock_addr *ret)
{
    *ret = (struct sock_addr){.family = from->any.sa_family};
    if (ret->family == AF_INET6) {
        ret->port = ntohs(from->in6.sin6_port);
        memcpy(ret->ip, &from->in6.sin6_addr, 16);
    } else if (ret->family == AF_INET) {
        ret->port = ntohs(from->in.sin_port);
        memcpy(ret->ip, &from->in.sin_addr, 4);
    } else {
        ret->family = AF_UNIX;
    }
}

static int
new_socket(int family, int type)
{
    int fd = socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return fd < 0 ? -errno : fd;
}

static int
set_option(int fd, int level, int option, int value)
{
    return setsockopt(fd, level, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

/* SO_REUSEADDR takes a port whose old connections linger (TIME_WAIT), never one that another
 * process listens on. Accepted connections inherit TCP_NODELAY: a streamed token must not wait for
 * the next. [::] takes IPv4 too, whatever the host's sysctl. */
static int
bind_tcp(const struct sock_addr *addr)
{
    union address to;
    socklen_t len = to_kernel(addr, &to);
    _cleanup_close_ int fd = new_socket(addr->family, SOCK_STREAM);
    if (fd < 0)
        return fd;
    int r = set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (r == 0)
        r = set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (r == 0 && addr->family == AF_INET6)
        r = set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
    if (r < 0)
        return r;
    return bind(fd, &to.any, len) < 0 ? -errno : take_fd(&fd);
}

static int
listen_tcp(const struct sock_addr *addr)
{
    _cleanup_close_ int fd = bind_tcp(addr);
    if (fd < 0)
        return fd;
    return listen(fd, BACKLOG) < 0 ? -errno : take_fd(&fd);
}

int
sock_try(const struct sock_addr *addr)
{
    _cleanup_close_ int fd = bind_tcp(addr);
    return MIN(fd, 0);
}

static void
name_by_fd(int fd, const char *name, union address *ret)
{
    *ret = (union address){.un = {.sun_family = AF_UNIX}};
    int len = snprintf(ret->un.sun_path, sizeof(ret->un.sun_path), FD_PATH "%d%s%s", fd,
                       name ? "/" : "", name ? name : "");
    assert(len < (int)sizeof(ret->un.sun_path));
}

/* Connects a socket to the file that fd is open at. */
static int
connect_file(int fd, int file)
{
    union address to;
    name_by_fd(file, NULL, &to);
    return connect(fd, &to.any, sizeof(to.un)) < 0 ? -errno : 0;
}

/* 0 when a socket's file is there at which nobody answers, with what tells it from others;
 * -ENOENT, -EADDRINUSE, -ENOTSOCK or another error. -EPROTOTYPE: somebody who is of another type. */
static int
find_stale(int dir, const char *name, int type, struct stat *ret_stale)
{
    _cleanup_close_ int file = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (file < 0 || fstat(file, ret_stale) < 0)
        return -errno;
    if (!S_ISSOCK(ret_stale->st_mode))
        return -ENOTSOCK;
    _cleanup_close_ int fd = new_socket(AF_UNIX, type);
    if (fd < 0)
        return fd;
    int r = connect_file(fd, file);
    return r == -ECONNREFUSED ? 0 : r == 0 || r == -EAGAIN || r == -EPROTOTYPE ? -EADDRINUSE : r;
}

/* Moves the socket to the name, if that is free or stale. */
static int
publish(int dir, const char *made, const char *name, int type)
{
    struct stat stale = {0}, there;
    int r = find_stale(dir, name, type, &stale);
    if (r == -ENOENT)
        return renameat2(dir, made, dir, name, RENAME_NOREPLACE) == 0 ? 0
               : errno == EEXIST                                      ? -EADDRINUSE
                                                                      : -errno;
    if (r < 0)
        return r;
    if (renameat2(dir, made, dir, name, RENAME_EXCHANGE) < 0)
        return -errno;
    int seen = fstatat(dir, made, &there, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
    if (seen == -ENOENT) /* another's sweep has it */
        return 0;
    if (seen == 0 && there.st_ino == stale.st_ino && there.st_dev == stale.st_dev)
        return unlinkat(dir, made, 0) < 0 && errno != ENOENT ? -errno : 0;
    /* Another process has replaced the stale one since we looked. */
    (void)renameat2(dir, made, dir, name, RENAME_EXCHANGE);
    return -EADDRINUSE;
}

/* bind() makes the file with the socket's own mode less the umask: at first nobody's. */
int
sock_bind_at(int dir, const char *name, int type)
{
    union address to;
    if (strlen(name) > sizeof(to.un.sun_path) - sizeof(FD_PATH "2147483647/"))
        return -ENAMETOOLONG;
    _cleanup_close_ int fd = new_socket(AF_UNIX, type);
    if (fd < 0)
        return fd;
    name_by_fd(dir, name, &to);
    if (fchmod(fd, 0) < 0 || bind(fd, &to.any, sizeof(to.un)) < 0)
        return -errno;
    return take_fd(&fd);
}

static int
make_bound(int dir, const char *made, int type, mode_t mode)
{
    _cleanup_close_ int fd = sock_bind_at(dir, made, type);
    if (fd < 0)
        return fd;
    if ((type == SOCK_STREAM && listen(fd, BACKLOG) < 0) || fchmodat(dir, made, mode, 0) < 0) {
        int r = -errno;
        (void)unlinkat(dir, made, 0);
        return r;
    }
    return take_fd(&fd);
}

/* Removes the sockets that a crash has left on their way to their names. One that is on its way now is
 * there for less than a moment: what is old and answers nobody is none. */
static void
sweep(int dir)
{
    struct stat st;
    time_t old = time(NULL) - DRAFT_OLD_S;
    DIR *list = file_open_dir(dir, ".", 0);
    for (struct dirent *e; list && (e = readdir(list));)
        if (text_starts(e->d_name, DRAFT) &&
            fstatat(dir, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_mtime < old &&
            find_stale(dir, e->d_name, SOCK_STREAM, &st) == 0)
            (void)unlinkat(dir, e->d_name, 0);
    if (list)
        (void)closedir(list);
}

int
sock_bind_path(const char *path, int type, mode_t mode)
{
    struct file_place place;
    char made[32];
    uint64_t lot;
    int r = file_place_open(path, &place);
    if (r < 0)
        return r;
    _cleanup_close_ int dir = place.dir;
    sweep(dir);
    if (getrandom(&lot, sizeof(lot), 0) < 0)
        return -errno;
    (void)snprintf(made, sizeof(made), DRAFT "%016llx", (unsigned long long)lot);
    _cleanup_close_ int fd = make_bound(dir, made, type, mode);
    if (fd < 0)
        return fd;
    r = publish(dir, made, place.name, type);
    if (r < 0) {
        (void)unlinkat(dir, made, 0);
        return r;
    }
    return take_fd(&fd);
}

int
sock_listen(const struct sock_addr *addr, mode_t mode, struct err *reterr)
{
    sock_addr_text text;
    int r =
        addr->family == AF_UNIX ? sock_bind_path(addr->path, SOCK_STREAM, mode) : listen_tcp(addr);
    if (r < 0)
        (void)root_err(reterr, r, "cannot listen on %s", sock_addr_print(addr, text));
    if (r == -EADDRINUSE)
        err_fix(reterr, "choose another, or see who has it: ss -ltnpx");
    return r;
}

int
sock_bound_port(int fd)
{
    union address at = {0};
    struct sock_addr addr;
    socklen_t len = sizeof(at);
    if (getsockname(fd, &at.any, &len) < 0)
        return -errno;
    from_kernel(&at, &addr);
    return addr.family == AF_UNIX ? -EAFNOSUPPORT : addr.port;
}

/* accept() tells errors of connections that broke while they waited, as if they were its own; they
 * are gone, and the next is taken. */
static bool
is_of_connection(int errno_value)
{
    static const int of_connection[] = {ECONNABORTED, EINTR,       EPROTO,    ENETDOWN,
                                        ENOPROTOOPT,  EHOSTDOWN,   ENONET,    EHOSTUNREACH,
                                        EOPNOTSUPP,   ENETUNREACH, ETIMEDOUT, EPERM};
    for (size_t i = 0; i < ARRAY_SIZE(of_connection); i++)
        if (errno_value == of_connection[i])
            return true;
    return false;
}

int
sock_peer_addr(int fd, struct sock_addr *ret_peer)
{
    union address address = {0};
    socklen_t len = sizeof(address);
    if (getpeername(fd, &address.any, &len) < 0)
        return -errno;
    from_kernel(&address, ret_peer);
    return 0;
}

int
sock_accept(int fd, struct sock_addr *ret_peer)
{
    union address from = {0};
    for (int tries = 0; tries < 64; tries++) {
        socklen_t len = sizeof(from);
        from.any.sa_family = AF_UNIX;
        int got = accept4(fd, &from.any, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (got < 0 && is_of_connection(errno))
            continue;
        if (got < 0)
            return -errno;
        if (ret_peer)
            from_kernel(&from, ret_peer);
        return got;
    }
    return -EAGAIN;
}

int
sock_connect_path(const char *path, int type)
{
    _cleanup_close_ int file = open(path, O_PATH | O_CLOEXEC);
    if (file < 0)
        return -errno;
    _cleanup_close_ int fd = new_socket(AF_UNIX, type);
    if (fd < 0)
        return fd;
    int r = connect_file(fd, file);
    return r < 0 ? r : take_fd(&fd);
}

static int
connect_tcp(const struct sock_addr *addr)
{
    union address to;
    socklen_t len = to_kernel(addr, &to);
    _cleanup_close_ int fd = new_socket(addr->family, SOCK_STREAM);
    if (fd < 0)
        return fd;
    int r = set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (r == 0 && connect(fd, &to.any, len) < 0 && errno != EINPROGRESS)
        r = -errno;
    return r < 0 ? r : take_fd(&fd);
}

int
sock_connect(const struct sock_addr *addr, struct err *reterr)
{
    sock_addr_text text;
    int r =
        addr->family == AF_UNIX ? sock_connect_path(addr->path, SOCK_STREAM) : connect_tcp(addr);
    if (r < 0)
        return err_set_errno(reterr, -r, "cannot connect to %s", sock_addr_print(addr, text));
    return r;
}

int
sock_connected(int fd)
{
    int error = 0;
    socklen_t len = sizeof(error);
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
        return -errno;
    return -error;
}

int
sock_peer(int fd, struct sock_peer *ret_peer)
{
    struct ucred cred;
    socklen_t len = sizeof(cred);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
        return -errno;
    *ret_peer = (struct sock_peer){.pid = cred.pid, .uid = cred.uid, .gid = cred.gid};
    return 0;
}

static ssize_t
transferred(ssize_t n)
{
    if (n >= 0)
        return n;
    return errno == EINTR ? -EAGAIN : -errno;
}

ssize_t
sock_receive(int fd, void *to, size_t len)
{
    return transferred(recv(fd, to, len, 0));
}

ssize_t
sock_send(int fd, const void *bytes, size_t len)
{
    return transferred(send(fd, bytes, len, MSG_NOSIGNAL));
}
