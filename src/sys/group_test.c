#include "sys/group.h"

#include "base/mem.h"
#include "proc_rig.h"
#include "sys/files.h"
#include "tap.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct proc
start_one(void)
{
    return proc_rig_start(PROC_RIG_WAITS, NULL, false);
}

/* A file of a hierarchy that is made up. */
static void
put(const char *group, const char *name, const char *text)
{
    _cleanup_free_ char *dir = mem_printf("%s/%s", tap_dir(), group);
    _cleanup_free_ char *path = mem_printf("%s/%s", dir, name);
    if (file_make_dirs(dir, 0755, NULL) < 0 || file_write(path, text, strlen(text), 0644, NULL) < 0)
        abort();
}

static void
put_members(const char *group, pid_t first, pid_t second)
{
    char text[64];
    (void)snprintf(text, sizeof(text), second ? "%d\n%d\n" : "%d\n", (int)first, (int)second);
    put(group, "cgroup.procs", first ? text : "");
}

TEST(a_group_is_found_in_each_hierarchy)
{
    static const struct {
        const char *made, *path;
    } rows[] = {
        {"x.slice", "/x.slice"},                 /* version 2 */
        {"unified/x.slice", "/unified/x.slice"}, /* both */
        {"systemd/x.slice", "/systemd/x.slice"}, /* version 1 */
    };
    char paths[GROUP_HIERARCHIES][GROUP_PATH_MAX];
    CHECK_EQ(group_find(tap_dir(), "x.slice", paths), 0);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        put_members(rows[i].made, 0, 0);
        CHECK_EQ(group_find(tap_dir(), "x.slice", paths), i + 1);
        CHECK_STR(paths[i] + strlen(tap_dir()), rows[i].path);
    }
    CHECK_EQ(group_find(tap_dir(), "y.slice", paths), 0);
}

TEST(who_lives_in_it_and_below_is_listed_and_killed)
{
    struct proc a = start_one(), b = start_one(), other = start_one(), gone = start_one();
    struct group_members members = {0};
    char paths[GROUP_HIERARCHIES][GROUP_PATH_MAX];
    pid_t gone_pid = gone.pid;
    CHECK_EQ(proc_signal(&gone, SIGKILL), 0);
    CHECK_EQ(proc_rig_end(&gone), SIGKILL);
    put_members("x.slice", gone_pid, a.pid);
    put_members("x.slice/y.slice/z.service", b.pid, 0);
    put_members("other.slice", other.pid, 0);
    REQUIRE(group_find(tap_dir(), "x.slice", paths) == 1);
    group_list(paths[0], &members);
    REQUIRE(members.all.count == 2);
    CHECK_EQ(members.all.items[0].kin.pid, a.pid);
    CHECK_STR(members.all.items[0].group, "x.slice");
    CHECK_EQ(members.all.items[1].kin.pid, b.pid);
    CHECK_STR(members.all.items[1].group, "z.service");
    group_kill(paths[0], &members);
    CHECK_EQ(proc_rig_end(&a), SIGKILL);
    CHECK_EQ(proc_rig_end(&b), SIGKILL);
    CHECK_EQ(proc_signal(&other, SIGKILL), 0); /* it was there */
    CHECK_EQ(proc_rig_end(&other), SIGKILL);
    vec_finish(&members.all);
}

TEST(a_kernel_that_kills_groups_is_asked_to)
{
    struct proc a = start_one();
    struct group_members members = {0};
    _cleanup_buf_ struct buf text = BUF_INIT(16);
    _cleanup_free_ char *dir = mem_printf("%s/x.slice", tap_dir());
    _cleanup_free_ char *kill_path = mem_printf("%s/cgroup.kill", dir);
    put_members("x.slice", a.pid, 0);
    put("x.slice", "cgroup.kill", "");
    group_list(dir, &members);
    group_kill(dir, &members);
    CHECK_EQ(file_read(kill_path, &text, NULL), 0);
    CHECK_STR(text.data, "1");
    CHECK_EQ(proc_signal(&a, SIGKILL), 0); /* this kernel did nothing */
    CHECK_EQ(proc_rig_end(&a), SIGKILL);
    vec_finish(&members.all);
}

TEST(who_kills_a_group_spares_itself)
{
    struct proc a = start_one();
    struct group_members members = {0};
    _cleanup_buf_ struct buf text = BUF_INIT(16);
    _cleanup_free_ char *dir = mem_printf("%s/x.slice", tap_dir());
    _cleanup_free_ char *kill_path = mem_printf("%s/cgroup.kill", dir);
    put_members("x.slice", a.pid, getpid());
    put("x.slice", "cgroup.kill", "");
    put_members("init.scope", 0, 0);
    group_list(dir, &members);
    group_kill(dir, &members);
    CHECK_EQ(proc_rig_end(&a), SIGKILL);
    CHECK_EQ(file_read(kill_path, &text, NULL), 0);
    CHECK_STR(text.data, "");
    group_leave(dir);
    _cleanup_free_ char *moved = mem_printf("%s/init.scope/cgroup.procs", tap_dir());
    CHECK_EQ(file_read(moved, &text, NULL), 0);
    CHECK_STR(text.data, "0");
    vec_finish(&members.all);
}
