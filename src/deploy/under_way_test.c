#include "deploy/under_way.h"

#include "base/mem.h"
#include "deploy/lock.h"
#include "deploy/pending_int.h"
#include "sys/clock.h"
#include "sys/files.h"
#include "tap.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define S UINT64_C(1000000)

/* As if the last deployment had ended then. */
static void
set_end(uint64_t at_us)
{
    _cleanup_free_ char *dir = mem_printf("%s/deploy", tap_dir());
    const struct timespec at = {(time_t)(at_us / S), (long)(at_us % S) * 1000};
    CHECK_EQ(utimensat(AT_FDCWD, dir, (const struct timespec[]){at, at}, 0), 0);
}

TEST(what_happens_while_one_is_under_way_is_its_doing)
{
    uint64_t now = clock_wall_us();
    const struct pending pending = {.under_way = true, .to = 2};
    const struct pending failed = {.under_way = true, .failed = true, .to = 2};
    CHECK(!deploy_was_under_way(tap_dir(), now)); /* never was one */
    struct deploy_lock lock;
    REQUIRE(deploy_lock(tap_dir(), "anna", "citadel apply", &lock, NULL) == 0);
    set_end(now - 100 * S);
    CHECK(deploy_was_under_way(tap_dir(), now));
    deploy_unlock(&lock);
    CHECK(!deploy_was_under_way(tap_dir(), now));
    CHECK_EQ(pending_save(tap_dir(), &pending, NULL), 0);
    set_end(now - 100 * S);
    CHECK(deploy_was_under_way(tap_dir(), now));
    CHECK_EQ(pending_save(tap_dir(), &failed, NULL), 0);
    set_end(now - 100 * S);
    CHECK(!deploy_was_under_way(tap_dir(), now));
    CHECK_EQ(pending_remove(tap_dir(), NULL), 0);
    set_end(now - 100 * S);
    CHECK(!deploy_was_under_way(tap_dir(), now));
}

TEST(so_is_what_happened_before_it_ended)
{
    uint64_t now = clock_wall_us();
    struct deploy_lock lock;
    REQUIRE(deploy_lock(tap_dir(), "anna", "citadel apply", &lock, NULL) == 0);
    deploy_unlock(&lock);
    set_end(now - 2 * S);
    CHECK(deploy_was_under_way(tap_dir(), now - 3 * S));
    CHECK(!deploy_was_under_way(tap_dir(), now - 1 * S));
    set_end(now + 1000 * S); /* the clock was set back */
    CHECK(!deploy_was_under_way(tap_dir(), now));
}
