#include "service/direct_int.h"

#include "base/mem.h"
#include "sys/clock.h"
#include "sys/files.h"
#include "sys/kin.h"
#include "sys/root.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define LOOK_US (2 * 1000000ULL)

/* ---- who may start, who may stop ---- */

/* It is about to become ready, for the first time or after a stop: after a failure that is not sure. */
static bool
is_on_its_way(const struct unit *u)
{
    enum service_state state = u->status.state;
    return u->wanted && (state == SERVICE_STOPPED || state == SERVICE_WAITING ||
                         state == SERVICE_STARTING || state == SERVICE_STOPPING);
}

static bool
is_in_the_way(const struct unit *before)
{
    return before->service->dispensable ? is_on_its_way(before)
                                        : before->status.state != SERVICE_READY;
}

const struct unit *
direct_blocker(const struct unit *u)
{
    for (size_t i = 0; i < u->service->after_count; i++) {
        const char *name = u->service->after[i];
        const struct unit *before = direct_find(u->direct, name, strlen(name));
        if (before && is_in_the_way(before))
            return before;
    }
    return NULL;
}

static bool
comes_after(const struct unit *u, const struct unit *before)
{
    for (size_t i = 0; i < u->service->after_count; i++)
        if (text_eq(u->service->after[i], before->service->name))
            return true;
    return false;
}

/* Who comes after this one is stopped before it, if it is to stop at all. */
static bool
may_stop(const struct unit *u)
{
    const struct direct *d = u->direct;
    for (size_t i = 0; i < d->units.count; i++) {
        const struct unit *other = d->units.items[i];
        if (comes_after(other, u) && !unit_is_dormant(other) && !other->wanted)
            return false;
    }
    return true;
}

static void
consider(struct unit *u)
{
    enum service_state state = u->status.state;
    const struct unit *blocker;
    if (u->wanted && unit_is_dormant(u) && (state == SERVICE_STOPPED || state == SERVICE_WAITING)) {
        blocker = direct_blocker(u);
        if (blocker)
            unit_wait(u, blocker);
        else
            unit_start(u);
    } else if (!u->wanted && u->runs && state != SERVICE_STOPPING && may_stop(u)) {
        unit_stop(u);
    } else if (!u->wanted && unit_is_dormant(u) && state != SERVICE_STOPPED &&
               state != SERVICE_FAILED) {
        unit_enter(u, SERVICE_STOPPED);
    }
}

void
direct_consider(struct direct *d)
{
    bool idle = true;
    for (size_t i = 0; i < d->units.count; i++)
        consider(d->units.items[i]);
    for (size_t i = 0; i < d->units.count; i++)
        idle &= unit_is_dormant(d->units.items[i]);
    if (d->ending && idle)
        loop_defer(d->loop, &d->ended);
}

static void
on_all_ended(struct loop_defer *defer)
{
    struct direct *d = container_of(defer, struct direct, ended);
    if (d->config.ended)
        d->config.ended(d->config.arg);
}

void
direct_start(struct direct *d)
{
    for (size_t i = 0; i < d->units.count; i++)
        d->units.items[i]->wanted = d->units.items[i]->service->wanted;
    direct_consider(d);
}

void
direct_stop_all(struct direct *d)
{
    d->ending = true;
    d->ending_us = d->ending_us ? d->ending_us : clock_wall_us();
    direct_watch_changed(d);
    for (size_t i = 0; i < d->units.count; i++)
        d->units.items[i]->wanted = d->units.items[i]->again = false;
    direct_consider(d);
}

void
direct_kill_all(struct direct *d)
{
    for (size_t i = 0; i < d->units.count; i++)
        unit_kill(d->units.items[i]);
    direct_stop_all(d);
}

/* ---- what others want to know ---- */

size_t
direct_known(struct direct *d)
{
    size_t count = 0;
    for (size_t i = 0; i < d->units.count; i++)
        if (d->units.items[i]->runs)
            d->known[count++] = d->units.items[i]->proc.pid;
    return count;
}

struct unit *
direct_find(struct direct *d, const char *name, size_t len)
{
    vec_foreach (&d->units, u)
        if (strlen((*u)->service->name) == len && memcmp((*u)->service->name, name, len) == 0)
            return *u;
    return NULL;
}

