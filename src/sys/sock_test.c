#include "sys/sock.h"

#include "base/buf.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

TEST(addresses_are_read_and_printed)
{
    static const struct {
        const char *text;
        const char *printed; /* NULL: as it was written */
        int family;
        uint16_t port;
    } good[] = {
        {"127.0.0.1:8000", NULL, AF_INET, 8000},
        {"0.0.0.0:0", NULL, AF_INET, 0},
        {"localhost:65535", "127.0.0.1:65535", AF_INET, 65535},
        {"[::1]:8000", NULL, AF_INET6, 8000},
        {"[::]:80", NULL, AF_INET6, 80},
        {"[0:0:0:0:0:0:0:1]:80", "[::1]:80", AF_INET6, 80},
        {"[ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255]:1",
         "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:1", AF_INET6, 1},
        {"unix:/run/citadel/monitor.sock", NULL, AF_UNIX, 0},
        {"unix:/a:b", NULL, AF_UNIX, 0},
    };
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        struct sock_addr addr;
        sock_addr_text text;
        tap_note("%s", good[i].text);
        REQUIRE(sock_addr_parse(good[i].text, &addr, NULL) == 0);
        CHECK_EQ(addr.family, good[i].family);
        CHECK_EQ(addr.port, good[i].port);
        CHECK_STR(sock_addr_print(&addr, text), good[i].printed ? good[i].printed : good[i].text);
    }
}

