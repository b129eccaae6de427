#include "deploy/lock.h"

#include "base/mem.h"
#include "base/text.h"
#include "tap.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

TEST(one_at_a_time)
{
    struct deploy_lock lock = DEPLOY_LOCK_INIT, other = DEPLOY_LOCK_INIT;
    _cleanup_free_ char *file = mem_printf("%s/deploy/lock", tap_dir());
    struct err err = {0};
    struct stat st;
    CHECK_EQ(deploy_lock_look(tap_dir(), NULL), 0);
    REQUIRE(deploy_lock(tap_dir(), "anna", "citadel apply", &lock, NULL) == 0);
    CHECK_EQ(deploy_lock(tap_dir(), "bert", "citadel apply", &other, &err), -EBUSY);
    CHECK(text_starts(err.what,
                      "what is deployed is being changed by anna: `citadel apply`, process"));
    CHECK_EQ(deploy_lock_look(tap_dir(), NULL), -EBUSY);
    CHECK_EQ(stat(file, &st), 0);
    CHECK_EQ(st.st_mode & 0777, 0600); /* whoever can open it can keep everybody else out */
    deploy_unlock(&lock);
    CHECK_EQ(deploy_lock_look(tap_dir(), NULL), 0);
}

TEST(who_has_died_holds_nothing)
{
    pid_t pid = fork();
    struct deploy_lock lock;
    if (pid == 0) {
        (void)!deploy_lock(tap_dir(), "carl", "citadel apply", &lock, NULL);
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
    CHECK_EQ(deploy_lock_look(tap_dir(), NULL), 0);
    CHECK_EQ(deploy_lock(tap_dir(), "anna", "citadel apply", &lock, NULL), 0);
    deploy_unlock(&lock);
}

TEST(who_only_looks_is_in_nobodys_way)
{
    pid_t pid = fork();
    if (pid == 0)
        for (;;)
            (void)!deploy_lock_look(tap_dir(), NULL);
    for (int i = 0; i < 200; i++) {
        struct deploy_lock lock;
        CHECK_EQ(deploy_lock(tap_dir(), "anna", "citadel apply", &lock, NULL), 0);
        deploy_unlock(&lock);
    }
    CHECK_EQ(kill(pid, SIGKILL), 0);
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
}
