#include "sys/group.h"

#include "base/text.h"
#include "sys/files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MOUNT "/sys/fs/cgroup"
#define DEPTH_MAX 16
#define INIT "/init.scope"

/* ---- where ---- */

/* Below the mount; and how the lines of /proc/PID/cgroup begin that tell of it. */
static const struct {
    const char *below;
    const char *line;
} hierarchies[GROUP_HIERARCHIES] = {
    {"", "0::/"},         /* version 2 alone */
    {"/unified", "0::/"}, /* beside version 1 */
    {"/systemd", ":name=systemd:/"},
};

/* The group of process 1, less its own scope: below it systemd has its units. In a container, that may
 * be any. */
static void
read_base(const char *begin, char base[GROUP_PATH_MAX])
{
    char line[PATH_MAX];
    FILE *f = fopen("/proc/1/cgroup", "re");
    base[0] = '\0';
    while (f && fgets(line, sizeof(line), f)) {
        const char *at = strstr(line, begin);
        if (!at || (begin[0] == '0' && at != line))
            continue;
        at += strlen(begin) - 1;
        line[strcspn(line, "\n")] = '\0';
        size_t len = strlen(at) - (text_ends(at, INIT) ? strlen(INIT) : 0);
        if (len > 1 && len < GROUP_PATH_MAX)
            (void)snprintf(base, GROUP_PATH_MAX, "%.*s", (int)len, at);
        break;
    }
    if (f)
        (void)fclose(f);
}

size_t
group_find(const char *mount, const char *name, char ret_paths[GROUP_HIERARCHIES][GROUP_PATH_MAX])
{
    size_t count = 0;
    for (size_t i = 0; i < GROUP_HIERARCHIES; i++) {
        char base[GROUP_PATH_MAX] = "", path[PATH_MAX];
        if (!mount)
            read_base(hierarchies[i].line, base);
        int len = snprintf(path, sizeof(path), "%s%s%s/%s/cgroup.procs", mount ? mount : MOUNT,
                           hierarchies[i].below, base, name);
        if (len >= GROUP_PATH_MAX || access(path, R_OK) < 0)
            continue;
        *strrchr(path, '/') = '\0';
        memcpy(ret_paths[count++], path, strlen(path) + 1);
    }
    return count;
}

/* ---- who ---- */

static void
list_own(const char *dir, struct group_members *members)
{
    char path[PATH_MAX], line[32];
    const char *last = strrchr(dir, '/');
    (void)snprintf(path, sizeof(path), "%s/cgroup.procs", dir);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof(line), f) && members->all.count < GROUP_MEMBERS_MAX) {
        struct group_member member = {.kin.pid = (pid_t)strtol(line, NULL, 10)};
        (void)snprintf(member.group, sizeof(member.group), "%.63s", last ? last + 1 : dir);
        if (member.kin.pid == 0 || kin_look(member.kin.pid, &member.kin) == 0)
            vec_push(&members->all, member);
    }
    if (f)
        (void)fclose(f);
}

static void
list(const char *dir, unsigned depth, struct group_members *members)
{
    list_own(dir, members);
    DIR *d = depth < DEPTH_MAX ? file_open_dir(AT_FDCWD, dir, 0) : NULL;
    for (struct dirent *e; d && (e = readdir(d));) {
        char path[PATH_MAX];
        if (e->d_type == DT_DIR && e->d_name[0] != '.' &&
            snprintf(path, sizeof(path), "%s/%s", dir, e->d_name) < (int)sizeof(path))
            list(path, depth + 1, members);
    }
    if (d)
        (void)closedir(d);
}

void
group_list(const char *dir, struct group_members *members)
{
    list(dir, 0, members);
}

/* ---- and their end ---- */

static bool
tell(const char *dir, const char *file, const char *word)
{
    char path[PATH_MAX];
    (void)snprintf(path, sizeof(path), "%s/%s", dir, file);
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);
    return fd >= 0 && write(fd, word, strlen(word)) > 0;
}

static bool
has_us(const struct group_members *members)
{
    vec_foreach (&members->all, m)
        if (m->kin.pid == getpid())
            return true;
    return false;
}

void
group_kill(const char *dir, const struct group_members *members)
{
    bool others = !has_us(members);
    if (others && tell(dir, "cgroup.kill", "1"))
        return;
    if (others)
        (void)tell(dir, "cgroup.freeze", "1"); /* SIGKILL ends who is frozen */
    vec_foreach (&members->all, m)
        if (m->kin.pid != getpid() && m->kin.start)
            kin_send(&m->kin, SIGKILL);
    if (others)
        (void)tell(dir, "cgroup.freeze", "0");
}

void
group_leave(const char *dir)
{
    struct group_members members = {0};
    char path[GROUP_PATH_MAX];
    int len = (int)(strrchr(dir, '/') - dir);
    group_list(dir, &members);
    if (has_us(&members) && snprintf(path, sizeof(path), "%.*s" INIT, len, dir) < (int)sizeof(path))
        (void)tell(path, "cgroup.procs", "0");
    vec_finish(&members.all);
}
