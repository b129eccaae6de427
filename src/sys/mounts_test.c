#include "sys/mounts.h"

#include "tap.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

/* A machine with two disks mounted, a btrfs subvolume, a directory bound elsewhere, and what the sandbox
 * of a unit adds: /srv/models and /opt/citadel upon themselves, and /mnt/models upon the real mount. */
static const char machine[] =
    "21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
    "30 21 8:17 / /mnt/models rw,relatime shared:2 master:3 - xfs /dev/sdb1 rw\n"
    "31 21 0:40 / /mnt/with\\040blank ro,noatime - tmpfs none rw\n"
    "32 21 0:41 /@data /data rw - btrfs /dev/sdc1 rw,subvol=/@data\n"
    "33 21 8:1 /var/lib/elsewhere /bound rw - ext4 /dev/sda1 rw\n"
    "40 21 8:1 /srv/models /srv/models rw - ext4 /dev/sda1 rw\n"
    "41 30 8:17 / /mnt/models rw - xfs /dev/sdb1 rw\n"
    "42 32 0:41 /@data/below /data/below rw - btrfs /dev/sdc1 rw\n"
    "a line of another kernel\n"
    "43 21 8:x / /bad rw - ext4 /dev/sdd rw\n"
    "44 21 8:33 / /cut rw -\n";

TEST(what_is_mounted_is_told_from_what_is_only_shown)
{
    static const struct {
        const char *point, *source;
    } rows[] = {
        {"/", "/dev/sda1"},
        {"/mnt/models", "/dev/sdb1"},
        {"/mnt/with blank", "none"},
        {"/data", "/dev/sdc1"},
        {"/bound", "/dev/sda1"},
        {"/srv/models", NULL},
        {"/data/below", NULL},
        {"/mnt", NULL},
        {"/bad", NULL},
        {"/cut", NULL},
        {"/mnt/models/", NULL},
    };
    _cleanup_mounts_ struct mounts m = {0};
    REQUIRE(mounts_parse(machine, strlen(machine), &m, NULL) == 0);
    CHECK_EQ(m.count, 8);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        tap_note("%s", rows[i].point);
        const struct mount_row *row = mounts_find(&m, rows[i].point);
        CHECK_STR(row ? row->source : NULL, rows[i].source);
    }
    CHECK(mounts_find(&m, "/mnt/with blank")->read_only);
    CHECK(!mounts_find(&m, "/data")->read_only);
    CHECK_EQ(mounts_find(&m, "/mnt/models")->device, makedev(8, 17));
}

TEST(a_path_lies_in_the_nearest_mount_above_it)
{
    _cleanup_mounts_ struct mounts m = {0};
    REQUIRE(mounts_parse(machine, strlen(machine), &m, NULL) == 0);
    CHECK_STR(mounts_around(&m, "/mnt/models/active/phi3")->type, "xfs");
    CHECK_STR(mounts_around(&m, "/mnt/modelsx")->point, "/");
    CHECK_STR(mounts_around(&m, "/")->point, "/");
}

TEST(parents_that_go_round_in_a_circle_end)
{
    static const char circle[] = "1 2 8:1 / /a rw - ext4 x rw\n2 1 8:1 / /a rw - ext4 x rw\n";
    _cleanup_mounts_ struct mounts m = {0};
    REQUIRE(mounts_parse(circle, strlen(circle), &m, NULL) == 0);
    CHECK(!mounts_find(&m, "/a"));
}

TEST(no_text_is_no_mounts)
{
    _cleanup_mounts_ struct mounts m = {0};
    REQUIRE(mounts_parse("", 0, &m, NULL) == 0);
    CHECK_EQ(m.count, 0);
    CHECK(!mounts_around(&m, "/"));
}

static bool
is_mounted(const char *path)
{
    _cleanup_mounts_ struct mounts m = {0};
    _cleanup_close_ int dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return dir >= 0 && mounts_read(&m, NULL) == 0 && mounts_find_open(&m, dir);
}

/* 0, or which step differs. */
static int
mount_in_turn(const char *path)
{
    char upper[512];
    (void)snprintf(upper, sizeof(upper), "%s/upper", path);
    if (is_mounted(path))
        return 1;
    if (mount(path, path, NULL, MS_BIND, NULL) < 0 || is_mounted(path))
        return 2;
    if (mount("none", path, "tmpfs", 0, NULL) < 0 || !is_mounted(path))
        return 3;
    if (mount(path, path, NULL, MS_BIND, NULL) < 0 || !is_mounted(path))
        return 4;
    if (mkdir(upper, 0700) < 0 || is_mounted(upper))
        return 5;
    return 0;
}

TEST(the_kernel_tells_what_an_open_directory_is)
{
    const char *path = tap_dir();
    pid_t child = fork();
    int status;
    if (child == 0) {
        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
            _exit(77);
        _exit(mount_in_turn(path));
    }
    REQUIRE(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        tap_skip("nothing can be mounted here");
    else
        CHECK_EQ(WEXITSTATUS(status), 0);
}
