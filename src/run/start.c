/* From nothing to an engine that answers: the start lock, GPUs, their memory, the process. */

#include "run/shim_int.h"

#include "base/quantity.h"
#include "base/text.h"
#include "gpu/memory.h"
#include "run/place.h"
#include "run/wish.h"
#include "sys/files.h"
#include "sys/kin.h"
#include "sys/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MEMORY_WAIT_US (60 * 1000000ULL) /* for memory that somebody is giving back */
#define MEMORY_RETRY_US (2 * 1000000ULL)
#define POLL_US \
    (250 * 1000ULL) /* of /health; four times longer once the start is ten seconds old */
#define READ_BYTES (16 * KIB)
#define READS_MAX 16 /* a pass: others want their turn too */

static void look_at_gpus(struct shim *s);
static void launch(struct shim *s);

/* ---- the start lock ---- */

static void
try_lock(struct shim *s)
{
    struct gpu_holder holder;
    struct err err;
    int r = gpu_start_try(&s->start, s->config->paths.run, s->model->name, &holder, &err);
    if (r == 0) {
        shim_phase(s, RUN_WAITING_START, "waiting: %s is being started",
                   holder.name[0] ? holder.name : "another model");
        r = loop_fd_start(s->loop, &s->start_wait, s->start.wait_fd, LOOP_HANGUP);
        if (r < 0)
            (void)err_set_errno(&err, -r, "waiting for the start lock");
    } else if (r > 0) {
        s->has_start = true;
        look_at_gpus(s);
        return;
    }
    if (r < 0)
        leave(s, &err);
}

static void
on_lock_free(struct loop_fd *watch, unsigned events unused_arg)
{
    struct shim *s = container_of(watch, struct shim, start_wait);
    loop_fd_stop(watch);
    try_lock(s);
}

static void
release_lock(struct shim *s)
{
    loop_fd_stop(&s->start_wait);
    gpu_start_release(&s->start);
    s->has_start = false;
}

/* ---- GPUs and their memory ---- */

/* A driver that is not installed will not come by waiting; one that is sick may recover. */
static void
leave_without_gpus(struct shim *s, const struct err *cause)
{
    struct err err;
    bool never = cause->id == ERR_GPU_NO_LIBRARY;
    (void)err_set(&err, never ? ERR_ENGINE_CONFIG : ERR_ENGINE_NOT_NOW, "%s needs a GPU: %s",
                  s->kind->name, cause->what);
    err_fix(&err, "%s", cause->fix[0] ? cause->fix : "install the NVIDIA driver");
    leave(s, &err);
}

static int
take_lease(struct shim *s, const struct gpu_inventory *inventory, struct err *reterr)
{
    _cleanup_gpu_leases_ struct gpu_leases leases = {0};
    const struct place_wish wish = {.devices = s->model->gpus.items,
                                    .device_count = s->model->gpus.count,
                                    .count = run_wish_gpu_count(s->model),
                                    .fraction = s->model->gpu_memory_fraction};
    int r = gpu_leases_read(&leases, s->config->paths.run, reterr);
    if (r == 0)
        r = place_choose(&wish, inventory, &leases, &s->lease, s->gpus, reterr);
    if (r < 0)
        return r;
    (void)snprintf(s->lease.holder.name, sizeof(s->lease.holder.name), "%s", s->model->name);
    r = gpu_lease_take(&s->lease, s->config->paths.run, 0, reterr);
    s->has_lease = r == 0;
    return r;
}

static const struct gpu *
find_gpu(const struct gpu_inventory *inventory, const char *uuid)
{
    for (size_t i = 0; i < inventory->count; i++)
        if (text_eq(inventory->gpus[i].uuid, uuid))
            return &inventory->gpus[i];
    return NULL;
}

static int
check_memory(struct shim *s, const struct gpu_inventory *inventory, struct err *reterr)
{
    for (size_t i = 0; i < s->lease.part_count; i++) {
        const struct gpu *gpu = find_gpu(inventory, s->lease.parts[i].uuid);
        if (!gpu)
            return err_set(reterr, ERR_GPU_SICK, "GPU %s has gone", s->lease.parts[i].uuid);
        int r = gpu_memory_check_free(gpu, s->lease.parts[i].bytes, reterr);
        if (r < 0)
            return r;
        s->used_before[i] = gpu->memory_used_bytes.n;
    }
    return 0;
}

static void
on_looked(struct look *look, const struct gpu_inventory *inventory, const struct err *cause)
{
    struct shim *s = container_of(look, struct shim, look);
    struct err err;
    if (!inventory && run_wish_gpus(s->model) == RUN_GPUS_ALWAYS) {
        leave_without_gpus(s, cause);
        return;
    }
    if (!inventory) {
        log_info("%s: runs without a GPU: %s", s->model->name, cause->what);
        launch(s);
        return;
    }
    int r = s->has_lease ? 0 : take_lease(s, inventory, &err);
    if (r < 0) {
        leave(s, &err);
        return;
    }
    r = check_memory(s, inventory, &err);
    if (r == 0) {
        launch(s);
    } else if (r == -EAGAIN && shim_now(s) - s->memory_since < MEMORY_WAIT_US) {
        shim_status(s, "waiting for memory: %s", err.what);
        loop_timer_start(s->loop, &s->retry, MEMORY_RETRY_US, 0);
    } else {
        leave(s, &err);
    }
}

