#include "sys/kin.h"

#include "base/buf.h"
#include "base/text.h"
#include "base/vec.h"
#include "sys/clock.h"
#include "sys/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* More processes than that are not counted in one go; who kills comes again until none is left. */
#define PROCESSES_MAX 65536
#define ENVIRON_MAX (4 * MIB)
#define END_WAIT_MS 5000
#define END_STEP_MS 20

void
kin_adopt(void)
{
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
}

/* "4711 (a name) S 1 4711 4711 ...": the n-th field as proc(5) counts them, from 3 on. The name may
 * hold anything, so it is skipped from behind. */
static const char *
stat_field(const char *text, unsigned n)
{
    const char *at = strrchr(text, ')');
    for (unsigned field = 2; at && field < n; field++)
        at = strchr(at + 1, ' ');
    return at ? at + 1 : NULL;
}

/* A first thread that has ended makes a zombie of a process whose other threads go on. */
static bool
has_ended(const char *state, const char *threads)
{
    return *state == 'X' || (*state == 'Z' && strtol(threads, NULL, 10) <= 1);
}

static bool
parse_stat(const char *text, struct kin *kin)
{
    const char *state = stat_field(text, 3), *parent = stat_field(text, 4);
    const char *session = stat_field(text, 6), *threads = stat_field(text, 20);
    const char *start = stat_field(text, 22);
    if (!state || !parent || !session || !threads || !start || has_ended(state, threads))
        return false;
    kin->parent = (pid_t)strtol(parent, NULL, 10);
    kin->session = (pid_t)strtol(session, NULL, 10);
    kin->start = strtoull(start, NULL, 10);
    return true;
}

