#include "sim/boot.h"

#include "base/text.h"
#include "sim/call.h"
#include "sim/port.h"
#include "sim/say.h"
#include "sim/sim.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GRAPH_COUNT 67 /* of the default sizes */
#define GRAPH_PIECES 5
#define LINE_BYTES_MAX (64 * KIB)

enum when { ALWAYS, GRAPHS };

/* What comes after an action. */
enum outcome {
    GOES_ON,
    ORDERED, /* when the processes have answered: what follows */
    ASKED,   /* then: the action again */
    PIECES,  /* the action again, in a while */
    STUCK,   /* nothing */
};

#define DO(action, ...) static enum outcome do_##action(struct sim *sim);
#define LINE(...)
#include "sim/boot.def"
#undef DO
#undef LINE

static const struct row {
    enum say_who who;
    enum when when;
    unsigned first, last, share;
    const char *place; /* NULL: an action */
    const char *text;
    enum outcome (*act)(struct sim *sim);
} rows[] = {
#define LINE(who, when, first, last, share, place, text) \
    {SAY_##who, when, first, last, share, place, text, NULL},
#define DO(action, when, first, last, share, what) \
    {SAY_BARE, when, first, last, share, NULL, what, do_##action},
#include "sim/boot.def"
#undef DO
#undef LINE
};

static void go_on(struct sim *sim);

/* ---- figures in lines ---- */

static double
gib(uint64_t bytes)
{
    return (double)bytes / (double)GIB;
}

static void
add_grouped(struct buf *out, uint64_t n)
{
    char digits[24];
    int len = snprintf(digits, sizeof(digits), "%" PRIu64, n);
    for (int i = 0; i < len; i++) {
        if (i && (len - i) % 3 == 0)
            buf_add_char(out, ',');
        buf_add_char(out, digits[i]);
    }
}

static void
add_tasks(struct buf *out, const char *list)
{
    buf_add_char(out, '[');
    for (bool first = true; *list; first = false) {
        size_t len = strcspn(list, ",");
        buf_printf(out, "%s'%.*s'", first ? "" : ", ", (int)len, list);
        list += len;
        list += *list == ',';
    }
    buf_add_char(out, ']');
}

static void
add_config(struct buf *out, const struct settings *s, const char *name)
{
    if (text_eq(name, "version"))
        buf_add_str(out, s->version);
    else if (text_eq(name, "model"))
        buf_add_str(out, s->model);
    else if (text_eq(name, "given"))
        buf_printf(out, "{%s}", s->given.data);
    else if (text_eq(name, "architecture"))
        buf_add_str(out, "LlamaForCausalLM");
    else if (text_eq(name, "max_len"))
        buf_add_u64(out, s->max_model_len);
    else if (text_eq(name, "len_tokens"))
        add_grouped(out, s->max_model_len);
    else if (text_eq(name, "step_tokens"))
        buf_add_u64(out, s->max_batched_tokens);
    else if (text_eq(name, "dtype"))
        buf_printf(out, "torch.%s", text_eq(s->dtype, "auto") ? "bfloat16" : s->dtype);
    else if (text_eq(name, "tensor_parallel"))
        buf_add_u64(out, s->tensor_parallel);
    else if (text_eq(name, "pipeline_parallel"))
        buf_add_u64(out, s->pipeline_parallel);
    else if (text_eq(name, "quantization"))
        buf_add_str(out, s->quantization ? s->quantization : "None");
    else if (text_eq(name, "eager"))
        buf_add_str(out, s->eager ? "True" : "False");
    else if (text_eq(name, "tasks"))
        add_tasks(out, s->tasks);
}

static void
add_figure(struct buf *out, const struct sim *sim, unsigned rank, const char *name)
{
    const struct memory *m = &sim->memory;
    size_t before = out->len;
    const char *cache = getenv("VLLM_CACHE_ROOT");
    add_config(out, &sim->settings, name);
    if (out->len > before)
        return;
    if (text_starts(name, "s:"))
        buf_printf(out, "%.2f",
                   (double)sim->boot.load_us * strtod(name + 2, NULL) / 1000 / 1000000);
    else if (text_eq(name, "rank"))
        buf_add_u64(out, rank);
    else if (text_eq(name, "world"))
        buf_add_u64(out, sim->ranks);
    else if (text_eq(name, "weights_gib"))
        buf_printf(out, "%.4f", gib(m->weights_bytes));
    else if (text_eq(name, "graphs_gib"))
        buf_printf(out, "%.2f", gib(m->graphs_bytes));
    else if (text_eq(name, "kv_gib"))
        buf_printf(out, "%.2f", (double)m->kv_bytes / (double)GIB);
    else if (text_eq(name, "kv_tokens"))
        add_grouped(out, m->tokens);
    else if (text_eq(name, "concurrency"))
        buf_printf(out, "%.2f", (double)m->tokens / (double)sim->settings.max_model_len);
    else if (text_eq(name, "blocks"))
        buf_add_u64(out, m->blocks);
    else if (text_eq(name, "cache"))
        buf_add_str(out, cache ? cache : "~/.cache/vllm");
    else if (text_eq(name, "url"))
        buf_add_str(out, sim->boot.where.data);
    else if (text_eq(name, "pid"))
        buf_add_u64(out, (uint64_t)getpid());
    else
        assert(false); /* a figure of boot.def that nobody knows */
}

static void
fill(struct buf *out, const struct sim *sim, unsigned rank, const char *text)
{
    char name[32];
    while (*text) {
        size_t len = strcspn(text, "{");
        buf_add(out, text, len);
        text += len;
        if (!*text)
            return;
        len = strcspn(++text, "}");
        (void)snprintf(name, sizeof(name), "%.*s", (int)len, text);
        add_figure(out, sim, rank, name);
        text += len + 1;
    }
}

static void
speak(const struct sim *sim, const struct row *row)
{
    unsigned ranks = row->who == SAY_WORKERS ? sim->ranks : 1;
    enum say_level level = text_eq(row->place, "-") ? SAY_PLAIN : SAY_INFO;
    for (unsigned rank = 0; rank < ranks; rank++) {
        _cleanup_buf_ struct buf line = BUF_INIT(LINE_BYTES_MAX);
        fill(&line, sim, rank, row->text);
        if (row->who == SAY_WORKERS)
            say_worker(rank, level, row->place, "%s", line.data);
        else
            say(row->who, level, row->place, "%s", line.data);
    }
}

/* ---- failures ---- */

static void
say_trace(enum say_who who, enum say_level level, const char *file, unsigned line,
          const char *function, const char *code)
{
    static const char place[] = "core.py:708";
    say(who, level, place,
        "  File \"/opt/venv/lib/python3.12/site-packages/vllm/%s\", line %u, in %s", file, line,
        function);
    if (code)
        say(who, level, place, "    %s", code);
}

/* The API server's own last words. */
static void
say_server_failed(void)
{
    say(SAY_API, SAY_PLAIN, "-", "Traceback (most recent call last):");
    say(SAY_API, SAY_PLAIN, "-", "  File \"/opt/venv/bin/vllm\", line 8, in <module>");
    say(SAY_API, SAY_PLAIN, "-", "    sys.exit(main())");
    say_trace(SAY_API, SAY_PLAIN, "v1/engine/utils.py", 732, "wait_for_engine_startup",
              "raise RuntimeError(\"Engine core initialization failed. \"");
    say(SAY_API, SAY_PLAIN, "-",
        "RuntimeError: Engine core initialization failed. See root cause above. Failed core "
        "proc(s): "
        "{}");
}

static void boot_fail(struct sim *sim, const char *file, unsigned line, const char *function,
                      const char *fmt, ...) printf_like(5, 6);

/* The core raises an error, and the server gives up. */
static void
boot_fail(struct sim *sim, const char *file, unsigned line, const char *function, const char *fmt,
          ...)
{
    _cleanup_buf_ struct buf error = BUF_INIT(LINE_BYTES_MAX);
    va_list args;
    va_start(args, fmt);
    buf_vprintf(&error, fmt, args);
    va_end(args);
    say(SAY_CORE, SAY_ERROR, "core.py:708", "EngineCore failed to start.");
    say(SAY_CORE, SAY_ERROR, "core.py:708", "Traceback (most recent call last):");
    say_trace(SAY_CORE, SAY_ERROR, "v1/engine/core.py", 699, "run_engine_core",
              "engine_core = EngineCoreProc(*args, **kwargs)");
    say_trace(SAY_CORE, SAY_ERROR, file, line, function, NULL);
    say(SAY_CORE, SAY_ERROR, "core.py:708", "%s", error.data);
    say(SAY_CORE, SAY_PLAIN, "-", "Process EngineCore_DP0:");
    say(SAY_CORE, SAY_PLAIN, "-", "Traceback (most recent call last):");
    say_trace(SAY_CORE, SAY_PLAIN, "v1/engine/core.py", 712, "run_engine_core", "raise e");
    say(SAY_CORE, SAY_PLAIN, "-", "%s", error.data);
    say_server_failed();
    life_end(sim, 1);
}

static bool
has_fault(const struct sim *sim, enum fault fault)
{
    return faults_hold(&sim->faults, fault);
}

static void
fail_of_memory(struct sim *sim, const char *file, unsigned line, const char *function,
               uint64_t tried_bytes, const struct cores_answer *answer)
{
    boot_fail(sim, file, line, function,
              "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate %.2f GiB. GPU 0 has a "
              "total capacity of %.2f GiB of which %.2f GiB is free. Including non-PyTorch memory, "
              "this process has %.2f GiB memory in use. Of the allocated memory %.2f GiB is "
              "allocated by PyTorch, and 42.55 MiB is reserved by PyTorch but unallocated. If "
              "reserved but unallocated memory is large try setting "
              "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True to avoid fragmentation.",
              gib(tried_bytes), gib(answer->total_bytes), gib(answer->free_bytes),
              gib(answer->own_bytes), gib(answer->own_bytes));
}

/* ---- actions ---- */

static void
fail_of_port(struct sim *sim)
{
    static const char at[] = "  File \"/opt/venv/lib/python3.12/site-packages/vllm/entrypoints/"
                             "openai/api_server.py\", line ";
    say(SAY_API, SAY_PLAIN, "-", "Traceback (most recent call last):");
    say(SAY_API, SAY_PLAIN, "-", "%s1874, in setup_server", at);
    say(SAY_API, SAY_PLAIN, "-", "    sock = create_server_socket(sock_addr)");
    say(SAY_API, SAY_PLAIN, "-", "%s1822, in create_server_socket", at);
    say(SAY_API, SAY_PLAIN, "-", "    sock.bind(addr)");
    say(SAY_API, SAY_PLAIN, "-", "OSError: [Errno 98] Address already in use");
    life_end(sim, 1);
}

static enum outcome
do_PORT(struct sim *sim)
{
    struct err err;
    int fd = has_fault(sim, FAULT_PORT_TAKEN) ? -EADDRINUSE
                                              : port_bind(&sim->settings, &sim->boot.where, &err);
    if (fd == -EADDRINUSE) {
        fail_of_port(sim);
        return STUCK;
    }
    if (fd < 0) {
        say(SAY_API, SAY_PLAIN, "-", "OSError: %s", err.what);
        life_end(sim, 1);
        return STUCK;
    }
    sim->boot.fd = fd;
    return GOES_ON;
}

static enum outcome
do_PROCESSES(struct sim *sim)
{
    int gpus[CORES_RANKS_MAX];
    struct err err;
    bool some = settings_gpu(0, UINT32_MAX) >= 0;
    for (unsigned rank = 0; rank < sim->ranks; rank++)
        gpus[rank] = settings_gpu(rank, 16);
    sim->cores.gpu_bytes = sim->settings.gpu_bytes;
    sim->cores.ranks = sim->ranks;
    say_flush(); /* else they would have it too */
    if (cores_start(&sim->cores, sim->loop, gpus, &err) < 0) {
        say(SAY_API, SAY_PLAIN, "-", "RuntimeError: %s", err.what);
        life_end(sim, 1);
        return STUCK;
    }
    say_set_core(sim->cores.core.pid);
    if (some && gpus[sim->ranks - 1] < 0) {
        boot_fail(sim, "v1/worker/gpu_worker.py", 171, "init_device",
                  "RuntimeError: CUDA error: invalid device ordinal");
        return STUCK;
    }
    cores_tell(&sim->cores, ORDER_HELLO, 0);
    return ORDERED;
}

static void
fail_of_nccl(struct sim *sim)
{
    boot_fail(sim, "distributed/device_communicators/pynccl.py", 99, "__init__",
              "torch.distributed.DistBackendError: NCCL error in: "
              "/pytorch/torch/csrc/distributed/c10d/NCCLUtils.hpp:268, unhandled system error (run "
              "with NCCL_DEBUG=INFO for details), NCCL version 2.27.3");
}

/* The first thing after HELLO: from here on the processes have their names in the log. */
static enum outcome
do_MEET(struct sim *sim)
{
    for (unsigned rank = 0; rank < sim->ranks && sim->ranks > 1; rank++)
        say_set_worker(rank, sim->cores.answers[rank].pid);
    for (unsigned rank = 0; rank < sim->ranks && has_fault(sim, FAULT_KEEP_MEMORY); rank++)
        cores_tell_one(&sim->cores, (int)rank, ORDER_KEEP);
    for (int rank = sim->ranks > 1 ? -1 : 0; rank < (int)sim->ranks; rank++) {
        if (has_fault(sim, FAULT_STAY))
            cores_tell_one(&sim->cores, rank, ORDER_STAY);
        if (has_fault(sim, FAULT_IGNORE_SIGTERM))
            cores_tell_one(&sim->cores, rank, ORDER_NO_TERM);
    }
    faults_enter(&sim->faults, sim->loop, PHASE_LOADING);
    if (has_fault(sim, FAULT_NCCL_HANG))
        return STUCK;
    if (has_fault(sim, FAULT_NCCL_ERROR)) {
        fail_of_nccl(sim);
        return STUCK;
    }
    if (sim->state == SIM_ENDED)
        return STUCK;
    cores_tell(&sim->cores, ORDER_MEMORY, 0);
    return ORDERED;
}

static enum outcome
do_FREE_MEMORY(struct sim *sim)
{
    const struct cores_answer *least = &sim->cores.answers[0];
    for (unsigned rank = 1; rank < sim->ranks; rank++)
        if (sim->cores.answers[rank].free_bytes < least->free_bytes)
            least = &sim->cores.answers[rank];
    struct cores_answer answer = *least;
    memory_plan(&sim->memory, &sim->settings, sim->ranks, answer.total_bytes);
    if (has_fault(sim, FAULT_NO_FREE_MEMORY))
        answer.free_bytes = MIN(answer.free_bytes, sim->memory.wanted_bytes / 2);
    if (answer.free_bytes < sim->memory.wanted_bytes) {
        boot_fail(sim, "v1/worker/gpu_worker.py", 187, "init_device",
                  "ValueError: Free memory on device %s(%.2f/%.2f GiB) on startup is less than "
                  "desired GPU memory utilization (%g, %.2f GiB). Decrease GPU memory utilization "
                  "or reduce GPU memory used by other processes.",
                  sim->settings.release < 13 ? "" : "cuda:0 ", gib(answer.free_bytes),
                  gib(answer.total_bytes), sim->settings.gpu_memory_utilization,
                  gib(sim->memory.wanted_bytes));
        return STUCK;
    }
    cores_tell(&sim->cores, ORDER_TAKE, sim->memory.working_bytes);
    return ORDERED;
}

static void
say_shard(const struct sim *sim, unsigned done, bool begun)
{
    unsigned total = sim->boot.total;
    unsigned each_s = (unsigned)(sim->boot.part_us / 1000000);
    double each = (double)sim->boot.part_us / 1e6;
    if (begun)
        say(SAY_WORKERS, SAY_PLAIN, "-",
            "Loading safetensors checkpoint shards: %3u%% Completed | %u/%u [%02u:%02u<%02u:%02u, "
            "%5.2fs/it]",
            100 * done / total, done, total, done * each_s / 60, done * each_s % 60,
            (total - done) * each_s / 60, (total - done) * each_s % 60, each);
    else
        say(SAY_WORKERS, SAY_PLAIN, "-",
            "Loading safetensors checkpoint shards: %3u%% Completed | %u/%u [00:00<?, ?it/s]", 0, 0,
            total);
}

/* Takes the memory first, then reads file after file into it. */
static enum outcome
do_WEIGHTS(struct sim *sim)
{
    struct boot *s = &sim->boot;
    if (!s->total) {
        s->total = (unsigned)sim->settings.shards;
        cores_tell(&sim->cores, ORDER_TAKE, sim->memory.weights_bytes);
        return ASKED;
    }
    const struct cores_answer *answer = &sim->cores.answers[0];
    if (has_fault(sim, FAULT_LOAD_OOM) || answer->r == -ENOMEM) {
        fail_of_memory(sim, "v1/worker/gpu_model_runner.py", 2635, "load_model",
                       sim->memory.weights_bytes / s->total, answer);
        return STUCK;
    }
    say_shard(sim, s->done, s->done > 0);
    if (s->done == 1 && has_fault(sim, FAULT_LOAD_HANG))
        return STUCK;
    if (s->done < s->total)
        return PIECES;
    say_shard(sim, s->done, true);
    say(SAY_WORKERS, SAY_PLAIN, "-", "%s", "");
    return GOES_ON;
}

static void
fail_of_length(struct sim *sim)
{
    const struct settings *s = &sim->settings;
    uint64_t fits = MIN(sim->memory.tokens, s->max_model_len - 1);
    boot_fail(sim, "v1/core/kv_cache_utils.py", 641, "_check_enough_kv_cache_memory",
              "ValueError: To serve at least one request with the model's max seq len (%" PRIu64
              "), (%.2f GiB KV cache is needed, which is larger than the available KV cache memory "
              "(%.2f GiB). Based on the available memory, the estimated maximum model length is "
              "%" PRIu64 ". Try increasing `gpu_memory_utilization` or decreasing `max_model_len` "
              "when initializing the engine.",
              s->max_model_len, gib(memory_of_tokens(s, sim->ranks, s->max_model_len)),
              gib(memory_of_tokens(s, sim->ranks, fits)), fits);
}

static enum outcome
do_CACHE(struct sim *sim)
{
    struct memory *m = &sim->memory;
    if (sim->boot.told) {
        if (sim->cores.answers[0].r == 0)
            return GOES_ON;
        fail_of_memory(sim, "v1/worker/gpu_model_runner.py", 3895, "_allocate_kv_cache_tensors",
                       (uint64_t)m->kv_bytes, &sim->cores.answers[0]);
        return STUCK;
    }
    if (has_fault(sim, FAULT_KV_TOO_SMALL))
        m->tokens = sim->settings.max_model_len / 2;
    if (has_fault(sim, FAULT_NO_KV) || m->blocks == 0) {
        boot_fail(sim, "v1/core/kv_cache_utils.py", 632, "_check_enough_kv_cache_memory",
                  "ValueError: No available memory for the cache blocks. Try increasing "
                  "`gpu_memory_utilization` when initializing the engine.");
        return STUCK;
    }
    if (m->tokens < sim->settings.max_model_len) {
        fail_of_length(sim);
        return STUCK;
    }
    cores_tell(&sim->cores, ORDER_TAKE, (uint64_t)MAX(m->kv_bytes, 0));
    return ASKED;
}

static enum outcome
do_CAPTURE(struct sim *sim)
{
    struct boot *s = &sim->boot;
    if (!s->total) {
        s->total = GRAPH_PIECES;
        cores_tell(&sim->cores, ORDER_TAKE, sim->memory.graphs_bytes);
        return ASKED;
    }
    unsigned percent = 100 * s->done / s->total;
    say(SAY_WORKERS, SAY_PLAIN, "-",
        "Capturing CUDA graphs (mixed prefill-decode, PIECEWISE): %3u%%| %u/%d [00:00<00:00, "
        "10.00it/s]",
        percent, GRAPH_COUNT * s->done / s->total, GRAPH_COUNT);
    if (has_fault(sim, FAULT_GRAPH_OOM) || sim->cores.answers[0].r == -ENOMEM) {
        fail_of_memory(sim, "v1/worker/gpu_model_runner.py", 3480, "capture_model",
                       sim->memory.graphs_bytes, &sim->cores.answers[0]);
        return STUCK;
    }
    return s->done < s->total ? PIECES : GOES_ON;
}

static enum outcome
do_ROUTES(struct sim *sim)
{
    call_say_routes(sim);
    return GOES_ON;
}

static enum outcome
do_LISTEN(struct sim *sim)
{
    struct err err;
    int fd = sim->boot.fd;
    sim->boot.fd = -1;
    sim->batch.blocks = sim->batch.free_blocks = sim->memory.blocks; /* who connects may ask */
    int r = port_listen(fd, &err);
    if (r == 0)
        r = http_server_listen(sim->server, fd, &err);
    if (r == 0)
        return GOES_ON;
    cleanup_close(&fd);
    if (r == -EADDRINUSE) { /* who listens is first, whoever bound it first */
        say(SAY_API, SAY_PLAIN, "-", "INFO:     Application startup complete.");
        fail_of_port(sim);
        return STUCK;
    }
    say(SAY_API, SAY_PLAIN, "-", "OSError: %s", err.what);
    life_end(sim, 1);
    return STUCK;
}

static enum outcome
do_READY(struct sim *sim)
{
    life_ready(sim);
    return GOES_ON;
}

/* ---- the script ---- */

static bool
applies(const struct sim *sim, const struct row *row)
{
    unsigned release = sim->settings.release;
    return release >= row->first && release <= row->last &&
           (row->when == ALWAYS || !sim->settings.eager);
}

static uint64_t
time_of(const struct sim *sim, const struct row *row)
{
    return sim->boot.load_us / 1000 * row->share;
}

static void
on_timer(struct loop_timer *timer)
{
    go_on(container_of(timer, struct sim, boot.timer));
}

static void
later(struct sim *sim, uint64_t after_us)
{
    loop_timer_start(sim->loop, &sim->boot.timer, after_us, 0);
}

/* True: what follows is next. */
static bool
act(struct sim *sim, const struct row *row)
{
    struct boot *s = &sim->boot;
    s->asked = false;
    switch (row->act(sim)) {
    case GOES_ON:
        s->done = s->total = 0;
        s->told = false;
        return true;
    case ASKED:
        s->asked = true;
        return false;
    case PIECES:
        s->part_us = time_of(sim, row) / s->total;
        s->done++;
        later(sim, s->part_us);
        return false;
    case ORDERED:
    case STUCK:
        break;
    }
    return false;
}

static void
pass(struct sim *sim)
{
    struct boot *s = &sim->boot;
    do
        s->row++;
    while (s->row < ARRAY_SIZE(rows) && !applies(sim, &rows[s->row]));
}

/* Does what the row at hand says, and those after it that need no time. */
static void
go_on(struct sim *sim)
{
    struct boot *s = &sim->boot;
    while (s->row < ARRAY_SIZE(rows) && sim->state == SIM_LOADING) {
        const struct row *row = &rows[s->row];
        if (row->act && !act(sim, row))
            return;
        if (!row->act)
            speak(sim, row);
        pass(sim);
        if (s->row < ARRAY_SIZE(rows) && !rows[s->row].act && time_of(sim, &rows[s->row]) > 0) {
            later(sim, time_of(sim, &rows[s->row]));
            return;
        }
    }
}

void
boot_told(struct sim *sim)
{
    if (sim->state != SIM_LOADING)
        return;
    sim->boot.told = sim->boot.asked;
    if (!sim->boot.asked)
        pass(sim);
    go_on(sim);
}

void
boot_core_died(struct sim *sim)
{
    say_server_failed();
    life_end(sim, 1);
}

void
boot_begin(struct sim *sim)
{
    struct boot *s = &sim->boot;
    s->fd = -1;
    buf_init(&s->where, 8 * KIB);
    s->timer.expired = on_timer;
    s->load_us = sim->settings.load_us * (has_fault(sim, FAULT_SLOW_LOAD) ? 10 : 1);
    s->row = 0;
    if (!applies(sim, &rows[0]))
        pass(sim);
    later(sim, time_of(sim, &rows[s->row]));
}

void
boot_finish(struct sim *sim)
{
    loop_timer_stop(&sim->boot.timer);
    cleanup_close(&sim->boot.fd);
    sim->boot.fd = -1;
    buf_finish(&sim->boot.where);
}
