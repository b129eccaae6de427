/* From room for it to an engine that answers: its process and its log. */

#include "run/shim_int.h"

#include "base/quantity.h"
#include "base/text.h"
#include "run/wish.h"
#include "sys/files.h"
#include "sys/kin.h"
#include "sys/listener.h"
#include "sys/log.h"
#include "sys/sock.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Of /health; four times longer once the start is ten seconds old. A refused connection costs
 * microseconds. */
#define POLL_US UINT64_C(250000)
#define YOUNG_US UINT64_C(10000000)
#define READ_BYTES (4 * KIB)
#define READS_MAX 64 /* a pass: others want their turn too */
/* An engine whose log tells why it ends mostly ends at once; some front ends stay behind. */
#define VERDICT_MAX_US UINT64_C(30000000)
/* Of one that serves: an older line is about something else. */
#define VERDICT_FRESH_US UINT64_C(60000000)

void
start_tell_port(struct shim *s, struct err *ret_why)
{
    char who[LISTENER_TEXT_MAX];
    listener_print_other(s->session, s->model->port, who);
    (void)err_set(ret_why, ERR_ENGINE_NOT_NOW, "something else listens on %s%s%s", s->address,
                  *who ? ": " : "", who);
    err_fix(ret_why, "%s; or set another port",
            *who ? "stop it" : "stop it (see `ss -ltnp`, as root)");
}

/* ---- the engine's log ---- */

static void
take_line(const char *line, size_t len, void *arg)
{
    struct shim *s = arg;
    bool serves = s->progress.phase >= ENGINE_READY;
    if (serves && s->progress.sure && shim_now(s) - s->verdict_at > VERDICT_FRESH_US)
        engine_progress_forgive(&s->progress);
    uint8_t sure = s->progress.sure;
    engine_progress_line(&s->progress, line);
    if (s->progress.sure > sure) {
        s->verdict_at = shim_now(s);
        if (s->progress.lost_port) /* an engine does not know to whom */
            start_tell_port(s, &s->progress.why);
    }
    /* Of an engine whose words nobody knows, any line shows that it moves. */
    if (s->kind->dialect == ENGINE_SAYS_NOTHING)
        s->progress.news++;
    text_make_safe(s->last_line, sizeof(s->last_line),
                   snprintf(s->last_line, sizeof(s->last_line), "%s", line + strspn(line, " ")));
    relay_line(&s->relay, line, len);
}

bool
start_has_verdict(struct shim *s)
{
    bool serving = s->state.phase >= RUN_READY && s->healthy_since;
    if (s->progress.why.id == ERR_NONE || s->verdict_at == 0)
        return false;
    return !serving || shim_now(s) - s->verdict_at < VERDICT_FRESH_US;
}

static void
tell_progress(struct shim *s)
{
    _cleanup_buf_ struct buf text = BUF_INIT(sizeof(s->state.status));
    if (s->news == s->progress.news)
        return;
    s->news = s->progress.news;
    if (s->state.phase != RUN_STARTING)
        return;
    if (s->on_trial) /* then only an answer counts: one that hangs tells its statistics */
        return;
    s->news_at = shim_now(s);
    if (s->kind->dialect != ENGINE_SAYS_NOTHING && !s->hindrance[0]) {
        engine_progress_print(&s->progress, &text);
        shim_status(s, "%s", text.data);
    }
    if (s->progress.phase == ENGINE_READY)
        watch_poll(s);
}

static void
on_log(struct loop_fd *watch, unsigned events unused_arg)
{
    struct shim *s = container_of(watch, struct shim, log);
    char piece[READ_BYTES];
    for (unsigned i = 0; i < READS_MAX; i++) {
        ssize_t n = read(s->log_fd, piece, sizeof(piece));
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            break;
        if (n <= 0) { /* the last of its processes has closed it */
            engine_lines_end(&s->lines, take_line, s);
            loop_fd_stop(watch);
            cleanup_close(&s->log_fd);
            break;
        }
        engine_lines_feed(&s->lines, piece, (size_t)n, take_line, s);
    }
    tell_progress(s);
}

/* ---- its process ---- */

static void
on_ended(struct proc_watch *watch, const struct proc_end *end)
{
    struct shim *s = container_of(watch, struct shim, ended);
    s->runs = false;
    proc_close(&s->engine);
    if (s->log_fd >= 0)
        on_log(&s->log, LOOP_READ); /* its last words */
    leave_engine_ended(s, end);
}

static int
make_command(struct shim *s, struct engine_command *ret_command, struct err *reterr)
{
    int r = run_engine_version(s->config, s->model, &s->version, reterr);
    s->has_version = r == 0;
    if (r < 0 && r != -ENODATA)
        return r;
    if (s->has_version) {
        engine_version_text text;
        (void)snprintf(s->state.version, sizeof(s->state.version), "%s",
                       engine_version_print(&s->version, text));
    }
    size_t count = s->room.has_lease ? s->room.lease.part_count : 0;
    return run_wish_build(s->config, s->model, s->has_version ? &s->version : NULL, s->room.gpus,
                          count, &s->arena, ret_command, reterr);
}

static int
make_places(struct shim *s, struct err *reterr)
{
    const char *cache =
        arena_printf(&s->arena, "%s/cache/%s", s->config->paths.models, s->model->name);
    if (!cache)
        return err_set(reterr, ERR_TOO_LARGE, "the path of its cache, below %s, is too long",
                       s->config->paths.models);
    return file_make_dirs(cache, 0755, reterr);
}

