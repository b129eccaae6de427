/* What a unit may touch: files, devices, calls, the network, memory, secrets. */

#include "base/text.h"
#include "secrets/use.h"
#include "sys/root.h"
#include "unit/unit_int.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- files ---- */

static bool
is_below(const char *path, const char *dir)
{
    size_t len = strlen(dir);
    return text_starts(path, dir) && (path[len] == '/' || path[len] == '\0');
}

/* Whether what the services use has a part of it there. */
static bool
has_path_below(const struct unit_draft *d, const char *dir)
{
    const struct config *c = d->config;
    const char *paths[] = {
        c->paths.root,         c->paths.models, c->paths.backup,    c->paths.vllm_env,
        c->paths.llama_server, c->paths.logs,   c->paths.state,     c->paths.run,
        c->paths.generations,  d->in->program,  d->in->config_file, c->gateway.keys_file,
        c->backup.repository,  c->backup.ca,    c->backup.ssh_key,  c->backup.ssh_known_hosts,
        d->in->plan->vllm.env,
    };
    for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
        if (paths[i] && is_below(root_strip(paths[i]), dir))
            return true;
    for (size_t i = 0; i < c->models.count; i++)
        if (is_below(root_strip(c->models.items[i].path), dir))
            return true;
    return false;
}

static bool
is_local(const struct unit_draft *d)
{
    const char *to = d->config->backup.copy.to;
    return d->config->backup.repository[0] == '/' && (!to || to[0] == '/');
}

void
lines_home(struct unit_draft *d)
{
    /* ssh has its keys there. */
    bool used = (d->kind & UNIT_SAVING && !is_local(d)) || has_path_below(d, "/home") ||
                has_path_below(d, "/root") || has_path_below(d, "/run/user");
    draft_linef(d, used ? "read-only" : "yes");
}

void
lines_temporary(struct unit_draft *d)
{
    bool used = has_path_below(d, "/tmp") || has_path_below(d, "/var/tmp");
    draft_linef(d, used ? "no" : "yes");
}

static void path_line(struct unit_draft *d, const char *before, const char *fmt, ...)
    printf_like(3, 4);

/* before: "-" where it is no harm that it is missing. */
static void
path_line(struct unit_draft *d, const char *before, const char *fmt, ...)
{
    _cleanup_buf_ struct buf path = BUF_INIT(2 * ROOT_PATH_MAX);
    va_list args;
    va_start(args, fmt);
    buf_vprintf(&path, fmt, args);
    va_end(args);
    draft_line(d, before, path.data, UNIT_WORD);
}

void
lines_model_writes(struct unit_draft *d)
{
    const struct config_paths *p = &d->config->paths;
    path_line(d, "", "%s/cache/%s", root_strip(p->models), d->model->name);
    path_line(d, "", "%s/models/%s", root_strip(p->state), d->model->name);
    path_line(d, "", "%s/leases", root_strip(p->run));
    path_line(d, "", "%s/start", root_strip(p->run));
}

/* A colon ends a path in these lines, and no quotes keep it. */
static void
check_colon(struct unit_draft *d)
{
    const char *run = d->config->paths.run;
    if (!strchr(run, ':') || d->err->id != ERR_NONE)
        return;
    (void)err_set(d->err, ERR_UNIT_TEXT,
                  "citadel-%s: paths.run is '%s', and %s= ends a path at a colon", d->name, run,
                  d->directive);
    err_fix(d->err, "set paths.run to a directory without a colon");
}

void
lines_model_hides(struct unit_draft *d)
{
    check_colon(d);
    path_line(d, "", "%s/models:ro", root_strip(d->config->paths.run));
}

void
lines_model_shows(struct unit_draft *d)
{
    path_line(d, "", "%s/models/%s", root_strip(d->config->paths.run), d->model->name);
}

void
lines_model_cannot_reach(struct unit_draft *d)
{
    path_line(d, "-", "%s/monitor", root_strip(d->config->paths.run));
    path_line(d, "-", "%s/gateway", root_strip(d->config->paths.run));
}