enum contain_kind
direct_containment(const struct direct *d)
{
    return d->contain.kind;
}

size_t
direct_leftovers(const struct direct *d)
{
    return d->leftovers;
}

const struct err *
direct_stuck(const struct direct *d)
{
    return &d->stuck;
}

size_t
direct_count(const struct direct *d)
{
    return d->units.count;
}

const struct service_status *
direct_status(const struct direct *d, size_t i)
{
    return &d->units.items[i]->status;
}

/* ---- other services ---- */

static bool
has_service(const struct direct_config *config, const char *name)
{
    for (size_t i = 0; i < config->count; i++)
        if (text_eq(config->services[i].name, name))
            return true;
    return false;
}

static int
check_goes(const struct direct *d, const struct direct_config *config, struct err *reterr)
{
    vec_foreach (&d->units, at) {
        const struct unit *u = *at;
        if (unit_is_dormant(u) || has_service(config, u->service->name))
            continue;
        int r = err_set(reterr, ERR_SERVICE_RUNS, "%s is not in %s, and is %s", u->service->name,
                        config->source.file, service_state_word(u->status.state));
        err_fix(reterr, "citadel stop %s", u->service->name);
        return r;
    }
    return 0;
}

/* What the services read when they start: the file that a person edits is none of theirs. */
static int
write_copy(const struct direct *d, const struct direct_config *config, struct err *reterr)
{
    return config->text ? file_write(d->copy_path, config->text, config->text_len, 0644, reterr)
                        : 0;
}

struct taking {
    VEC(struct unit *) all, made;
};

/* One for each service: the one that there is, or a new one. */
static int
gather(struct direct *d, const struct direct_config *config, struct taking *t, struct err *reterr)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < config->count; i++) {
        const struct service *service = &config->services[i];
        struct unit *u = direct_find(d, service->name, strlen(service->name));
        if (!u) {
            r = unit_new(d, service, &u, reterr);
            if (r == 0)
                vec_push(&t->made, u);
        }
        if (r == 0)
            vec_push(&t->all, u);
    }
    return r;
}

static void
let_go(struct unit *u)
{
    loop_timer_stop(&u->timer);
    direct_control_dismiss(u);
    unit_free(u);
}

static void
settle(struct direct *d, const struct direct_config *config, struct taking *t)
{
    vec_foreach (&d->units, u)
        if (!has_service(config, (*u)->service->name))
            let_go(*u);
    assert(t->all.count == config->count);
    for (size_t i = 0; i < config->count; i++)
        unit_define(t->all.items[i], &config->services[i]);
    vec_finish(&d->units);
    vec_foreach (&t->all, u)
        vec_push(&d->units, *u);
    free(d->known);
    d->known = mem_alloc(MAX(config->count, 1u) * sizeof(*d->known));
    d->config.services = config->services;
    d->config.count = config->count;
    d->config.withheld = config->withheld;
    d->config.source = config->source;
    d->config.text = config->text;
    d->config.text_len = config->text_len;
    direct_watch_changed(d);
}

int
direct_take(struct direct *d, const struct direct_config *config, struct err *reterr)
{
    struct taking t = {0};
    int r = check_goes(d, config, reterr);
    if (r == 0)
        r = gather(d, config, &t, reterr);
    if (r == 0)
        r = write_copy(d, config, reterr);
    if (r == 0)
        settle(d, config, &t);
    else
        vec_foreach (&t.made, u)
            unit_free(*u);
    vec_finish(&t.all);
    vec_finish(&t.made);
    return r;
}

/* ---- a life ---- */

static void
on_child(struct loop_signal *watch, int signo unused_arg)
{
    struct direct *d = container_of(watch, struct direct, child);
    kin_reap(d->known, direct_known(d));
}

static int
refuse_second(int lock, const char *path, struct err *reterr)
{
    char text[16] = "";
    ssize_t n = pread(lock, text, sizeof(text) - 1, 0);
    text[MAX(n, 0)] = '\0';
    int r = err_set(reterr, ERR_SERVICE_TWICE, "citadel up runs here already, as process %s",
                    text[0] ? text : "unknown");
    err_fix(reterr, "citadel status; or end that process first (its lock is %s)", path);
    return r;
}