static void
look_at_gpus(struct shim *s)
{
    struct err err;
    if (s->memory_since == 0) {
        s->memory_since = shim_now(s);
        shim_phase(s, RUN_WAITING_MEMORY, "looking at the GPUs");
    }
    s->look.done = on_looked;
    if (look_start(s->loop, &s->look, &err) < 0)
        leave(s, &err);
}

static void
on_retry(struct loop_timer *timer)
{
    look_at_gpus(container_of(timer, struct shim, retry));
}

/* ---- the engine's log ---- */

/* To our own log, unless that does not keep up: the engine must never wait for a reader. */
static void
pass_on(const char *line, size_t len)
{
    char out[ENGINE_LINE_MAX];
    struct pollfd fd = {.fd = STDERR_FILENO, .events = POLLOUT};
    size_t used = MIN(len, sizeof(out) - 1);
    memcpy(out, line, used);
    out[used++] = '\n';
    if (poll(&fd, 1, 0) == 1 && (fd.revents & POLLOUT))
        (void)!write(STDERR_FILENO, out, used);
}

static void
take_line(const char *line, size_t len, void *arg)
{
    struct shim *s = arg;
    engine_progress_line(&s->progress, line);
    text_make_safe(s->last_line, sizeof(s->last_line),
                   snprintf(s->last_line, sizeof(s->last_line), "%s", line + strspn(line, " ")));
    pass_on(line, len);
}

static void
tell_progress(struct shim *s)
{
    _cleanup_buf_ struct buf text = BUF_INIT(sizeof(s->state.status));
    if (s->state.phase != RUN_STARTING || s->news == s->progress.news)
        return;
    s->news = s->progress.news;
    s->news_at = shim_now(s);
    engine_progress_print(&s->progress, &text);
    shim_status(s, "%s", text.data);
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
    size_t count = s->has_lease ? s->lease.part_count : 0;
    return run_wish_build(s->config, s->model, s->has_version ? &s->version : NULL, s->gpus, count,
                          &s->arena, ret_command, reterr);
}

static int
make_places(struct shim *s, struct err *reterr)
{
    const char *cache =
        arena_printf(&s->arena, "%s/cache/%s", s->config->paths.models, s->model->name);
    if (!cache)
        return err_set(reterr, ERR_TOO_LARGE, "the paths are too long");
    return file_make_dirs(cache, 0755, reterr);
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
    if (r < 0)
        return err_set_errno(reterr, -r, "watching the engine");
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
    for (const char *const *w = r == 0 ? command.warnings : NULL; w && *w; w++)
        log_warning("%s", *w);
    s->state.gpu_count = s->has_lease ? s->lease.part_count : 0;
    memcpy(s->state.gpus, s->gpus, s->state.gpu_count * sizeof(*s->gpus));
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
    if (s->state.phase != RUN_STARTING)
        return;
    watch_poll(s);
    bool young = shim_now(s) - s->started_at < 10 * 1000000ULL;
    loop_timer_start(s->loop, timer, young ? POLL_US : 4 * POLL_US, 0);
}

/* ---- in and out ---- */

void
start_begin(struct shim *s)
{
    s->start_wait.ready = on_lock_free;
    s->retry.expired = on_retry;
    s->poll.expired = on_poll;
    if (run_wish_gpus(s->model) == RUN_GPUS_NEVER)
        launch(s);
    else
        try_lock(s);
}

/* A start may take as long as it progresses, but not for ever. */
void
start_tick(struct shim *s, uint64_t now)
{
    quantity_text text;
    struct err err;
    uint64_t stall = s->model->start_stall_limit_us, most = s->model->start_max_us;
    if (s->state.phase != RUN_STARTING)
        return;
    if (now - s->started_at >= most) {
        (void)err_set(&err, ERR_ENGINE_START, "the start took longer than start_max, %s (%s)",
                      quantity_print_us(most, text), s->state.status);
    } else if (now - s->news_at >= stall) {
        (void)err_set(&err, ERR_ENGINE_START, "no progress for start_stall_limit, %s (%s)",
                      quantity_print_us(stall, text), s->state.status);
    } else {
        return;
    }
    err_fix(&err, "see its log: citadel logs %s", s->model->name);
    leave(s, &err);
}

/* What belongs to the start alone. */
void
start_finish(struct shim *s)
{
    loop_timer_stop(&s->retry);
    loop_timer_stop(&s->poll);
    look_stop(&s->look);
    release_lock(s);
}
