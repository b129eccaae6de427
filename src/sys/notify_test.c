#include "sys/notify.h"

#include "base/mem.h"
#include "base/text.h"
#include "sys/files.h"
#include "sys/sock.h"
#include "tap.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

TEST(notify_lines_are_read)
{
    static const char text[] = "READY=1\nSTATUS=loading shard 3/5\nEXTEND_TIMEOUT_USEC=5000000\n"
                               "MAINPID=42\nX_UNKNOWN=1\nREADY=2\n\nWATCHDOG=1\nERRNO=12";
    struct notify_message m;
    notify_parse(text, sizeof(text) - 1, &m);
    CHECK(m.ready && m.watchdog && !m.stopping && !m.reloading && m.has_status);
    CHECK_STR(m.status, "loading shard 3/5");
    CHECK_EQ(m.extend_us, 5000000);
    CHECK_EQ(m.main_pid, 42);
    CHECK_EQ(m.err, 12);
}

TEST(notify_bad_lines_are_passed_over)
{
    static const char *const bad[] = {"",
                                      "READY",
                                      "READY=10",
                                      " READY=1",
                                      "ready=1",
                                      "MAINPID=-1",
                                      "MAINPID=99999999999",
                                      "ERRNO=x",
                                      "\n\n\n",
                                      "EXTEND_TIMEOUT_USEC=soon"};
    static const struct notify_message nothing = {0};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct notify_message m;
        memset(&m, 0, sizeof(m));
        tap_note("%s", bad[i]);
        notify_parse(bad[i], strlen(bad[i]), &m);
        CHECK(memcmp(&m, &nothing, sizeof(m)) == 0);
    }
    struct notify_message m;
    notify_parse("READY=1\0", 8, &m); /* a NUL is part of the line, and spoils it */
    CHECK(!m.ready);
    notify_parse("STATUS=a\x1b[2J", 12, &m);
    CHECK_STR(m.status, "a?[2J");
}

static void
wait_for(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    (void)poll(&p, 1, 10000);
}

