#include "run/marker.h"

#include "base/mem.h"
#include "sys/files.h"
#include "tap.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

TEST(a_marker_tells_who_and_why)
{
    struct run_marker marker;
    struct err err;
    run_marker_read(tap_dir(), &marker);
    CHECK(!marker.set);
    CHECK_EQ(run_marker_check(tap_dir(), NULL), 0);
    REQUIRE(run_marker_set(tap_dir(), "ann", "it smells of \"smoke\"", NULL) == 0);
    run_marker_read(tap_dir(), &marker);
    CHECK(marker.set && marker.at_us > 0);
    CHECK_STR(marker.by, "ann");
    CHECK_STR(marker.why, "it smells of \"smoke\"");
    CHECK(run_marker_check(tap_dir(), &err) < 0);
    CHECK_STR(err.what, "an emergency stop is in force, by ann, because: it smells of \"smoke\": "
                        "nothing starts");
    CHECK_STR(err.fix, "citadel rollback emergency --lift");
    CHECK_EQ(run_marker_lift(tap_dir(), NULL), 0);
    CHECK_EQ(run_marker_check(tap_dir(), NULL), 0);
    CHECK_EQ(run_marker_lift(tap_dir(), NULL), 0);
}

TEST(the_first_marker_stays)
{
    struct run_marker marker;
    REQUIRE(run_marker_set(tap_dir(), "ann", "first", NULL) == 0);
    REQUIRE(run_marker_set(tap_dir(), "bob", "second", NULL) == 0);
    run_marker_read(tap_dir(), &marker);
    CHECK_STR(marker.by, "ann");
    CHECK_STR(marker.why, "first");
}

TEST(that_it_is_there_counts_whatever_is_in_it)
{
    static const char *const texts[] = {"", "{", "[]", "{\"by\": 7, \"at_us\": \"x\"}", "\xff\x00"};
    _cleanup_free_ char *path = mem_printf("%s/emergency", tap_dir());
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        struct err err;
        tap_note("%s", texts[i]);
        REQUIRE(file_write(path, texts[i], strlen(texts[i]), 0644, NULL) == 0);
        CHECK(run_marker_check(tap_dir(), &err) < 0);
        CHECK_EQ(err.id, ERR_EMERGENCY);
        CHECK_STR(err.what, "an emergency stop is in force: nothing starts");
    }
    CHECK_EQ(run_marker_lift(tap_dir(), NULL), 0);
}

TEST(no_lock_of_others_is_in_the_way)
{
    _cleanup_free_ char *path = mem_printf("%s/emergency", tap_dir());
    _cleanup_free_ char *draft = mem_printf("%s/.emergency.new", tap_dir());
    _cleanup_close_ int held = file_open(draft, O_RDWR | O_CREAT, 0600);
    struct err err = {0};
    REQUIRE(held >= 0 && file_lock(held, 0) == 0);
    CHECK_EQ(run_marker_set(tap_dir(), "ann", "", &err), 0);
    CHECK_EQ(err.id, ERR_NONE);
    CHECK_EQ(access(path, R_OK), 0);
}

/* systemd's conditions follow a link: to them one that leads nowhere is not there. */
TEST(a_link_is_no_marker_and_leads_nobody_away)
{
    _cleanup_free_ char *path = mem_printf("%s/emergency", tap_dir());
    _cleanup_free_ char *elsewhere = mem_printf("%s/elsewhere", tap_dir());
    struct run_marker marker;
    struct stat st;
    REQUIRE(symlink(elsewhere, path) == 0);
    CHECK_EQ(run_marker_set(tap_dir(), "ann", "smoke", NULL), 0);
    CHECK(lstat(path, &st) == 0 && S_ISREG(st.st_mode));
    CHECK(access(elsewhere, F_OK) < 0);
    run_marker_read(tap_dir(), &marker);
    CHECK_STR(marker.why, "smoke");
}

TEST(a_marker_can_be_read_by_all_whatever_the_umask)
{
    _cleanup_free_ char *dir = mem_printf("%s/a/b", tap_dir());
    _cleanup_free_ char *path = mem_printf("%s/emergency", dir);
    struct stat st;
    mode_t before = umask(0077);
    CHECK_EQ(run_marker_set(dir, "ann", "", NULL), 0); /* and its directory is made */
    (void)umask(before);
    CHECK(stat(path, &st) == 0 && (st.st_mode & 0777) == 0644);
}
