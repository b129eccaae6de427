#include "deploy/emergency_int.h"

#include "base/buf.h"
#include "base/text.h"
#include "run/marker.h"
#include "run/run.h"
#include "service/contain.h"
#include "service/direct.h"
#include "sys/clock.h"
#include "sys/files.h"
#include "sys/group.h"
#include "sys/root.h"
#include "sys/sock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define SLICE "citadel.slice" /* unit/directive.def */
#define UNIT "citadel-"
#define LIMIT_US UINT64_C(5000000)
#define ROUND_MS 10
/* More are killed, too, but not told one by one. */
#define SEEN_MAX 8192

struct stop {
    const struct emergency_wish *wish;
    const char *run_dir;
    char *mark; /* what the marks of all services begin with */
    char groups[GROUP_HIERARCHIES][GROUP_PATH_MAX];
    size_t group_count;
    bool kills;                       /* or only looks */
    struct emergency_processes seen;  /* since it began */
    struct emergency_processes round; /* now */
};

/* ---- who was met ---- */

static bool
is_known(const struct emergency_processes *list, const struct kin *kin)
{
    vec_foreach (&list->all, p)
        if (p->kin.pid == kin->pid && p->kin.start == kin->start)
            return true;
    return false;
}

static void
add(struct emergency_processes *list, const struct kin *kin, const char *service, size_t len)
{
    if (list->all.count == SEEN_MAX || is_known(list, kin))
        return;
    struct emergency_process *p = vec_add(&list->all);
    p->kin = *kin;
    (void)snprintf(p->service, sizeof(p->service), "%.*s", (int)MIN(len, sizeof(p->service) - 1),
                   service);
}

static void
meet(struct stop *s, const struct kin *kin, const char *service, size_t len)
{
    add(&s->seen, kin, service, len);
    add(&s->round, kin, service, len);
}

/* ---- by control group ---- */

/* "citadel-phi3.service" is phi3. */
static void
meet_member(struct stop *s, const struct group_member *m)
{
    const char *name = m->group + (text_starts(m->group, UNIT) ? strlen(UNIT) : 0);
    size_t len = text_ends(name, ".service") ? strlen(name) - strlen(".service") : 0;
    meet(s, &m->kin, name, len);
}

static void
take_group(struct stop *s, const char *dir)
{
    struct group_members members = {0};
    group_list(dir, &members);
    vec_foreach (&members.all, m)
        if (m->kin.pid != getpid())
            meet_member(s, m);
    if (s->kills && members.all.count)
        group_kill(dir, &members);
    vec_finish(&members.all);
}

/* ---- by the sockets of those who hold others ---- */

/* Who listens there. Its owner says who that may be: a link put in its place would lead anywhere. */
static bool
find_listener(const char *path, struct kin *ret_kin)
{
    struct sock_peer peer;
    struct stat st;
    if (lstat(path, &st) < 0 || !S_ISSOCK(st.st_mode))
        return false;
    _cleanup_close_ int fd = sock_connect_path(path, SOCK_STREAM);
    return fd >= 0 && sock_peer(fd, &peer) == 0 && peer.uid == st.st_uid && peer.pid > 1 &&
           peer.pid != getpid() && kin_look(peer.pid, ret_kin) == 0;
}

/* "CITADEL_SERVICE=RUN/services/phi3/engine" tells phi3. */
static void
meet_marked(struct stop *s, const struct kin *kin)
{
    _cleanup_free_ char *mark = kin_mark(kin, s->mark);
    const char *rest = mark[0] ? mark + strlen(s->mark) : "";
    const char *name = rest + strcspn(rest, "/");
    name += *name == '/';
    meet(s, kin, name, strcspn(name, "/"));
}

