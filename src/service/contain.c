#include "service/contain.h"

#include "base/mem.h"
#include "base/text.h"
#include "run/run.h"
#include "sys/files.h"
#include "sys/group.h"
#include "sys/kin.h"
#include "sys/root.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define GROUP_MAX 300     /* of the path below the mount */
#define GROUP_DEPTH_MAX 8 /* that a service may have made below its own */
#define GIVEN_UP_MAX 1024
#define PROBE "_probe" /* no service has that name */

static const struct {
    const char *word;
    const char *promise;
} kinds[] = {
    [CONTAIN_AUTO] = {"auto", ""},
    [CONTAIN_CGROUP] = {"cgroup", "each service has a control group, which is killed as a whole"},
    [CONTAIN_NAMESPACE] = {"namespace",
                           "each service has a PID namespace: all of it ends with its first "
                           "process, whatever happens"},
    [CONTAIN_SUBREAPER] = {"subreaper",
                           "what a service leaves is found and killed; should this supervisor be "
                           "killed itself, the next `citadel up` ends what still bears its mark"},
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
read_own_group(char group[GROUP_MAX])
{
    char line[PATH_MAX];
    FILE *f = fopen("/proc/self/cgroup", "re");
    bool found = false;
    while (f && !found && fgets(line, sizeof(line), f))
        found = text_starts(line, "0::/");
    if (f)
        (void)fclose(f);
    if (!found)
        return false;
    line[strcspn(line, "\n")] = '\0';
    const char *path = line + strlen("0::");
    return snprintf(group, GROUP_MAX, "%s", text_eq(path, "/") ? "" : path) < GROUP_MAX;
}

static bool
find_own_group(char path[GROUP_MAX + 64])
{
    char group[GROUP_MAX], file[GROUP_MAX + 128];
    if (!read_own_group(group))
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(mounts); i++) {
        (void)snprintf(path, GROUP_MAX + 64, "%s%s", mounts[i], group);
        (void)snprintf(file, sizeof(file), "%s/cgroup.controllers", path);
        if (access(file, R_OK) == 0)
            return true;
    }
    return false;
}

/* Kills it with all below it; returns how many processes there were. */
static size_t
kill_group(const char *dir)
{
    struct group_members members = {0};
    group_list(dir, &members);
    size_t count = members.all.count;
    if (count)
        group_kill(dir, &members);
    vec_finish(&members.all);
    return count;
}

/* Its files go with it; only groups below it are in the way. */
static void
remove_group(const char *dir, unsigned depth)
{
    DIR *d = depth < GROUP_DEPTH_MAX && rmdir(dir) < 0 && errno != ENOENT ? opendir(dir) : NULL;
    for (struct dirent *e; d && (e = readdir(d));) {
        char path[PATH_MAX];
        if (e->d_type == DT_DIR && e->d_name[0] != '.' &&
            snprintf(path, sizeof(path), "%s/%s", dir, e->d_name) < (int)sizeof(path))
            remove_group(path, depth + 1);
    }
    if (d) {
        (void)closedir(d);
        (void)rmdir(dir);
    }
}

static char *
note_path(const char *run_dir)
{
    return mem_printf("%s/services/.group", run_dir);
}

static int
open_groups(struct contain *c, struct err *reterr)
{
    char own[GROUP_MAX + 64];
    _cleanup_free_ char *dir = mem_printf("%s/services", c->run_dir);
    _cleanup_free_ char *note = note_path(c->run_dir);
    if (root_is_set())
        return err_set(reterr, ERR_NOT_PERMITTED, "control groups are not below --root %s",
                       root_dir());
    if (!find_own_group(own))
        return err_set(reterr, ERR_NOT_FOUND, "no control groups of version 2 are mounted");
    /* Not the number alone: that may be another's when the note is read. */
    struct kin self = {0};
    (void)!kin_look(getpid(), &self);
    (void)snprintf(c->dir, sizeof(c->dir), "%s/citadel-%d-%llu", own, (int)getpid(),
                   (unsigned long long)self.start);
    /* The note first: a group that was not made is not missed. */
    int r = file_make_dirs(dir, 0700, reterr);
    if (r == 0)
        r = file_write(note, c->dir, strlen(c->dir), 0600, reterr);
    if (r == 0 && mkdir(c->dir, 0755) < 0 && errno != EEXIST)
        r = err_set_errno(reterr, errno, "cannot make the control group %s", c->dir);
    return r;
}

