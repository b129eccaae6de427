#include "sys/listener.h"

#include "sys/sock.h"
#include "tap.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static int
listen_anywhere(const char *where)
{
    struct sock_addr addr;
    int fd = sock_addr_parse(where, &addr, NULL);
    if (fd == 0)
        fd = sock_listen(&addr, 0600, NULL);
    if (fd < 0)
        abort();
    return fd;
}

TEST(a_listener_is_of_its_session)
{
    int fd = listen_anywhere("127.0.0.1:0");
    uint16_t port = (uint16_t)sock_bound_port(fd);
    CHECK_EQ(listener_is_of(getsid(0), port), 1);
    CHECK_EQ(listener_is_of(getpid() == getsid(0) ? 1 : getpid(), port), 0);
    (void)close(fd);
    CHECK_EQ(listener_is_of(getsid(0), port), 0);
}

TEST(a_child_in_a_session_of_its_own_is_told_apart)
{
    int ends[2], fd = listen_anywhere("127.0.0.1:0");
    char byte;
    uint16_t port = (uint16_t)sock_bound_port(fd);
    REQUIRE(pipe(ends) == 0);
    pid_t child = fork();
    if (child == 0) {
        if (setsid() < 0 || write(ends[1], "", 1) != 1)
            _exit(1);
        for (;;)
            (void)pause();
    }
    REQUIRE(read(ends[0], &byte, 1) == 1);
    (void)close(fd); /* the child still has it */
    CHECK_EQ(listener_is_of(child, port), 1);
    CHECK_EQ(listener_is_of(getsid(0), port), 0);
    (void)kill(child, SIGKILL);
    (void)waitpid(child, NULL, 0);
    (void)close(ends[0]);
    (void)close(ends[1]);
}