int
kin_look(pid_t pid, struct kin *ret_kin)
{
    char path[64], text[1024];
    (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (len <= 0)
        return -ESRCH;
    text[len] = '\0';
    struct kin kin = {.pid = pid};
    if (!parse_stat(text, &kin))
        return -ESRCH;
    *ret_kin = kin;
    return 0;
}

/* Whom a process comes from. */
enum line {
    LINE_UNTOLD,
    LINE_OTHERS,
    LINE_OURS,
    LINE_KNOWN, /* a child of ours that the caller knows, or one below it */
};

struct entry {
    struct kin kin;
    enum line line;
};

/* By number. */
struct kin_list {
    VEC(struct entry) all;
};

static int
by_pid(const void *a, const void *b)
{
    const struct entry *left = a, *right = b;
    return (left->kin.pid > right->kin.pid) - (left->kin.pid < right->kin.pid);
}

/* A /proc of another PID namespace has numbers that mean others here. */
static bool
is_our_proc(void)
{
    char text[16] = "";
    return readlink("/proc/self", text, sizeof(text) - 1) > 0 && strtol(text, NULL, 10) == getpid();
}

static void
sort(struct kin_list *list)
{
    if (list->all.count)
        qsort(list->all.items, list->all.count, sizeof(*list->all.items), by_pid);
}

static void
list_those_seen(struct kin_list *list)
{
    DIR *proc = file_open_dir(AT_FDCWD, "/proc", 0);
    for (struct dirent *e; proc && (e = readdir(proc)) && list->all.count < PROCESSES_MAX;) {
        struct kin kin;
        char *end;
        long pid = strtol(e->d_name, &end, 10);
        if (pid > 0 && *end == '\0' && kin_look((pid_t)pid, &kin) == 0)
            vec_add(&list->all)->kin = kin;
    }
    if (proc)
        (void)closedir(proc);
    sort(list);
}

static struct entry *
find(const struct kin_list *list, pid_t pid)
{
    const struct entry key = {.kin.pid = pid};
    if (list->all.count == 0)
        return NULL;
    return bsearch(&key, list->all.items, list->all.count, sizeof(key), by_pid);
}

static bool
is_living_child(pid_t pid)
{
    siginfo_t info = {0};
    return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == 0;
}

/* The children of one thread of ours, "4711 4712 ", of which only the numbers are known. */
static void
list_hidden(const struct kin_list *seen, const char *thread, struct kin_list *hidden)
{
    _cleanup_buf_ struct buf text = BUF_INIT(1 * MIB);
    char path[64], *end;
    (void)snprintf(path, sizeof(path), "/proc/self/task/%.20s/children", thread);
    if (file_read(path, &text, NULL) < 0)
        return;
    for (const char *at = text.data; hidden->all.count < PROCESSES_MAX; at = end) {
        pid_t pid = (pid_t)strtol(at, &end, 10);
        if (pid <= 0)
            return;
        if (!find(seen, pid) && is_living_child(pid))
            vec_add(&hidden->all)->kin = (struct kin){.pid = pid, .parent = getpid()};
    }
}

/* Where /proc hides processes (hidepid), ours tells of its children all the same. Who is below them
 * becomes our child when they end. */
static void
list_all(struct kin_list *list)
{
    if (!is_our_proc())
        return;
    list_those_seen(list);
    struct kin_list hidden = {0};
    DIR *threads = file_open_dir(AT_FDCWD, "/proc/self/task", 0);
    for (struct dirent *e; threads && (e = readdir(threads));)
        if (e->d_name[0] != '.')
            list_hidden(list, e->d_name, &hidden);
    if (threads)
        (void)closedir(threads);
    vec_foreach (&hidden.all, e)
        vec_push(&list->all, *e);
    vec_finish(&hidden.all);
    sort(list);
}

static bool
is_among(pid_t pid, const pid_t *known, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (known[i] == pid)
            return true;
    return false;
}

/* The line of an entry, if it does not follow from its parent's. */
static enum line
own_line(const struct entry *e, pid_t top, const pid_t *known, size_t count)
{
    if (!e)
        return LINE_OTHERS;
    if (e->kin.parent != top)
        return e->line;
    return is_among(e->kin.pid, known, count) ? LINE_KNOWN : LINE_OURS;
}

/* Who comes of a process, by its number. Each is climbed over once: what was found above is left on the
 * way. */
static void
tell_lines(struct kin_list *list, pid_t top, const pid_t *known, size_t count)
{
    vec_foreach (&list->all, e) {
        const struct entry *above = e;
        enum line line = own_line(above, top, known, count);
        for (size_t depth = 0; line == LINE_UNTOLD && depth < list->all.count; depth++) {
            above = find(list, above->kin.parent);
            line = own_line(above, top, known, count);
        }
        if (line == LINE_UNTOLD)
            line = LINE_OTHERS; /* a ring: they have changed */
        for (struct entry *at = e; at != above; at = find(list, at->kin.parent))
            at->line = line;
        e->line = line;
    }
}

/* Who lost its parent since may be another's whose parent had a number that is now one of ours; whoever
 * comes again sees that. A child that is hidden has its number until we take it out of the process
 * table. */
void
kin_send(const struct kin *kin, int signo)
{
    struct kin now;
    _cleanup_close_ int fd = (int)syscall(SYS_pidfd_open, kin->pid, 0);
    if (fd < 0)
        return;
    if (kin->start == 0 ||
        (kin_look(kin->pid, &now) == 0 && now.start == kin->start && now.parent == kin->parent))
        (void)syscall(SYS_pidfd_send_signal, fd, signo, NULL, 0);
}

static size_t
list_below(pid_t top, const pid_t *known, size_t count, struct kin **ret_below)
{
    struct kin_list list = {0};
    VEC(struct kin) below = {0};
    list_all(&list);
    tell_lines(&list, top, known, count);
    vec_foreach (&list.all, e)
        if (e->line == LINE_OURS)
            vec_push(&below, e->kin);
    vec_finish(&list.all);
    *ret_below = below.items;
    return below.count;
}

size_t
kin_strays(const pid_t *known, size_t count, struct kin **ret_strays)
{
    return list_below(getpid(), known, count, ret_strays);
}

size_t
kin_below(pid_t top, struct kin **ret_below)
{
    return list_below(top, NULL, 0, ret_below);
}

size_t
kin_signal(pid_t session, pid_t keep, int signo)
{
    struct kin_list list = {0};
    size_t count = 0;
    list_all(&list);
    tell_lines(&list, getpid(), NULL, 0);
    vec_foreach (&list.all, e) {
        bool ours = session ? e->kin.session == session : e->line == LINE_OURS;
        if (!ours || e->kin.pid == keep || e->kin.pid == getpid())
            continue;
        kin_send(&e->kin, signo);
        count++;
    }
    vec_finish(&list.all);
    return count;
}

/* One that is known would be told of again and again, until its watcher has taken it. */
void
kin_reap(const pid_t *known, size_t count)
{
    siginfo_t info = {0};
    while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0 &&
           !is_among(info.si_pid, known, count)) {
        (void)waitid(P_PID, (id_t)info.si_pid, &info, WEXITED | WNOHANG);
        info.si_pid = 0;
    }
}

/* ---- those who bear a mark ---- */

/* In a container the same mark names other files, and is another's. */
static bool
has_our_root(pid_t pid)
{
    char path[64];
    struct stat its, ours;
    (void)snprintf(path, sizeof(path), "/proc/%d/root", (int)pid);
    return stat(path, &its) == 0 && stat("/", &ours) == 0 && its.st_dev == ours.st_dev &&
           its.st_ino == ours.st_ino;
}

/* The entry of its environment that begins so, "" where it has none. */
static const char *
find_mark(pid_t pid, const char *mark, struct buf *text)
{
    char path[64];
    struct stat st;
    (void)snprintf(path, sizeof(path), "/proc/%d/environ", (int)pid);
    if (stat(path, &st) < 0 || (geteuid() != 0 && st.st_uid != geteuid()) ||
        file_read(path, text, NULL) < 0 || !has_our_root(pid))
        return ""; /* another user's, or it has ended */
    for (size_t at = 0; at < text->len; at += strlen(text->data + at) + 1)
        if (text_starts(text->data + at, mark))
            return text->data + at;
    return "";
}

