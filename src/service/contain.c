#include "service/contain.h"

#include "base/mem.h"
#include "base/text.h"
#include "sys/kin.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct {
    const char *word;
    const char *promise;
} kinds[] = {
    [CONTAIN_AUTO] = {"auto", ""},
    [CONTAIN_CGROUP] = {"cgroup", "each service has a control group, which ends as a whole"},
    [CONTAIN_NAMESPACE] = {"namespace",
                           "each service has a PID namespace: all of it ends with its first "
                           "process, whatever happens"},
    [CONTAIN_SUBREAPER] = {"subreaper",
                           "orphans of a service are found and killed; should this supervisor be "
                           "killed itself, the next start ends what is left"},
};

const char *
contain_word(enum contain_kind kind)
{
    return kinds[kind].word;
}

const char *
contain_promise(enum contain_kind kind)
{
    return kinds[kind].promise;
}

bool
contain_parse(const char *word, enum contain_kind *ret_kind)
{
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
        if (text_eq(word, kinds[i].word)) {
            *ret_kind = (enum contain_kind)i;
            return true;
        }
    return false;
}

/* ---- control groups ---- */

/* Where version 2 is mounted: at the usual place, or beside version 1. */
static const char *const mounts[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"};

static bool
own_group(char *path, size_t room)
{
    char line[PATH_MAX] = "";
    FILE *f = fopen("/proc/self/cgroup", "re");
    bool found = false;
    while (f && !found && fgets(line, sizeof(line), f))
        found = text_starts(line, "0::/");
    if (f)
        (void)fclose(f);
    line[strcspn(line, "\n")] = '\0';
    if (!found)
        return false;
    const char *group = line + strlen("0::");
    if (strlen(group) > 300)
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(mounts); i++) {
        char kill_file[PATH_MAX];
        (void)snprintf(path, room, "%s%.300s", mounts[i], text_eq(group, "/") ? "" : group);
        (void)snprintf(kill_file, sizeof(kill_file), "%s/cgroup.controllers", path);
        if (access(kill_file, R_OK) == 0)
            return true;
    }
    return false;
}

static int
write_file(const char *path, const char *text)
{
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

static void
group_file(const struct contain *c, const char *name, const char *file, char path[PATH_MAX])
{
    (void)snprintf(path, PATH_MAX, "%s/%s/%s", c->dir, name, file);
}

/* A group that can be made and killed is one that can be used. */
static int
open_groups(struct contain *c)
{
    char path[PATH_MAX], own[400];
    if (!own_group(own, sizeof(own)))
        return -ENOENT;
    (void)snprintf(c->dir, sizeof(c->dir), "%s/citadel-%d", own, (int)getpid());
    if (mkdir(c->dir, 0755) < 0 && errno != EEXIST)
        return -errno;
    (void)snprintf(path, sizeof(path), "%s/cgroup.kill", c->dir);
    int r = access(path, W_OK) < 0 ? -errno : 0;
    if (r < 0)
        (void)rmdir(c->dir);
    return r;
}

static size_t
count_group(const struct contain *c, const char *name)
{
    char path[PATH_MAX], text[64 * 1024];
    size_t lines = 0;
    group_file(c, name, "cgroup.procs", path);
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    for (ssize_t n; fd >= 0 && (n = read(fd, text, sizeof(text))) > 0;)
        for (ssize_t i = 0; i < n; i++)
            lines += text[i] == '\n';
    return lines;
}

static size_t
kill_group(const struct contain *c, const char *name)
{
    char path[PATH_MAX];
    size_t left = count_group(c, name);
    group_file(c, name, "cgroup.kill", path);
    if (left)
        (void)!write_file(path, "1");
    return left;
}

static int
prepare_group(const struct contain *c, const char *name, int *ret_fd, struct err *reterr)
{
    char path[PATH_MAX];
    (void)snprintf(path, sizeof(path), "%s/%s", c->dir, name);
    if (mkdir(path, 0755) < 0 && errno != EEXIST)
        return err_set_errno(reterr, errno, "cannot make the control group %s", path);
    group_file(c, name, "cgroup.procs", path);
    *ret_fd = open(path, O_WRONLY | O_CLOEXEC);
    return *ret_fd < 0 ? err_set_errno(reterr, errno, "cannot use %s", path) : 0;
}

/* ---- namespaces ---- */

static int
try_namespace(void)
{
    static const char *const argv[] = {"/bin/true", NULL};
    const struct proc_wish wish = {.argv = argv, .fds = PROC_FDS_NULL, .own_pids = true};
    struct proc proc;
    struct proc_end end;
    int r = proc_start(&wish, &proc, NULL);
    if (r < 0)
        return r;
    r = proc_wait(&proc, &end);
    proc_close(&proc);
    return r == 0 && !end.killed && end.status == 0 ? 0 : -EPERM;
}

/* ---- any ---- */

static int
try_kind(struct contain *c, enum contain_kind kind)
{
    c->dir[0] = '\0';
    c->kind = kind;
    return kind == CONTAIN_CGROUP      ? open_groups(c)
           : kind == CONTAIN_NAMESPACE ? try_namespace()
                                       : 0;
}

int
contain_open(struct contain *c, enum contain_kind kind, struct err *reterr)
{
    kin_adopt();
    if (kind != CONTAIN_AUTO) {
        int r = try_kind(c, kind);
        if (r < 0) {
            r = err_set_errno(reterr, -r, "containment by %s is not possible here",
                              contain_word(kind));
            err_fix(reterr, "leave --containment away, and the strongest possible is taken");
        }
        return r;
    }
    for (kind = CONTAIN_CGROUP; kind < CONTAIN_SUBREAPER && try_kind(c, kind) < 0;)
        kind++;
    c->kind = kind;
    return 0;
}

void
contain_close(struct contain *c)
{
    if (c->kind == CONTAIN_CGROUP)
        (void)rmdir(c->dir);
}

int
contain_prepare(struct contain *c, const char *name, struct proc_wish *wish, int *ret_fd,
                struct err *reterr)
{
    *ret_fd = -1;
    if (c->kind == CONTAIN_NAMESPACE)
        wish->own_pids = true;
    if (c->kind != CONTAIN_CGROUP)
        return 0;
    int r = prepare_group(c, name, ret_fd, reterr);
    wish->cgroup = *ret_fd;
    return r;
}

size_t
contain_kill(struct contain *c, const char *name, const struct proc *first, const pid_t *known,
             size_t count)
{
    char path[PATH_MAX];
    if (first->fd >= 0)
        (void)!proc_signal(first, SIGKILL);
    if (c->kind == CONTAIN_CGROUP) {
        size_t left = kill_group(c, name);
        (void)snprintf(path, sizeof(path), "%s/%s", c->dir, name);
        if (left == 0)
            (void)rmdir(path);
        return left;
    }
    /* In a namespace nobody outlives the first process. */
    return c->kind == CONTAIN_SUBREAPER ? kin_signal_strays(known, count, SIGKILL) : 0;
}
