#include "sys/notify.h"

#include "base/mem.h"
#include "base/text.h"
#include "sys/files.h"
#include "sys/sock.h"
#include "tap.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

/* A supervisor that hears nothing for now: its queue is full. */
static int
open_full(struct notify *notify)
{
    _cleanup_free_ char *path = mem_printf("%s/notify", tap_dir());
    int fd = notify_listen(path, NULL);
    (void)setenv("NOTIFY_SOCKET", path, 1);
    if (fd < 0 || notify_open(notify, NULL) < 0)
        abort();
    while (notify_send(notify, "WATCHDOG=1") == 0)
        ;
    return fd;
}

/* Empties the queue; what was told at last of each. */
static struct notify_message
hear(int fd)
{
    struct notify_message m, all = {0};
    pid_t pid;
    while (notify_receive(fd, &m, &pid) == 0) {
        all.ready |= m.ready;
        all.stopping |= m.stopping;
        if (m.has_status)
            memcpy(all.status, m.status, sizeof(all.status));
    }
    return all;
}

TEST(notify_says_again_what_was_not_heard)
{
    struct notify notify;
    _cleanup_close_ int fd = open_full(&notify);
    notify_status(&notify, "ready: almost");
    notify_status(&notify, "ready: answers");
    notify_state(&notify, "READY=1");
    notify_again(&notify);
    struct notify_message m = hear(fd);
    CHECK(!m.ready);
    CHECK_STR(m.status, "");
    notify_again(&notify);
    m = hear(fd);
    CHECK(m.ready);
    CHECK_STR(m.status, "ready: answers"); /* the latest */
    notify_again(&notify);
    m = hear(fd);
    CHECK(!m.ready && !*m.status); /* it was heard */
    notify_close(&notify);
}

TEST(notify_forgets_ready_where_it_stops)
{
    struct notify notify;
    _cleanup_close_ int fd = open_full(&notify);
    notify_state(&notify, "READY=1");
    notify_state(&notify, "STOPPING=1");
    (void)hear(fd);
    notify_again(&notify);
    struct notify_message m = hear(fd);
    CHECK(m.stopping && !m.ready);
    notify_close(&notify);
}

TEST(notify_insists_on_the_last_words)
{
    struct notify notify;
    _cleanup_close_ int fd = open_full(&notify);
    struct notify_message m = {0};
    int status, ends[2];
    char c;
    REQUIRE(pipe(ends) == 0);
    pid_t child = fork(), pid;
    if (child == 0) {
        notify_status(&notify, "ended");
        (void)!write(ends[1], "", 1);
        notify_insist(&notify);
        _exit(notify.status_unheard ? 1 : 0);
    }
    CHECK_EQ(read(ends[0], &c, 1), 1); /* it was not taken, and now it waits */
    for (int i = 0; i < 1000 && !m.has_status; i++)
        if (notify_receive(fd, &m, &pid) == -EAGAIN)
            wait_for(fd);
    CHECK_STR(m.status, "ended");
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
    (void)setenv("NOTIFY_SOCKET", "", 1);
    REQUIRE(notify_open(&n, &err) == 0);
    CHECK_EQ(n.fd, -1);
    notify_state(&n, "READY=1");
    notify_insist(&n); /* at once: there is nobody to wait for */
    (void)unsetenv("NOTIFY_SOCKET");
    notify_close(&n);
}

TEST(notify_refuses_names_that_can_never_be_one)
{
    char longest[1 + 108 + 1], long_path[PATH_MAX + 8];
    const char *const names[] = {"relative", "@", "vsock:2:5", longest, long_path};
    memset(longest, 'x', sizeof(longest) - 1);
    memset(long_path, 'x', sizeof(long_path) - 1);
    longest[0] = '@';
    long_path[0] = '/';
    longest[sizeof(longest) - 1] = long_path[sizeof(long_path) - 1] = '\0';
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        struct notify n;
        struct err err = {0};
        (void)setenv("NOTIFY_SOCKET", names[i], 1);
        CHECK(notify_open(&n, &err) < 0);
        CHECK_EQ(err.id, ERR_VALUE);
        CHECK(strncmp(strchr(err.what, '\'') + 1, names[i], MIN(strlen(names[i]), (size_t)90)) ==
              0);
        CHECK(*err.fix);
    }
    (void)unsetenv("NOTIFY_SOCKET");
}

TEST(notify_tells_where_nobody_hears)
{
    _cleanup_free_ char *path = mem_printf("%s/notify", tap_dir());
    _cleanup_free_ char *file = mem_printf("%s/file", tap_dir());
    _cleanup_free_ char *stream = mem_printf("%s/stream", tap_dir());
    const char *const names[] = {"/nowhere/notify", path, file, stream, "@citadel-nobody"};
    int dead = notify_listen(path, NULL);
    _cleanup_close_ int other = sock_bind_path(stream, SOCK_STREAM, 0600);
    REQUIRE(dead >= 0 && other >= 0 && file_write(file, "", 0, 0600, NULL) == 0);
    (void)close(dead);
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        struct notify n;
        struct err err = {0};
        (void)setenv("NOTIFY_SOCKET", names[i], 1);
        CHECK(notify_open(&n, &err) < 0);
        CHECK_EQ(err.id, ERR_NO_SUPERVISOR);
        CHECK(strstr(err.what, names[i]) != NULL && *err.fix);
    }
    (void)unsetenv("NOTIFY_SOCKET");
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