static bool
bears(pid_t pid, const char *mark)
{
    _cleanup_buf_ struct buf text = BUF_INIT(ENVIRON_MAX);
    return find_mark(pid, mark, &text)[0] != '\0';
}

char *
kin_mark(const struct kin *kin, const char *mark)
{
    _cleanup_buf_ struct buf text = BUF_INIT(ENVIRON_MAX);
    return mem_strdup(find_mark(kin->pid, mark, &text));
}

/* Our shell may bear the mark too. */
static void
forget_those_above_us(struct kin_list *list)
{
    for (struct entry *e = find(list, getpid()); e && e->line != LINE_KNOWN;
         e = find(list, e->kin.parent))
        e->line = LINE_KNOWN;
}

size_t
kin_marked(const char *mark, struct kin **ret_marked)
{
    struct kin_list list = {0};
    VEC(struct kin) marked = {0};
    list_all(&list);
    forget_those_above_us(&list);
    vec_foreach (&list.all, e)
        if (e->line != LINE_KNOWN && bears(e->kin.pid, mark))
            vec_push(&marked, e->kin);
    vec_finish(&list.all);
    *ret_marked = marked.items;
    return marked.count;
}

size_t
kin_signal_marked(const char *mark, int signo)
{
    _cleanup_free_ struct kin *marked = NULL;
    size_t count = kin_marked(mark, &marked);
    for (size_t i = 0; i < count; i++)
        kin_send(&marked[i], signo);
    return count;
}

/* ---- the note ---- */

/* Numbers of processes mean something in their PID namespace only. */
static bool
own_namespace(uint64_t *ret_id)
{
    struct stat st;
    if (stat("/proc/self/ns/pid", &st) < 0)
        return false;
    *ret_id = (uint64_t)st.st_ino;
    return true;
}

/*     BOOT NAMESPACE PID SESSION START\n */
int
kin_note(const char *path, pid_t leader, struct err *reterr)
{
    char boot[CLOCK_BOOT_ID_LEN + 1], text[128];
    struct kin kin;
    uint64_t namespace;
    if (kin_look(leader, &kin) < 0 || clock_boot_id(boot) < 0 || !own_namespace(&namespace))
        return 0; /* it has ended; or nothing can be told from the next boot's processes */
    int len = snprintf(text, sizeof(text), "%s %" PRIu64 " %d %d %" PRIu64 "\n", boot, namespace,
                       (int)kin.pid, (int)kin.session, kin.start);
    return file_write(path, text, (size_t)len, 0600, reterr);
}

/* The session of the note, if it can still be that one: 0 where it cannot. */
static pid_t
noted_session(const char *text)
{
    char boot[CLOCK_BOOT_ID_LEN + 1], *at;
    struct kin leader;
    uint64_t namespace;
    if (clock_boot_id(boot) < 0 || !own_namespace(&namespace) || !text_starts(text, boot) ||
        strtoull(text + CLOCK_BOOT_ID_LEN, &at, 10) != namespace)
        return 0;
    long pid = strtol(at, &at, 10), session = strtol(at, &at, 10);
    uint64_t start = strtoull(at, &at, 10);
    if (*at != '\n' || session < 2 || session > INT_MAX || session != pid || session == getsid(0))
        return 0;
    /* A session's number is not given out again while one of it lives; so it is another one only if
     * its leader is there and started at another time. */
    if (kin_look((pid_t)session, &leader) == 0 && leader.start != start)
        return 0;
    return (pid_t)session;
}

/* Nothing tells the end of those who are not our children. */
int
kin_end(size_t (*kill_all)(const void *arg), const void *arg, struct err *reterr)
{
    size_t killed = 0, left = kill_all(arg);
    for (int ms = 0; left && ms < END_WAIT_MS; ms += END_STEP_MS) {
        killed = MAX(killed, left);
        (void)poll(NULL, 0, END_STEP_MS);
        left = kill_all(arg);
    }
    if (left == 0)
        return (int)killed;
    int r =
        err_set(reterr, ERR_PROC_STUCK, "%zu processes of one that ran before do not end", left);
    err_fix(reterr, "see `dmesg`; the machine may have to be rebooted");
    return r;
}

static size_t
kill_session(const void *session)
{
    return kin_signal(*(const pid_t *)session, 0, SIGKILL);
}

static size_t
kill_marked(const void *mark)
{
    return kin_signal_marked(mark, SIGKILL);
}

int
kin_end_noted(const char *path, struct err *reterr)
{
    _cleanup_buf_ struct buf text = BUF_INIT(4 * KIB);
    int r = file_read_if_there(path, &text, reterr);
    if (r <= 0)
        return r;
    pid_t session = noted_session(text.data);
    r = session ? kin_end(kill_session, &session, reterr) : 0;
    if (r >= 0)
        (void)unlink(path);
    return r;
}

int
kin_end_marked(const char *mark, struct err *reterr)
{
    return kin_end(kill_marked, mark, reterr);
}