static void
close_groups(struct contain *c)
{
    _cleanup_free_ char *note = note_path(c->run_dir);
    if (c->dir[0] == '\0')
        return;
    remove_group(c->dir, 0);
    if (access(c->dir, F_OK) < 0) /* else somebody in it could not be killed */
        (void)unlink(note);
    c->dir[0] = '\0';
}

static int
prepare_group(const struct contain *c, const char *name, int *ret_fd, struct err *reterr)
{
    char path[PATH_MAX];
    (void)snprintf(path, sizeof(path), "%s/%s", c->dir, name);
    if (mkdir(path, 0755) < 0 && errno != EEXIST)
        return err_set_errno(reterr, errno, "cannot make the control group %s", path);
    (void)snprintf(path, sizeof(path), "%s/%s/cgroup.procs", c->dir, name);
    *ret_fd = open(path, O_WRONLY | O_CLOEXEC);
    return *ret_fd < 0 ? err_set_errno(reterr, errno, "cannot use %s", path) : 0;
}

/* ---- what a killed supervisor left ---- */

/* One of ours, and not the group of half the machine: "citadel-PID-START", which is the name of no
 * unit of systemd's. */
static bool
is_our_group(const char *dir)
{
    static const char digits[] = "0123456789", ours[] = "/citadel-";
    const char *last = strrchr(dir, '/');
    if (!text_starts(dir, "/sys/fs/cgroup/") || strstr(dir, "/../") || !last ||
        !text_starts(last, ours))
        return false;
    const char *pid = last + strlen(ours), *dash = pid + strspn(pid, digits);
    size_t start = *dash == '-' ? strspn(dash + 1, digits) : 0;
    return dash > pid && start > 0 && dash[1 + start] == '\0';
}

struct leftovers {
    const char *group; /* NULL: none */
    const char *mark;
};

static size_t
kill_leftovers(const void *arg)
{
    const struct leftovers *l = arg;
    size_t grouped = l->group ? kill_group(l->group) : 0;
    size_t marked = kin_signal_marked(l->mark, SIGKILL);
    return MAX(grouped, marked);
}

int
contain_clean(const char *run_dir, struct err *reterr)
{
    _cleanup_buf_ struct buf group = BUF_INIT(4 * KIB);
    _cleanup_free_ char *note = note_path(run_dir);
    _cleanup_free_ char *mark = mem_printf(RUN_MARK "=%s/services/", run_dir);
    /* A note below --root may be from anywhere. */
    bool has_group =
        !root_is_set() && file_read(note, &group, NULL) == 0 && is_our_group(group.data);
    const struct leftovers leftovers = {has_group ? group.data : NULL, mark};
    int killed = kin_end(kill_leftovers, &leftovers, reterr);
    if (killed < 0)
        return killed;
    if (has_group)
        remove_group(group.data, 0);
    (void)unlink(note);
    return killed;
}

/* ---- any ---- */

static int
try_kind(struct contain *c, enum contain_kind kind, struct err *reterr)
{
    static const char *const argv[] = {"/bin/true", NULL};
    struct proc_wish wish = {.argv = argv, .fds = PROC_FDS_NULL};
    _cleanup_close_ int fd = -1;
    struct proc proc;
    struct proc_end end;
    c->kind = kind;
    int r = kind == CONTAIN_CGROUP ? open_groups(c, reterr) : 0;
    if (r == 0)
        r = contain_prepare(c, PROBE, &wish, &fd, reterr);
    if (r == 0)
        r = proc_start(&wish, &proc, reterr);
    if (r == 0)
        r = proc_wait(&proc, &end);
    if (kind == CONTAIN_CGROUP && r == 0) { /* Linux before 5.14 cannot */
        _cleanup_free_ char *path = mem_printf("%s/cgroup.kill", c->dir);
        r = access(path, W_OK) < 0 ? err_set_errno(reterr, errno, "%s", path) : 0;
    }
    if (r < 0)
        close_groups(c);
    return r;
}