/* First it is frozen; it goes last, when nobody is below it whom it could lose. */
static void
take_tree(struct stop *s, const char *socket, const char *service)
{
    _cleanup_free_ struct kin *below = NULL;
    struct kin top;
    size_t left = 0;
    if (!find_listener(socket, &top))
        return;
    if (s->kills)
        kin_send(&top, SIGSTOP);
    size_t count = kin_below(top.pid, &below);
    for (size_t i = 0; i < count; i++) {
        if (below[i].pid == getpid())
            continue;
        meet_marked(s, &below[i]);
        left++;
        if (s->kills)
            kin_send(&below[i], SIGKILL);
    }
    meet(s, &top, service, strlen(service));
    if (s->kills && left == 0)
        kin_send(&top, SIGKILL);
}

static void
take_supervisor(struct stop *s)
{
    _cleanup_free_ char *path = mem_printf("%s/" DIRECT_SOCKET_NAME, s->run_dir);
    take_tree(s, path, "");
}

static void
take_shims(struct stop *s)
{
    _cleanup_free_ char *models = mem_printf("%s/models", s->run_dir);
    DIR *dir = file_open_dir(AT_FDCWD, models, 0);
    for (struct dirent *e; dir && (e = readdir(dir));) {
        _cleanup_free_ char *path = mem_printf("%s/%s/" RUN_SOCKET_NAME, models, e->d_name);
        if (text_is_name(e->d_name))
            take_tree(s, path, e->d_name);
    }
    if (dir)
        (void)closedir(dir);
}

/* ---- by the mark ---- */

static void
take_marked(struct stop *s)
{
    _cleanup_free_ struct kin *marked = NULL;
    size_t count = kin_marked(s->mark, &marked);
    for (size_t i = 0; i < count; i++) {
        meet_marked(s, &marked[i]);
        if (s->kills)
            kin_send(&marked[i], SIGKILL);
    }
}

/* ---- all ---- */

static void
begin(struct stop *s, const struct emergency_wish *wish, bool kills)
{
    *s = (struct stop){.wish = wish, .run_dir = wish->run_dir, .kills = kills};
    s->mark = mem_printf(RUN_MARK "=%s/", s->run_dir);
    if (wish->groups || !root_is_set()) /* below --root there are none */
        s->group_count = group_find(wish->groups, SLICE, s->groups);
    for (size_t i = 0; kills && i < s->group_count; i++)
        group_leave(s->groups[i]);
}

static void
finish(struct stop *s)
{
    free(s->mark);
    vec_finish(&s->round.all);
}

/* How many there were. */
static size_t
take_all(struct stop *s)
{
    s->round.all.count = 0;
    for (size_t i = 0; i < s->group_count; i++)
        take_group(s, s->groups[i]);
    take_supervisor(s);
    take_shims(s);
    take_marked(s);
    return s->round.all.count;
}

/* What a supervisor cannot be frozen for any longer, since somebody below it hangs. */
static void
kill_who_is_left(struct stop *s)
{
    vec_foreach (&s->round.all, p)
        if (p->kin.start)
            kin_send(&p->kin, SIGKILL);
}

static void
kill_all(struct stop *s)
{
    uint64_t until = clock_now_us() + (s->wish->limit_us ? s->wish->limit_us : LIMIT_US);
    while (take_all(s) && clock_now_us() < until)
        (void)poll(NULL, 0, ROUND_MS);
    kill_who_is_left(s);
}

/* The control group of a supervisor that was killed, and its note: unless another has come. */
static void
tidy(const char *run_dir)
{
    _cleanup_free_ char *path = mem_printf("%s/" DIRECT_LOCK_NAME, run_dir);
    _cleanup_close_ int lock = file_open(path, O_RDWR, 0);
    if (lock >= 0 && flock(lock, LOCK_EX | LOCK_NB) == 0)
        (void)!contain_clean(run_dir, NULL);
}

/* ---- the report ---- */