/* Two servers can take the same port while neither listens, and the second fails minutes later. */
static int
check_port(struct shim *s, struct err *reterr)
{
    struct sock_addr addr;
    int fd = sock_addr_parse(s->address, &addr, reterr);
    if (fd == 0)
        fd = sock_listen(&addr, 0600, reterr);
    if (fd == -EADDRINUSE) {
        start_tell_port(s, reterr);
        return fd;
    }
    if (fd < 0)
        return fd;
    cleanup_close(&fd);
    return 0;
}

static int
start_process(struct shim *s, const struct engine_command *command, struct err *reterr)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return err_set_errno(reterr, errno, "a pipe for the engine's log");
    const struct proc_wish wish = {.argv = command->argv,
                                   .environ = command->environ,
                                   .fds = {-1, ends[1], ends[1]},
                                   .new_session = true,
                                   .death_signal = SIGKILL};
    int r = proc_start(&wish, &s->engine, reterr);
    (void)close(ends[1]);
    if (r < 0) {
        (void)close(ends[0]);
        /* A program that is not there does not come by trying again. */
        if (r == -ENOENT && reterr)
            reterr->id = ERR_ENGINE_NOT_INSTALLED;
        err_fix(reterr, "install it, or correct where the configuration says it is");
        return r;
    }
    s->runs = true;
    s->session = s->engine.pid;
    s->state.pid = (unsigned)s->engine.pid;
    s->log_fd = ends[0];
    s->log.ready = on_log;
    s->ended.ended = on_ended;
    r = loop_fd_start(s->loop, &s->log, s->log_fd, LOOP_READ);
    if (r == 0)
        r = proc_watch_start(s->loop, &s->ended, &s->engine);
    if (r < 0) { /* nobody would tell when it ends */
        struct proc_end end;
        (void)!proc_signal(&s->engine, SIGKILL);
        (void)!proc_wait(&s->engine, &end);
        s->runs = false;
        loop_fd_stop(&s->log);
        cleanup_close(&s->log_fd);
        return err_set_errno(reterr, -r, "watching the engine");
    }
    return kin_note(s->note, s->engine.pid, reterr);
}

static void
launch(struct shim *s)
{
    struct engine_command command;
    struct err err;
    int r = make_command(s, &command, &err);
    if (r == 0)
        r = make_places(s, &err);
    if (r == 0)
        r = check_port(s, &err);
    for (const char *const *w = r == 0 ? command.warnings : NULL; w && *w; w++)
        log_warning("%s", *w);
    s->state.gpu_count = s->room.has_lease ? s->room.lease.part_count : 0;
    memcpy(s->state.gpus, s->room.gpus, s->state.gpu_count * sizeof(*s->room.gpus));
    if (s->has_version)
        log_info("%s: %s %s", s->model->name, s->kind->name, s->state.version);
    engine_progress_init(&s->progress, s->kind->dialect);
    s->started_at = s->news_at = shim_now(s);
    shim_phase(s, RUN_STARTING, "starting");
    if (r == 0)
        r = start_process(s, &command, &err);
    if (r < 0)
        leave(s, &err);
    else
        loop_timer_start(s->loop, &s->poll, POLL_US, 0);
}

static void
on_poll(struct loop_timer *timer)
{
    struct shim *s = container_of(timer, struct shim, poll);
    if (s->state.phase != RUN_STARTING || s->on_trial)
        return;
    watch_poll(s);
    bool young = shim_now(s) - s->started_at < YOUNG_US;
    loop_timer_start(s->loop, timer, young ? POLL_US : 4 * POLL_US, 0);
}

/* ---- it answers ---- */

static void
become_ready(struct shim *s)
{
    uint64_t now = shim_now(s);
    loop_timer_stop(&s->poll);
    room_unlock(s);
    vigil_init(&s->vigil, s->model->stall_limit_us, s->kind->dialect != ENGINE_SAYS_NOTHING, now);
    s->healthy_since = now;
    s->verdict_at = 0; /* what was wrong on the way did not matter */
    shim_phase(s, RUN_READY, "ready: answers %s", engine_kind_what(s->answers));
    notify_state(&s->notify, "READY=1");
}

void
start_listens(struct shim *s)
{
    watch_try(s, become_ready);
}

/* ---- or does not ---- */

/* A start may take as long as it progresses, but not for ever. */
static bool
is_too_long(struct shim *s, uint64_t now, struct err *ret_why)
{
    quantity_text text;
    uint64_t stall = s->model->start_stall_limit_us, most = s->model->start_max_us;
    const char *where = s->hindrance[0] ? s->hindrance : s->state.status;
    bool told = start_has_verdict(s);
    if (now - s->started_at >= most)
        (void)err_set(ret_why, ERR_ENGINE_START, "the start took longer than start_max, %s (%s)",
                      quantity_print_us(most, text), where);
    else if (told &&
             (now - MAX(s->verdict_at, s->news_at) >= VERDICT_MAX_US || now - s->news_at >= stall))
        *ret_why = s->progress.why;
    else if (now - s->news_at >= stall && s->stranger)
        start_tell_port(s, ret_why);
    else if (now - s->news_at >= stall)
        (void)err_set(ret_why, ERR_ENGINE_START, "no progress for start_stall_limit, %s (%s)",
                      quantity_print_us(stall, text), where);
    else
        return false;
    return true;
}

void
start_tick(struct shim *s, uint64_t now)
{
    struct err why;
    if (s->state.phase == RUN_STARTING && is_too_long(s, now, &why))
        leave(s, &why);
}

void
start_begin(struct shim *s)
{
    s->poll.expired = on_poll;
    room_take(s, launch, leave);
}
