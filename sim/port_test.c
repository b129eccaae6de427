#include "sim/port.h"

#include "base/buf.h"
#include "sim/settings.h"
#include "sys/sock.h"
#include "tap.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

TEST(a_port_is_taken_before_anybody_is_served)
{
    struct settings s = {.host = "127.0.0.1"};
    _cleanup_buf_ struct buf where = BUF_INIT(4 * KIB), again = BUF_INIT(4 * KIB);
    struct sock_addr addr;
    struct err err;
    int fd = port_bind(&s, &where, &err);
    REQUIRE(fd >= 0);
    CHECK(strncmp(where.data, "http://127.0.0.1:", strlen("http://127.0.0.1:")) == 0);
    REQUIRE(sock_addr_parse(where.data + strlen("http://"), &addr, &err) == 0);
    s.port = addr.port;
    _cleanup_close_ int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_storage at;
    socklen_t len = sizeof(at);
    REQUIRE(getsockname(fd, (struct sockaddr *)&at, &len) == 0);
    CHECK(connect(client, (struct sockaddr *)&at, len) < 0 && errno == ECONNREFUSED);
    CHECK_EQ(port_listen(fd, &err), 0);
    CHECK_EQ(connect(client, (struct sockaddr *)&at, len), 0);
    _cleanup_close_ int second = port_bind(&s, &again, &err); /* it is shared with its like, and */
    CHECK(second >= 0);
    CHECK_EQ(sock_listen(&addr, 0600, &err), -EADDRINUSE); /* with nobody else */
    (void)close(fd);
}

/* A path longer than the address of a socket may be, where an older socket still stands. */
TEST(a_unix_socket_takes_the_place_of_an_old_one)
{
    char path[512];
    struct settings s = {.host = "", .uds = path};
    struct stat st;
    struct err err;
    (void)snprintf(path, sizeof(path), "%s/%0120d", tap_dir(), 0);
    REQUIRE(mkdir(path, 0700) == 0);
    (void)snprintf(path, sizeof(path), "%s/%0120d/engine.sock", tap_dir(), 0);
    for (int i = 0; i < 2; i++) {
        _cleanup_buf_ struct buf where = BUF_INIT(4 * KIB);
        _cleanup_close_ int fd = port_bind(&s, &where, &err);
        REQUIRE(fd >= 0);
        CHECK_EQ(port_listen(fd, &err), 0);
        CHECK(strncmp(where.data, "unix:", 5) == 0 && strcmp(where.data + 5, path) == 0);
        CHECK(stat(path, &st) == 0 && S_ISSOCK(st.st_mode) && (st.st_mode & 0777) == 0600);
    }
}

TEST(what_is_no_address_is_refused)
{
    static const struct settings rows[] = {
        {.host = "no such host"},
        {.host = ""},
        {.host = "300.1.1.1"},
        {.host = "::g"},
        {.host = "", .uds = "relative.sock"},
        {.host = "", .uds = "/no-such-directory/engine.sock"},
        {.host = "", .uds = "/"},
        {.host = "", .uds = ""},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_buf_ struct buf where = BUF_INIT(4 * KIB);
        struct err err = {0};
        tap_note("row %zu", i);
        CHECK(port_bind(&rows[i], &where, &err) < 0);
        CHECK(err.what[0]);
    }
}