/* One supervisor a run directory: the lock's file has its number, for who comes second. Returns its
 * descriptor. */
static int
take_lock(const struct direct *d, struct err *reterr)
{
    char text[16];
    int r = file_make_dirs(d->config.run_dir, 0755, reterr);
    if (r < 0)
        return r;
    _cleanup_close_ int fd = file_open(d->lock_path, O_RDWR | O_CREAT, 0600);
    if (fd < 0)
        return root_err(reterr, fd, "cannot open '%s'", d->lock_path);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK
                   ? refuse_second(fd, d->lock_path, reterr)
                   : err_set_errno(reterr, errno, "cannot lock '%s'", d->lock_path);
    int len = snprintf(text, sizeof(text), "%d", (int)getpid());
    if (ftruncate(fd, 0) < 0 || pwrite(fd, text, (size_t)len, 0) < 0)
        return err_set_errno(reterr, errno, "cannot write '%s'", d->lock_path);
    return take_fd(&fd);
}

bool
direct_is_there(const char *path, const struct stat *made)
{
    struct stat st;
    return lstat(path, &st) == 0 && st.st_dev == made->st_dev && st.st_ino == made->st_ino;
}

/* Somebody tidies up, and removes the lock, the socket or all of the directory: nobody could reach us
 * any more, nor be told that we run. If another has come meanwhile, what is there is his. */
static void
on_look(struct loop_timer *timer)
{
    struct direct *d = container_of(timer, struct direct, look);
    struct stat st;
    if (fstat(d->lock, &st) < 0 || !direct_is_there(d->lock_path, &st)) {
        int fd = take_lock(d, NULL);
        if (fd < 0)
            return;
        cleanup_close(&d->lock);
        d->lock = fd;
    }
    if (d->config.text && access(d->copy_path, F_OK) < 0)
        (void)!write_copy(d, &d->config, NULL); /* or the next time */
    direct_control_look(d);
}

/* What hangs in the kernel may do so for ever: it is in the way of its own service at most. */
static void
clean_up(struct direct *d)
{
    int r = contain_clean(d->config.run_dir, &d->stuck);
    d->leftovers = (size_t)MAX(r, 0);
}

static int
watch_children(struct direct *d, struct err *reterr)
{
    d->child.received = on_child;
    int r = loop_signal_start(d->loop, &d->child, SIGCHLD);
    return r < 0 ? err_set_errno(reterr, -r, "signals of children") : 0;
}

static int
open_direct(struct direct *d, struct err *reterr)
{
    d->lock = take_lock(d, reterr);
    if (d->lock < 0)
        return d->lock;
    clean_up(d);
    int r = contain_open(&d->contain, d->config.contain, d->config.run_dir, reterr);
    if (r == 0)
        r = watch_children(d, reterr);
    if (r == 0)
        r = direct_take(d, &d->config, reterr);
    if (r == 0)
        r = direct_control_open(d, reterr);
    if (r == 0)
        loop_timer_start(d->loop, &d->look, LOOK_US, LOOK_US);
    return r;
}

int
direct_new(struct loop *loop, const struct direct_config *config, struct direct **ret_direct,
           struct err *reterr)
{
    struct direct *d = mem_new(struct direct);
    *d = (struct direct){.loop = loop,
                         .config = *config,
                         .lock = -1,
                         .look.expired = on_look,
                         .ended.run = on_all_ended};
    d->lock_path = mem_printf("%s/" DIRECT_LOCK_NAME, config->run_dir);
    d->copy_path = mem_printf("%s/" DIRECT_COPY_NAME, config->run_dir);
    int r = open_direct(d, reterr);
    if (r < 0) {
        direct_free(d);
        return r;
    }
    *ret_direct = d;
    return 0;
}

void
direct_free(struct direct *d)
{
    direct_control_close(d);
    loop_defer_cancel(d->loop, &d->ended);
    loop_defer_cancel(d->loop, &d->tell);
    loop_timer_stop(&d->look);
    loop_signal_stop(&d->child);
    vec_foreach (&d->units, u)
        unit_free(*u);
    vec_finish(&d->units);
    contain_close(&d->contain);
    cleanup_close(&d->lock);
    free(d->lock_path);
    free(d->copy_path);
    free(d->known);
    free(d);
}
