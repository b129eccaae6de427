#pragma once

/* For tests: crash_at() runs something in a child that ends before its n-th system call that changes
 * files. torn: a write before that one is cut in half, and the child ends right after it.
 * Returns whether the child ended that way; false: it made fewer calls, and has run through. A child
 * that ends in any other way fails the test.
 *
 * fail_at() runs it here: that call fails, and with `dead` all behind it. */

#include "sys/fault.h"
#include "tap.h"

#include <errno.h>
#include <sys/wait.h>
#include <unistd.h>

#define CRASHED 42

static unsigned crash_left; /* of all threads */
static bool crash_torn, crash_next;

static int
crash_before(const char *call unused_arg, size_t *bytes)
{
    bool is_it = __atomic_fetch_sub(&crash_left, 1, __ATOMIC_SEQ_CST) == 1;
    if (crash_next || (is_it && (!crash_torn || *bytes < 2)))
        _exit(CRASHED);
    if (is_it) {
        *bytes /= 2;
        crash_next = true;
    }
    return 0;
}

static inline bool
crash_at(unsigned n, bool torn, void (*run)(void *arg), void *arg)
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        crash_left = n;
        crash_torn = torn;
        fault_before = crash_before;
        run(arg);
        _exit(0);
    }
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (status == 0)
        return false;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != CRASHED)
        tap_fail(__FILE__, __LINE__, "call %u: the child ended with wait status %#x", n, status);
    return WIFEXITED(status) && WEXITSTATUS(status) == CRASHED;
}

static int fail_left; /* of all threads; afterwards 0: there were as many calls */
static bool fail_dead;

static int
fail_before(const char *call unused_arg, size_t *bytes unused_arg)
{
    int left = __atomic_sub_fetch(&fail_left, 1, __ATOMIC_SEQ_CST);
    return left == 0 || (left < 0 && fail_dead) ? -EIO : 0;
}

static inline void
fail_at(unsigned n, bool dead, void (*run)(void *arg), void *arg)
{
    fail_left = (int)n;
    fail_dead = dead;
    fault_before = fail_before;
    run(arg);
    fault_before = NULL;
    fail_left = MAX(fail_left, 0);
}
