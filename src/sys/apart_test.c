#include "sys/apart.h"

#include "sys/kin.h"
#include "tap.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* What happens there is said here, a byte each. */
static int said[2];

static void
say(char c)
{
    (void)!write(said[1], &c, 1);
}

static char
hear(void)
{
    char c = 0;
    (void)!read(said[0], &c, 1);
    return c;
}

static void
on_signal(int signo)
{
    say(signo == SIGTERM ? 't' : 'h');
    if (signo == SIGTERM)
        _exit(7);
}

/* Whether it went on in another process, and whether others are below that. */
static _Noreturn void
live(pid_t before)
{
    (void)sigaction(SIGTERM, &(struct sigaction){.sa_handler = on_signal}, NULL);
    (void)sigaction(SIGHUP, &(struct sigaction){.sa_handler = on_signal}, NULL);
    if (apart_begin(NULL) < 0)
        abort();
    say(getpid() == before ? 's' : 'a');
    say(kin_signal(0, 0, SIGKILL) == 0 ? 'n' : 'k');
    for (;;)
        (void)pause();
}

static pid_t
start(bool has_child, unsigned long flags)
{
    pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD | flags, NULL, NULL, NULL, 0UL);
    if (pid != 0)
        return pid;
    pid_t other = has_child ? fork() : -1;
    if (other == 0)
        for (;;)
            (void)pause();
    live(getpid());
}

static int
exit_of(pid_t pid)
{
    int status;
    if (waitpid(pid, &status, 0) < 0)
        abort();
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/* They come to us, and are ended. */
static size_t
end_others(void)
{
    size_t count = kin_signal(0, 0, SIGKILL);
    while (kin_signal(0, 0, SIGKILL) > 0)
        kin_reap(NULL, 0);
    return count;
}

TEST(who_has_no_children_stays_who_it_is)
{
    REQUIRE(pipe2(said, O_CLOEXEC) == 0);
    pid_t pid = start(false, 0);
    CHECK_EQ(hear(), 's');
    CHECK_EQ(hear(), 'n');
    (void)kill(pid, SIGTERM);
    CHECK_EQ(exit_of(pid), 7);
    (void)close(said[0]);
    (void)close(said[1]);
}

TEST(who_has_children_of_others_goes_on_without_them)
{
    kin_adopt();
    REQUIRE(pipe2(said, O_CLOEXEC) == 0);
    pid_t front = start(true, 0);
    CHECK_EQ(hear(), 'a');
    CHECK_EQ(hear(), 'n');
    (void)kill(front, SIGHUP);
    CHECK_EQ(hear(), 'h');
    (void)kill(front, SIGTERM);
    CHECK_EQ(hear(), 't');
    CHECK_EQ(exit_of(front), 7);
    CHECK_EQ(end_others(), 1);
    (void)close(said[0]);
    (void)close(said[1]);
}

TEST(who_goes_on_apart_ends_when_its_front_is_killed)
{
    kin_adopt();
    REQUIRE(pipe2(said, O_CLOEXEC) == 0);
    pid_t front = start(true, 0);
    CHECK_EQ(hear(), 'a');
    CHECK_EQ(hear(), 'n');
    (void)kill(front, SIGKILL);
    CHECK_EQ(exit_of(front), -SIGKILL);
    CHECK_EQ(hear(), 't');
    (void)end_others();
    (void)close(said[0]);
    (void)close(said[1]);
}

TEST(the_first_of_a_pid_namespace_goes_on_apart)
{
    REQUIRE(pipe2(said, O_CLOEXEC) == 0);
    pid_t front = start(false, CLONE_NEWPID);
    if (front < 0) {
        tap_skip("PID namespaces are not possible here");
    } else {
        CHECK_EQ(hear(), 'a');
        CHECK_EQ(hear(), 'n');
        (void)kill(front, SIGTERM);
        CHECK_EQ(hear(), 't');
        CHECK_EQ(exit_of(front), 7);
    }
    (void)close(said[0]);
    (void)close(said[1]);
}