/* The database lies beside its journal. */
void
lines_gateway_writes(struct unit_draft *d)
{
    const char *keys = root_strip(d->config->gateway.keys_file);
    const char *slash = strrchr(keys, '/');
    path_line(d, "", "%.*s", (int)MAX(slash - keys, 1), keys);
    path_line(d, "", "%s/gateway", root_strip(d->config->paths.run));
    if (d->config->gateway.access_log == CONFIG_ACCESS_LOG_FILE || d->config->gateway.log_prompts)
        path_line(d, "", "%s/services", root_strip(d->config->paths.logs));
}

void
lines_monitor_writes(struct unit_draft *d)
{
    const struct config_paths *p = &d->config->paths;
    path_line(d, "", "%s/models", root_strip(p->state));
    path_line(d, "", "%s/monitor", root_strip(p->state));
    path_line(d, "", "%s/monitor", root_strip(p->run));
    path_line(d, "-", "%s/monitoring", root_strip(p->logs));
}

void
lines_storage_writes(struct unit_draft *d)
{
    const struct config_paths *p = &d->config->paths;
    const char *const paths[] = {p->models, p->backup, p->root, p->logs, p->state, p->run};
    for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
        path_line(d, "-", "%s", root_strip(paths[i]));
}

void
lines_state_writes(struct unit_draft *d)
{
    path_line(d, "", "%s", root_strip(d->config->paths.state));
}

void
lines_saving_writes(struct unit_draft *d)
{
    const struct config_backup *b = &d->config->backup;
    path_line(d, "-", "%s", root_strip(d->config->paths.backup));
    if (b->repository[0] == '/')
        path_line(d, "-", "%s", root_strip(b->repository));
    if (b->copy.to && b->copy.to[0] == '/')
        path_line(d, "-", "%s", root_strip(b->copy.to));
    lines_state_writes(d);
}

void
lines_staging_writes(struct unit_draft *d)
{
    path_line(d, "-", "%s/staging", root_strip(d->config->paths.models));
}

void
lines_report_writes(struct unit_draft *d)
{
    path_line(d, "-", "%s/monitoring", root_strip(d->config->paths.logs));
    path_line(d, "-", "%s/monitoring", root_strip(d->config->paths.root));
}

/* ---- devices ---- */

static void
allow_gpu(struct unit_draft *d, const struct plan_gpu *gpu)
{
    if (gpu->minor == PLAN_NO_MINOR)
        draft_linef(d, "char-nvidia* rw"); /* the driver does not tell which file is whose */
    else
        draft_linef(d, "/dev/nvidia%u rw", gpu->minor);
}

void
lines_model_devices(struct unit_draft *d)
{
    static const char *const driver[] = {"nvidiactl", "nvidia-uvm", "nvidia-uvm-tools"};
    for (size_t i = 0; d->planned->part_count && i < ARRAY_SIZE(driver); i++)
        draft_linef(d, "/dev/%s rw", driver[i]);
    for (size_t i = 0; i < d->planned->part_count; i++)
        allow_gpu(d, d->planned->parts[i].gpu);
}

void
lines_monitor_devices(struct unit_draft *d)
{
    const struct plan *plan = d->in->plan;
    draft_linef(d, "/dev/nvidiactl rw");
    for (size_t i = 0; i < plan->gpu_count; i++)
        allow_gpu(d, &plan->gpus[i]);
}

void
lines_image_devices(struct unit_draft *d)
{
    const struct config_list *devices = &d->config->backup.image.devices;
    for (size_t i = 0; i < devices->count; i++) {
        draft_begin(d);
        draft_word(d, root_strip(devices->items[i]), UNIT_WORD);
        buf_add_str(d->out, " r");
        draft_end(d);
    }
}

/* ---- calls ---- */

static bool
has_hooks(const struct config *c)
{
    const struct config_hooks *h = &c->hooks;
    for (size_t i = 0; i < c->alerts.notifiers.count; i++)
        if (c->alerts.notifiers.items[i].command.count)
            return true;
    return h->model_appeared.count || h->health_changed.count || h->deployment_ended.count ||
           h->backup_ended.count;
}

void
lines_without_hooks(struct unit_draft *d)
{
    if (!has_hooks(d->config))
        draft_linef(d, "yes");
}

void
lines_parallel_calls(struct unit_draft *d)
{
    if (plan_gpu_count(d->model) > 1)
        draft_linef(d, "pidfd_getfd mincore");
}

