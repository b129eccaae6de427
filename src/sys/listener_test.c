#include "sys/listener.h"

#include "sys/sock.h"
#include "tap.h"

#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
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
    CHECK_EQ(listener_find(getsid(0), port), LISTENER_ITS);
    CHECK_EQ(listener_find(getpid() == getsid(0) ? 1 : getpid(), port), LISTENER_OTHER);
    (void)close(fd);
    CHECK_EQ(listener_find(getsid(0), port), LISTENER_NONE);
}

/* In a session of its own; it has open what we have. */
static pid_t
start_child(void)
{
    int ends[2];
    char byte;
    if (pipe(ends) < 0)
        abort();
    pid_t child = fork();
    if (child == 0) {
        if (setsid() < 0 || write(ends[1], "", 1) != 1)
            _exit(1);
        for (;;)
            (void)pause();
    }
    if (child < 0 || read(ends[0], &byte, 1) != 1)
        abort();
    (void)close(ends[0]);
    (void)close(ends[1]);
    return child;
}

static void
end_child(pid_t child)
{
    (void)kill(child, SIGKILL);
    (void)waitpid(child, NULL, 0);
}

TEST(a_child_in_a_session_of_its_own_is_told_apart)
{
    int fd = listen_anywhere("127.0.0.1:0");
    uint16_t port = (uint16_t)sock_bound_port(fd);
    pid_t child = start_child();
    char text[LISTENER_TEXT_MAX], want[LISTENER_TEXT_MAX];
    (void)close(fd); /* the child still has it */
    CHECK_EQ(listener_find(child, port), LISTENER_ITS);
    CHECK_EQ(listener_find(getsid(0), port), LISTENER_OTHER);
    (void)snprintf(want, sizeof(want), "process %d (unit)", (int)child);
    CHECK_STR(listener_print_other(getsid(0), port, text), want);
    CHECK_STR(listener_print_other(child, port, text), "");
    end_child(child);
}

static int
listen_shared(uint32_t ip, uint16_t port)
{
    const int on = 1;
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(ip)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) < 0 ||
        bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(fd, 1) < 0)
        abort();
    return fd;
}

TEST(a_port_that_is_shared_is_nobodys)
{
    int theirs = listen_shared(INADDR_LOOPBACK, 0);
    uint16_t port = (uint16_t)sock_bound_port(theirs);
    pid_t child = start_child();
    (void)close(theirs);
    int ours = listen_shared(INADDR_LOOPBACK, port);
    CHECK_EQ(listener_find(child, port), LISTENER_OTHER);
    CHECK_EQ(listener_find(getsid(0), port), LISTENER_OTHER);
    end_child(child);
    CHECK_EQ(listener_find(getsid(0), port), LISTENER_ITS);
    (void)close(ours);
}

TEST(one_among_many_is_seen)
{
    int many[40], last = -1;
    many[0] = listen_shared(INADDR_LOOPBACK, 0);
    uint16_t port = (uint16_t)sock_bound_port(many[0]);
    for (size_t i = 1; i < ARRAY_SIZE(many); i++)
        many[i] = listen_shared(INADDR_LOOPBACK, port);
    pid_t child = start_child();
    CHECK_EQ(listener_find(child, port), LISTENER_ITS);
    last = listen_shared(INADDR_LOOPBACK, port);
    CHECK_EQ(listener_find(child, port), LISTENER_OTHER);
    end_child(child);
    (void)close(last);
    for (size_t i = 0; i < ARRAY_SIZE(many); i++)
        (void)close(many[i]);
}

TEST(who_listens_on_the_very_address_goes_first)
{
    int theirs = listen_shared(INADDR_ANY, 0);
    uint16_t port = (uint16_t)sock_bound_port(theirs);
    pid_t child = start_child();
    (void)close(theirs);
    CHECK_EQ(listener_find(child, port), LISTENER_ITS);
    int elsewhere = listen_shared(INADDR_LOOPBACK + 1, port);
    CHECK_EQ(listener_find(child, port), LISTENER_ITS);
    int ours = listen_shared(INADDR_LOOPBACK, port);
    CHECK_EQ(listener_find(child, port), LISTENER_OTHER);
    CHECK_EQ(listener_find(getsid(0), port), LISTENER_ITS);
    end_child(child);
    (void)close(elsewhere);
    (void)close(ours);
}

struct told {
    size_t count;
    bool ours, is_enough;
};

static bool
on_listener(pid_t pid, void *arg)
{
    struct told *t = arg;
    t->count++;
    t->ours = t->ours || pid == getpid();
    return !t->is_enough;
}

/* Also where no connection to 127.0.0.1 would come to. */
TEST(all_who_listen_are_told)
{
    int fd = listen_anywhere("127.0.0.2:0");
    uint16_t port = (uint16_t)sock_bound_port(fd);
    pid_t child = start_child();
    struct told all = {0}, first = {.is_enough = true}, none = {0};
    CHECK_EQ(listener_each(port, on_listener, &all), 0);
    CHECK(all.ours && all.count >= 2);
    CHECK_EQ(listener_each(port, on_listener, &first), 0);
    CHECK_EQ(first.count, 1);
    end_child(child);
    (void)close(fd);
    CHECK_EQ(listener_each(port, on_listener, &none), 0);
    CHECK_EQ(none.count, 0);
}
