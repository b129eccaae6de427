/* One test for each way to fail that tap.c must see. */

#include "crash.h"
#include "tap.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

TEST(passes)
{
    CHECK_EQ(1 + 1, 2);
}

TEST(skips)
{
    tap_skip("there is no moon");
}

TEST(check_fails)
{
    tap_note("the second row");
    CHECK_EQ(1 + 1, 3);
}

TEST(require_ends_the_test)
{
    REQUIRE(false);
    abort();
}

TEST(leaves_a_descriptor)
{
    CHECK(open("/dev/null", O_RDONLY | O_CLOEXEC) >= 0);
}

TEST(closes_a_descriptor)
{
    CHECK(close(STDIN_FILENO) == 0);
}

TEST(aborts)
{
    abort();
}

/* After a crash the rest of the file still runs. */
TEST(exits)
{
    exit(7);
}

TEST(exits_as_if_all_were_well)
{
    exit(0);
}

static void
abort_now(void *arg unused_arg)
{
    abort();
}

TEST(a_crash_test_that_crashes)
{
    (void)crash_at(1, false, abort_now, NULL);
}

TEST(overflows)
{
    volatile int most = 0x7FFFFFFF;
    most = most + 1;
}

TEST(leaves_a_file)
{
    char path[4096];
    (void)snprintf(path, sizeof(path), "%s/file", tap_dir());
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    CHECK(fd >= 0 && close(fd) == 0);
}

TEST(leaks)
{
    void *volatile lost = malloc(77);
    lost = NULL;
    CHECK(!lost);
}