TEST(addresses_that_are_none_are_named)
{
    static const struct {
        const char *text;
        const char *what;
    } bad[] = {
        {"", "'' has no port"},
        {"8000", "'8000' has no port"},
        {"127.0.0.1", "'127.0.0.1' has no port"},
        {"[::1]", "'[::1]' has no port"},
        {"[::1]8000", "'[::1]8000' has no port"},
        {"[", "'[' has no port"},
        {"[:1", "'[:1' has no port"},
        {":8000", "':8000' has no host"},
        {"127.0.0.1:", "'127.0.0.1:': '' is not a port from 0 to 65535"},
        {"127.0.0.1:65536", "'127.0.0.1:65536': '65536' is not a port from 0 to 65535"},
        {"127.0.0.1:-1", "'127.0.0.1:-1': '-1' is not a port from 0 to 65535"},
        {"127.0.0.1: 80", "'127.0.0.1: 80': ' 80' is not a port from 0 to 65535"},
        {"::1:8000", "'::1:8000': '::1' is not an IP address"},
        {"[]:80", "'[]:80': '[]' is not an IP address"},
        {"[127.0.0.1]:80", "'[127.0.0.1]:80': '[127.0.0.1]' is not an IP address"},
        {"127.1:80", "'127.1:80': '127.1' is not an IP address"},
        {"gpu1.example.org:80", "'gpu1.example.org:80': 'gpu1.example.org' is not an IP address"},
        {"unix:", "'unix:' is not an absolute path"},
        {"unix:@abstract", "'unix:@abstract' is not an absolute path"},
        {"unix:/run/", "'unix:/run/' names a directory"},
        {"http://127.0.0.1:80", "'http://127.0.0.1:80': 'http://127.0.0.1' is not an IP address"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct sock_addr addr = {.port = 7};
        struct err err = {0};
        CHECK_EQ(sock_addr_parse(bad[i].text, &addr, &err), -EINVAL);
        CHECK_STR(err.what, bad[i].what);
        CHECK(err.fix[0]);
        CHECK_EQ(addr.port, 7);
    }
}

static void
wait_for(int fd, short events)
{
    struct pollfd p = {.fd = fd, .events = events};
    CHECK_EQ(poll(&p, 1, 20000), 1);
}

static int
listen_at(const char *text, struct err *reterr)
{
    struct sock_addr addr;
    int r = sock_addr_parse(text, &addr, reterr);
    return r < 0 ? r : sock_listen(&addr, 0600, reterr);
}

static int
connect_to(const char *text, struct err *reterr)
{
    struct sock_addr addr;
    int r = sock_addr_parse(text, &addr, reterr);
    return r < 0 ? r : sock_connect(&addr, reterr);
}

/* A byte goes from a new connection to the listener. */
static void
check_reachable(int listener, const char *text)
{
    char byte = 0;
    struct err err = {0};
    struct sock_addr peer;
    CHECK_EQ(sock_accept(listener, &peer), -EAGAIN);
    _cleanup_close_ int out = connect_to(text, &err);
    CHECK_STR(err.what, "");
    REQUIRE(out >= 0);
    wait_for(out, POLLOUT);
    CHECK_EQ(sock_connected(out), 0);
    wait_for(listener, POLLIN);
    _cleanup_close_ int in = sock_accept(listener, &peer);
    REQUIRE(in >= 0);
    CHECK(fcntl(in, F_GETFD) & FD_CLOEXEC && fcntl(in, F_GETFL) & O_NONBLOCK);
    CHECK(fcntl(out, F_GETFD) & FD_CLOEXEC && fcntl(out, F_GETFL) & O_NONBLOCK);
    if (peer.family != AF_UNIX) {
        CHECK_EQ(peer.port, sock_bound_port(out));
    }
    CHECK_EQ(write(out, "x", 1), 1);
    wait_for(in, POLLIN);
    CHECK_EQ(read(in, &byte, 1), 1);
    CHECK_EQ(byte, 'x');
}

TEST(tcp_listens_and_connects)
{
    static const struct {
        const char *listen;
        const char *connect;
    } rows[] = {
        {"127.0.0.1:0", "127.0.0.1"},
        {"[::1]:0", "[::1]"},
        {"0.0.0.0:0", "localhost"},
        {"[::]:0", "127.0.0.1"}, /* every interface, IPv4 too */
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char text[64];
        struct err err = {0};
        tap_note("%s", rows[i].listen);
        _cleanup_close_ int fd = listen_at(rows[i].listen, &err);
        if (fd == -EAFNOSUPPORT || fd == -EADDRNOTAVAIL)
            continue; /* a host without IPv6 */
        REQUIRE(fd >= 0);
        CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        REQUIRE(sock_bound_port(fd) > 0);
        (void)snprintf(text, sizeof(text), "%s:%d", rows[i].connect, sock_bound_port(fd));
        check_reachable(fd, text);
    }
}

TEST(a_port_in_use_is_told)
{
    char text[64], want[128];
    struct err err = {0};
    int fd = listen_at("127.0.0.1:0", NULL);
    REQUIRE(fd >= 0);
    (void)snprintf(text, sizeof(text), "127.0.0.1:%d", sock_bound_port(fd));
    CHECK_EQ(listen_at(text, &err), -EADDRINUSE);
    (void)snprintf(want, sizeof(want), "cannot listen on %s: Address already in use", text);
    CHECK_STR(err.what, want);
    (void)close(fd);
    _cleanup_close_ int out = connect_to(text, NULL);
    if (out >= 0) {
        wait_for(out, POLLOUT);
        CHECK_EQ(sock_connected(out), -ECONNREFUSED);
    }
}

/* Makes directories until the path is longer than a socket's address, and appends the name. */
static void
make_deep_path(struct buf *path, const char *name)
{
    buf_add_str(path, "unix:");
    buf_add_str(path, tap_dir());
    while (path->len < 400) {
        buf_add_str(path, "/a-directory-with-a-long-name");
        CHECK_EQ(mkdir(path->data + strlen("unix:"), 0700), 0);
    }
    buf_add_char(path, '/');
    buf_add_str(path, name);
}

TEST(a_unix_socket_may_have_any_path)
{
    char long_name[NAME_MAX + 1];
    _cleanup_buf_ struct buf path = BUF_INIT(PATH_MAX);
    _cleanup_buf_ struct buf named = BUF_INIT(PATH_MAX);
    memset(long_name, 'n', NAME_MAX);
    long_name[NAME_MAX] = '\0';
    make_deep_path(&path, "s");
    _cleanup_close_ int fd = listen_at(path.data, NULL);
    REQUIRE(fd >= 0);
    check_reachable(fd, path.data);
    buf_printf(&named, "unix:%s/%s", tap_dir(), long_name);
    _cleanup_close_ int other = listen_at(named.data, NULL);
    REQUIRE(other >= 0);
    check_reachable(other, named.data);
}

TEST(a_stale_socket_is_replaced_a_live_one_is_not)
{
    char text[PATH_MAX];
    struct stat st;
    (void)snprintf(text, sizeof(text), "unix:%s/s", tap_dir());
    for (int i = 0; i < 3; i++) {
        struct err err = {0};
        _cleanup_close_ int fd = listen_at(text, &err);
        CHECK_STR(err.what, "");
        REQUIRE(fd >= 0);
        REQUIRE(stat(text + 5, &st) == 0);
        CHECK_EQ(st.st_mode, S_IFSOCK | 0600);
        CHECK_EQ(listen_at(text, NULL), -EADDRINUSE);
        _cleanup_close_ int dropped = sock_accept(fd, NULL); /* the question whether it lives */
        CHECK(dropped >= 0);
        check_reachable(fd, text);
    }
    CHECK_EQ(connect_to(text, NULL), -ECONNREFUSED);
}

TEST(what_is_no_socket_is_left_alone)
{
    char text[PATH_MAX];
    struct err err = {0};
    (void)snprintf(text, sizeof(text), "unix:%s/file", tap_dir());
    _cleanup_close_ int fd = open(text + 5, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    REQUIRE(fd >= 0);
    CHECK_EQ(listen_at(text, &err), -ENOTSOCK);
    CHECK(access(text + 5, F_OK) == 0);
    (void)snprintf(text, sizeof(text), "unix:%s/absent/s", tap_dir());
    CHECK_EQ(listen_at(text, &err), -ENOENT);
    CHECK_EQ(err.id, ERR_NOT_FOUND);
    CHECK_EQ(connect_to(text, &err), -ENOENT);
}

TEST(the_kernel_says_who_is_there)
{
    char text[PATH_MAX];
    struct sock_peer peer = {0};
    (void)snprintf(text, sizeof(text), "unix:%s/s", tap_dir());
    _cleanup_close_ int fd = listen_at(text, NULL);
    _cleanup_close_ int out = connect_to(text, NULL);
    REQUIRE(fd >= 0 && out >= 0);
    _cleanup_close_ int in = sock_accept(fd, NULL);
    REQUIRE(in >= 0);
    CHECK_EQ(sock_peer(in, &peer), 0);
    CHECK_EQ(peer.pid, getpid());
    CHECK_EQ(peer.uid, getuid());
    CHECK_EQ(peer.gid, getgid());
}

static void
make_left(const char *path, bool old)
{
    const struct timespec times[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    (void)snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&un, sizeof(un)) < 0 ||
        (old && utimensat(AT_FDCWD, path, times, 0) < 0))
        abort();
    (void)close(fd);
}

TEST(what_a_crash_left_on_its_way_is_swept)
{
    static const struct {
        const char *name;
        bool old, stays;
    } rows[] = {
        {".socket-0123456789abcdef", true, false},
        {".socket-fedcba9876543210", false, true}, /* it may be on its way now */
        {"socket-0123456789abcdef", true, true},
    };
    char path[ARRAY_SIZE(rows)][108], here[200];
    REQUIRE(snprintf(here, sizeof(here), "%s/s", tap_dir()) < (int)sizeof(here));
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        (void)snprintf(path[i], sizeof(path[i]), "%.70s/%s", tap_dir(), rows[i].name);
        make_left(path[i], rows[i].old);
    }
    int fd = sock_bind_path(here, SOCK_STREAM, 0600);
    CHECK(fd >= 0);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        tap_note("%s", rows[i].name);
        CHECK_EQ(access(path[i], F_OK) == 0, rows[i].stays);
    }
    (void)close(fd);
}