TEST(notify_tells_who_spoke)
{
    char path[512];
    /* Longer than a socket's address: it must be reached all the same. */
    (void)snprintf(path, sizeof(path), "%s/%0120d", tap_dir(), 7);
    REQUIRE(mkdir(path, 0700) == 0);
    _cleanup_free_ char *name = mem_printf("%s/notify", path);
    _cleanup_close_ int fd = notify_listen(name, NULL);
    REQUIRE(fd >= 0);
    pid_t child = fork();
    if (child == 0) {
        struct notify n;
        (void)setenv("NOTIFY_SOCKET", name, 1);
        bool ok = notify_open(&n, NULL) == 0 && !getenv("NOTIFY_SOCKET") &&
                  notify_send(&n, "READY=1\nSTATUS=%s", "up") == 0;
        notify_close(&n);
        _exit(ok ? 0 : 1);
    }
    struct notify_message m = {0};
    pid_t pid = 0;
    int status;
    wait_for(fd);
    CHECK_EQ(notify_receive(fd, &m, &pid), 0);
    CHECK_EQ(pid, child);
    CHECK(m.ready);
    CHECK_STR(m.status, "up");
    CHECK_EQ(notify_receive(fd, &m, &pid), -EAGAIN);
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

TEST(notify_insists_where_a_message_would_be_lost)
{
    _cleanup_free_ char *path = mem_printf("%s/notify", tap_dir());
    _cleanup_close_ int fd = notify_listen(path, NULL);
    struct notify notify;
    struct notify_message m = {0};
    int status, ends[2];
    char c;
    REQUIRE(fd >= 0 && pipe(ends) == 0 && setenv("NOTIFY_SOCKET", path, 1) == 0);
    REQUIRE(notify_open(&notify, NULL) == 0);
    while (notify_send(&notify, "STATUS=full") == 0)
        ;
    pid_t child = fork(), pid;
    if (child == 0) {
        (void)!write(ends[1], "", 1);
        _exit(notify_insist(&notify, "READY=1") == 0 ? 0 : 1);
    }
    CHECK_EQ(read(ends[0], &c, 1), 1); /* now it tries */
    for (int i = 0; i < 1000 && !m.ready; i++)
        if (notify_receive(fd, &m, &pid) == -EAGAIN)
            wait_for(fd);
    CHECK(m.ready);
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    notify_close(&notify);
    (void)close(ends[0]);
    (void)close(ends[1]);
}

TEST(notify_replaces_only_what_is_dead)
{
    _cleanup_free_ char *path = mem_printf("%s/notify", tap_dir());
    _cleanup_free_ char *file = mem_printf("%s/file", tap_dir());
    struct stat st;
    struct err err = {0};
    REQUIRE(file_write(file, "precious", 8, 0600, NULL) == 0);
    CHECK_EQ(notify_listen(file, &err), -ENOTSOCK);
    CHECK(strstr(err.what, file) != NULL);
    CHECK(stat(file, &st) == 0 && st.st_size == 8);
    int first = notify_listen(path, NULL);
    REQUIRE(first >= 0);
    CHECK(stat(path, &st) == 0 && (st.st_mode & 0777) == 0600);
    CHECK_EQ(notify_listen(path, NULL), -EADDRINUSE);
    CHECK_EQ(sock_bind_path(path, SOCK_STREAM, 0600), -EADDRINUSE);
    (void)close(first);
    _cleanup_close_ int second = notify_listen(path, NULL);
    CHECK(second >= 0);
}

TEST(notify_reaches_an_abstract_name)
{
    static const char name[] = "@citadel-notify-test";
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct notify n;
    struct notify_message m = {0};
    char text[64];
    memcpy(addr.sun_path + 1, name + 1, strlen(name) - 1);
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    REQUIRE(bind(fd, (struct sockaddr *)&addr,
                 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name))) == 0);
    (void)setenv("NOTIFY_SOCKET", name, 1);
    REQUIRE(notify_open(&n, NULL) == 0);
    CHECK_EQ(notify_send(&n, "READY=1"), 0);
    ssize_t len = recv(fd, text, sizeof(text), MSG_DONTWAIT);
    REQUIRE(len > 0);
    notify_parse(text, (size_t)len, &m);
    CHECK(m.ready);
    notify_close(&n);
}

TEST(notify_without_a_listener_is_silent)
{
    struct notify n;
    struct err err = {0};
    (void)unsetenv("NOTIFY_SOCKET");
    REQUIRE(notify_open(&n, &err) == 0);
    CHECK_EQ(n.fd, -1);
    CHECK_EQ(notify_send(&n, "READY=1"), 0);
    (void)setenv("NOTIFY_SOCKET", "relative", 1);
    CHECK(notify_open(&n, &err) < 0);
    CHECK(strstr(err.what, "'relative'") != NULL);
    (void)unsetenv("NOTIFY_SOCKET");
    notify_close(&n);
}

TEST(notify_refuses_what_is_too_long)
{
    _cleanup_free_ char *name = mem_printf("%s/notify", tap_dir());
    char *text = mem_alloc(8192);
    _cleanup_close_ int fd = notify_listen(name, NULL);
    REQUIRE(fd >= 0);
    memset(text, 'x', 8191);
    struct notify n;
    (void)setenv("NOTIFY_SOCKET", name, 1);
    REQUIRE(notify_open(&n, NULL) == 0);
    CHECK_EQ(notify_send(&n, "STATUS=%s", text), -EMSGSIZE);
    /* What another sender does is not bounded by us. */
    CHECK_EQ(write(n.fd, text, 8191), 8191);
    struct notify_message m;
    pid_t pid;
    CHECK_EQ(notify_receive(fd, &m, &pid), -EBADMSG);
    notify_close(&n);
    free(text);
}