/* ---- the network ---- */

void
lines_remote_families(struct unit_draft *d)
{
    if (!is_local(d))
        draft_linef(d, "AF_INET AF_INET6");
}

void
lines_local_network(struct unit_draft *d)
{
    if (is_local(d))
        draft_linef(d, "yes");
}

void
lines_local_addresses(struct unit_draft *d)
{
    if (is_local(d))
        draft_linef(d, "any");
}

/* Whether a model is to be reached from here only, and reaches nobody else. */
static bool
stays_here(const struct unit_draft *d)
{
    return d->model->listen == CONFIG_LISTEN_LOOPBACK && d->config->hub.offline &&
           d->model->media.domains.count == 0;
}

void
lines_model_denies(struct unit_draft *d)
{
    if (stays_here(d))
        draft_linef(d, "any");
}

void
lines_model_allows(struct unit_draft *d)
{
    if (stays_here(d))
        draft_linef(d, "localhost");
}

/* ---- limits ---- */

void
lines_open_files(struct unit_draft *d)
{
    draft_linef(d, "%u", d->config->service.open_files);
}

void
lines_model_memory(struct unit_draft *d)
{
    if (d->model->memory_max_bytes)
        draft_linef(d, "%llu", (unsigned long long)d->model->memory_max_bytes);
}

void
lines_gateway_memory(struct unit_draft *d)
{
    const struct config_gateway_limits *l = &d->config->gateway.limits;
    uint64_t bytes = l->bodies_bytes + l->connections * 2 * l->header_bytes + 512 * MIB;
    draft_linef(d, "%llu", (unsigned long long)bytes);
}

/* ---- secrets ---- */

#define USES_BYTES MIB

static unsigned
readers_of(unsigned kind)
{
    return (kind == UNIT_MODEL ? SECRET_FOR_MODELS : 0) |
           (kind == UNIT_GATEWAY ? SECRET_FOR_GATEWAY : 0) |
           (kind == UNIT_MONITOR ? SECRET_FOR_MONITOR : 0) |
           (kind & UNIT_SAVING ? SECRET_FOR_BACKUP : 0);
}

/* Several options may ask for one of the store. */
static bool
was_told(const struct secret_use *uses, size_t i)
{
    for (size_t before = 0; before < i; before++)
        if (uses[before].secret->kind == CONFIG_SECRET_CREDENTIAL &&
            text_eq(uses[before].secret->where, uses[i].secret->where))
            return true;
    return false;
}

static size_t
uses_of(struct unit_draft *d, struct arena *arena, struct secret_use **ret_uses)
{
    size_t count = 0;
    arena_init(arena, USES_BYTES);
    if (secret_uses(d->config, arena, ret_uses, &count) < 0)
        (void)err_set(d->err, ERR_TOO_LARGE, "there are too many secrets");
    return secret_uses_of(*ret_uses, count, readers_of(d->kind));
}

static void
lines_of_store(struct unit_draft *d, enum secret_form form)
{
    _cleanup_arena_ struct arena arena;
    struct secret_use *uses = NULL;
    char file[SECRET_FILE_MAX];
    size_t count = uses_of(d, &arena, &uses);
    for (size_t i = 0; i < count; i++)
        if (uses[i].secret->kind == CONFIG_SECRET_CREDENTIAL && !was_told(uses, i))
            draft_line(d, "", secret_file_name(form, uses[i].secret->where, file), UNIT_PLAIN);
}

/* That of a secret in a file is called like its option. */
static void
lines_of_files(struct unit_draft *d)
{
    _cleanup_arena_ struct arena arena;
    struct secret_use *uses = NULL;
    size_t count = uses_of(d, &arena, &uses);
    for (size_t i = 0; i < count; i++) {
        const char *before = arena_printf(&arena, "%s:", uses[i].option);
        if (uses[i].secret->kind == CONFIG_SECRET_FILE && before)
            draft_line(d, before, root_strip(uses[i].secret->where), UNIT_PLAIN);
    }
}

void
lines_secret_files(struct unit_draft *d)
{
    lines_of_files(d);
    lines_of_store(d, SECRET_PLAIN);
}

void
lines_secret_credentials(struct unit_draft *d)
{
    lines_of_store(d, SECRET_ENCRYPTED);
}