static void
describe(struct emergency_process *p)
{
    _cleanup_buf_ struct buf text = BUF_INIT(4 * KIB);
    char path[64];
    (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)p->kin.pid);
    (void)!file_read(path, &text, NULL);
    const char *open = strchr(text.data, '('), *close = strrchr(text.data, ')');
    if (!open || !close || close < open || strlen(close) < 3)
        return;
    int len = (int)MIN((size_t)(close - open - 1), sizeof(p->name) - 1);
    (void)snprintf(p->name, sizeof(p->name), "%.*s", len, open + 1);
    text_disarm(p->name);
    p->state = close[2];
}

static void
take_left(struct stop *s, struct emergency_processes *ret_left)
{
    *ret_left = s->round;
    s->round = (struct emergency_processes){0};
    vec_foreach (&ret_left->all, p)
        describe(p);
}

static int
judge(const struct emergency_report *report, struct err *reterr)
{
    const struct emergency_process *first = report->left.all.items;
    size_t left = report->left.all.count;
    int r = 0;
    if (left) {
        r = err_set(reterr, ERR_EMERGENCY_LEFT,
                    "%zu process%s not end although %s killed, as process %d (%s)%s", left,
                    left == 1 ? " does" : "es do", left == 1 ? "it was" : "they were",
                    (int)first->kin.pid, first->name,
                    first->state == 'D' ? ", which hangs in the kernel" : "");
        err_fix(reterr, "see `dmesg`; the machine may have to be rebooted");
    } else if (report->gpu.id != ERR_NONE) {
        r = err_set(reterr, ERR_EMERGENCY_LEFT, "all processes are dead, but GPU memory: %s",
                    report->gpu.what);
        err_fix(reterr, "%s", report->gpu.fix);
    } else if (report->marker.id != ERR_NONE) {
        r = err_set(reterr, ERR_EMERGENCY_LEFT,
                    "all processes are dead, but nothing keeps them from starting again: %s",
                    report->marker.what);
        err_fix(reterr, "systemctl disable --now citadel-ai.target");
    }
    return r;
}

int
emergency_stop(const struct emergency_wish *wish, struct emergency_report *ret_report,
               struct err *reterr)
{
    struct emergency_order order;
    struct stop stop;
    *ret_report = (struct emergency_report){0};
    int r = run_marker_set(wish->run_dir, wish->by, wish->why, &ret_report->marker);
    /* Then killing is not, either. Who may kill does so whatever became of the marker. */
    if (ret_report->marker.id == ERR_NOT_PERMITTED && geteuid() != 0) {
        if (reterr)
            *reterr = ret_report->marker;
        err_fix(reterr, "the same with sudo");
        return r;
    }
    uint64_t began = clock_now_us();
    begin(&stop, wish, true);
    emergency_order_begin(&order, wish->groups == NULL);
    kill_all(&stop);
    ret_report->took_us = clock_now_us() - began;
    tidy(stop.run_dir);
    take_left(&stop, &ret_report->left);
    ret_report->killed = stop.seen;
    finish(&stop);
    emergency_prove(wish->gpus_us, ret_report);
    ret_report->systemd = emergency_order_end(&order);
    return judge(ret_report, reterr);
}

void
emergency_report_finish(struct emergency_report *report)
{
    vec_finish(&report->killed.all);
    vec_finish(&report->left.all);
}

void
emergency_look(const struct emergency_wish *wish, struct emergency_processes *ret_processes)
{
    struct stop stop;
    begin(&stop, wish, false);
    (void)take_all(&stop);
    *ret_processes = stop.seen;
    finish(&stop);
}

size_t
emergency_services(const struct emergency_processes *processes)
{
    size_t count = 0;
    for (size_t i = 0; i < processes->all.count; i++) {
        const char *service = processes->all.items[i].service;
        bool first = service[0] != '\0';
        for (size_t j = 0; first && j < i; j++)
            first = !text_eq(processes->all.items[j].service, service);
        count += first;
    }
    return count;
}