int
contain_open(struct contain *c, enum contain_kind kind, const char *run_dir, struct err *reterr)
{
    *c = (struct contain){.run_dir = run_dir};
    kin_adopt();
    if (kind != CONTAIN_AUTO) {
        int r = try_kind(c, kind, reterr);
        if (r < 0) {
            err_prefix(reterr, "containment by %s is not possible here", contain_word(kind));
            err_fix(reterr, "leave --containment away: the strongest that is possible is taken");
        }
        return r;
    }
    for (kind = CONTAIN_CGROUP; kind < CONTAIN_SUBREAPER && try_kind(c, kind, NULL) < 0;)
        kind++;
    c->kind = kind;
    return 0;
}

void
contain_close(struct contain *c)
{
    if (c->kind == CONTAIN_CGROUP)
        close_groups(c);
    vec_finish(&c->given_up);
}

char *
contain_mark(const struct contain *c, const char *name)
{
    return mem_printf(RUN_MARK "=%s/services/%s", c->run_dir, name);
}

int
contain_prepare(const struct contain *c, const char *name, struct proc_wish *wish, int *ret_fd,
                struct err *reterr)
{
    *ret_fd = -1;
    wish->reaper = true;
    wish->own_pids = c->kind == CONTAIN_NAMESPACE;
    if (c->kind != CONTAIN_CGROUP)
        return 0;
    int r = prepare_group(c, name, ret_fd, reterr);
    wish->cgroup = *ret_fd;
    return r;
}

/* Of services that have ended at once each counts its own, and those of which nothing tells whose they
 * are. */
static bool
counts_for(const struct contain *c, const char *name, const struct kin *stray)
{
    _cleanup_free_ char *ours = contain_mark(c, "");
    _cleanup_free_ char *mark = kin_mark(stray, ours);
    size_t len = strlen(name);
    const char *whose = mark[0] ? mark + strlen(ours) : name;
    return strncmp(whose, name, len) == 0 && (whose[len] == '\0' || whose[len] == '/');
}

static bool
is_given_up(const struct contain *c, const struct kin *stray)
{
    vec_foreach (&c->given_up, k)
        if (k->pid == stray->pid && k->start == stray->start)
            return true;
    return false;
}

static size_t
kill_strays(const struct contain *c, const char *name, const pid_t *known, size_t count)
{
    _cleanup_free_ struct kin *strays = NULL;
    size_t all = kin_strays(known, count, &strays), counted = 0;
    for (size_t i = 0; i < all; i++) {
        kin_send(&strays[i], SIGKILL);
        counted += !is_given_up(c, &strays[i]) && counts_for(c, name, &strays[i]);
    }
    return counted;
}

size_t
contain_kill(const struct contain *c, const char *name, const pid_t *known, size_t count)
{
    char dir[PATH_MAX];
    size_t left = 0;
    if (c->kind == CONTAIN_CGROUP) {
        (void)snprintf(dir, sizeof(dir), "%s/%s", c->dir, name);
        left = kill_group(dir);
        if (left == 0)
            remove_group(dir, 0);
    }
    size_t strays = kill_strays(c, name, known, count);
    return MAX(left, strays);
}

/* Those that have ended after all make room. */
static void
forget_ended(struct contain *c)
{
    size_t kept = 0;
    struct kin now;
    vec_foreach (&c->given_up, k)
        if (kin_look(k->pid, &now) == 0 && now.start == k->start)
            c->given_up.items[kept++] = *k;
    c->given_up.count = kept;
}

void
contain_give_up(struct contain *c, const char *name, const pid_t *known, size_t count)
{
    _cleanup_free_ struct kin *strays = NULL;
    size_t all = kin_strays(known, count, &strays);
    forget_ended(c);
    for (size_t i = 0; i < all && c->given_up.count < GIVEN_UP_MAX; i++)
        if (!is_given_up(c, &strays[i]) && counts_for(c, name, &strays[i]))
            vec_push(&c->given_up, strays[i]);
}