TEST(a_name_that_does_not_fit_is_told)
{
    char name[120] = "";
    memset(name, 'x', sizeof(name) - 1);
    CHECK_EQ(sock_bind_at(AT_FDCWD, name, SOCK_STREAM), -ENAMETOOLONG);
}

TEST(an_address_is_tried_without_listening)
{
    struct sock_addr addr;
    REQUIRE(sock_addr_parse("127.0.0.1:0", &addr, NULL) == 0);
    int fd = sock_listen(&addr, 0, NULL);
    REQUIRE(fd >= 0);
    addr.port = (uint16_t)sock_bound_port(fd);
    CHECK_EQ(sock_try(&addr), -EADDRINUSE);
    (void)close(fd);
    CHECK_EQ(sock_try(&addr), 0);
}

TEST(sock_ip_with_a_port_is_what_a_socket_takes)
{
    static const struct {
        const char *ip, *want;
    } rows[] = {
        {"10.0.0.2", "10.0.0.2:80"},
        {"2001:db8::1", "[2001:db8::1]:80"},
        {"[2001:db8::1]", "[2001:db8::1]:80"},
    };
    sock_addr_text text;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct sock_addr addr;
        CHECK_STR(sock_ip_print(rows[i].ip, 80, text), rows[i].want);
        CHECK(sock_addr_parse(text, &addr, NULL) == 0 && addr.port == 80);
    }
}
