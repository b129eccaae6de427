/* What a unit may touch: files, devices, calls, the network, memory, secrets. */

#include "base/text.h"
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
        c->backup.repository,
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

static void writable(struct unit_draft *d, const char *before, const char *fmt, ...)
    printf_like(3, 4);

/* before: "-" where it is no harm that it is missing. */
static void
writable(struct unit_draft *d, const char *before, const char *fmt, ...)
{
    _cleanup_buf_ struct buf path = BUF_INIT(2 * ROOT_PATH_MAX);
    va_list args;
    va_start(args, fmt);
    buf_vprintf(&path, fmt, args);
    va_end(args);
    draft_line(d, before, path.data, UNIT_WORD);
}

/* The database lies beside its journal. */
static void
writable_gateway(struct unit_draft *d)
{
    const char *keys = root_strip(d->config->gateway.keys_file);
    const char *slash = strrchr(keys, '/');
    writable(d, "", "%.*s", (int)MAX(slash - keys, 1), keys);
    if (d->config->gateway.access_log == CONFIG_ACCESS_LOG_FILE)
        writable(d, "", "%s/services", root_strip(d->config->paths.logs));
}

static void
writable_storage(struct unit_draft *d)
{
    const struct config_paths *p = &d->config->paths;
    const char *const paths[] = {p->models, p->backup, p->root, p->logs, p->state};
    for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
        writable(d, "-", "%s", root_strip(paths[i]));
}

static void
writable_saving(struct unit_draft *d)
{
    const struct config_backup *b = &d->config->backup;
    writable(d, "-", "%s", root_strip(d->config->paths.backup));
    if (b->repository[0] == '/')
        writable(d, "-", "%s", root_strip(b->repository));
    if (b->copy.to && b->copy.to[0] == '/')
        writable(d, "-", "%s", root_strip(b->copy.to));
    writable(d, "", "%s", root_strip(d->config->paths.state));
    if (d->kind == UNIT_DRILL)
        writable(d, "-", "%s/staging", root_strip(d->config->paths.models));
}

void
lines_writable(struct unit_draft *d)
{
    const struct config_paths *p = &d->config->paths;
    const char *state = root_strip(p->state), *run = root_strip(p->run),
               *logs = root_strip(p->logs);
    switch (d->kind) {
    case UNIT_MODEL:
        writable(d, "", "%s/cache/%s", root_strip(p->models), d->model->name);
        writable(d, "", "%s/models", state);
        writable(d, "", "%s", run);
        break;
    case UNIT_GATEWAY:
        writable_gateway(d);
        break;
    case UNIT_MONITOR:
        writable(d, "", "%s", state);
        writable(d, "", "%s", run);
        writable(d, "-", "%s/monitoring", logs);
        break;
    case UNIT_STORAGE:
        writable_storage(d);
        break;
    case UNIT_BACKUP:
    case UNIT_IMAGE:
    case UNIT_DRILL:
        writable_saving(d);
        break;
    case UNIT_REPORT:
        writable(d, "-", "%s/monitoring", logs);
        writable(d, "-", "%s/monitoring", root_strip(p->root));
        break;
    case UNIT_GPU:
    case UNIT_HEALTH:
    default:
        writable(d, "", "%s", state);
    }
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

static void
allow_driver(struct unit_draft *d, bool computes)
{
    draft_linef(d, "/dev/nvidiactl rw");
    if (!computes)
        return;
    draft_linef(d, "/dev/nvidia-uvm rw");
    draft_linef(d, "/dev/nvidia-uvm-tools rw");
}

static void
allow_images(struct unit_draft *d)
{
    const struct config_list *devices = &d->config->backup.image.devices;
    for (size_t i = 0; i < devices->count; i++) {
        draft_begin(d);
        draft_word(d, root_strip(devices->items[i]), UNIT_WORD);
        buf_add_str(d->out, " r");
        draft_end(d);
    }
}

void
lines_devices(struct unit_draft *d)
{
    const struct plan *plan = d->in->plan;
    switch (d->kind) {
    case UNIT_MODEL:
        if (d->planned->part_count)
            allow_driver(d, true);
        for (size_t i = 0; i < d->planned->part_count; i++)
            allow_gpu(d, d->planned->parts[i].gpu);
        break;
    case UNIT_MONITOR: /* reads them all */
        allow_driver(d, false);
        for (size_t i = 0; i < plan->gpu_count; i++)
            allow_gpu(d, &plan->gpus[i]);
        break;
    case UNIT_GPU: /* and makes their files */
        draft_linef(d, "char-nvidia* rwm");
        break;
    case UNIT_HEALTH: /* asks by ioctl */
        draft_linef(d, "block-* r");
        draft_linef(d, "char-nvme* r");
        break;
    case UNIT_IMAGE:
    default:
        allow_images(d);
    }
}

/* ---- rights ---- */

void
lines_capabilities(struct unit_draft *d)
{
    switch (d->kind) {
    case UNIT_STORAGE: /* makes directories for accounts that are not root */
        draft_linef(d, "CAP_CHOWN CAP_FOWNER CAP_DAC_OVERRIDE");
        break;
    case UNIT_GPU: /* what the driver asks for, to change a setting; the files of devices */
        draft_linef(d, "CAP_SYS_ADMIN CAP_MKNOD");
        break;
    case UNIT_HEALTH: /* commands to a disk */
        draft_linef(d, "CAP_SYS_RAWIO CAP_SYS_ADMIN");
        break;
    case UNIT_BACKUP: /* reads what belongs to others */
    case UNIT_IMAGE:
        draft_linef(d, "CAP_DAC_READ_SEARCH");
        break;
    case UNIT_DRILL: /* and restores it as theirs */
        draft_linef(d, "CAP_DAC_READ_SEARCH CAP_DAC_OVERRIDE CAP_CHOWN CAP_FOWNER");
        break;
    default:
        draft_linef(d, "%s", "");
    }
}

/* What it starts was not written by us: a hook in Python, say. */
static bool
starts_foreign_commands(const struct config *c)
{
    const struct config_hooks *h = &c->hooks;
    for (size_t i = 0; i < c->alerts.notifiers.count; i++)
        if (c->alerts.notifiers.items[i].command.count)
            return true;
    return h->model_appeared.count || h->health_changed.count || h->deployment_ended.count ||
           h->backup_ended.count;
}

void
lines_no_jit(struct unit_draft *d)
{
    bool engine = d->kind & (UNIT_MODEL | UNIT_DRILL);
    bool hooks = d->kind & (UNIT_MONITOR | UNIT_SAVING) && starts_foreign_commands(d->config);
    if (!engine && !hooks)
        draft_linef(d, "yes");
}

void
lines_calls(struct unit_draft *d)
{
    draft_linef(d, "@system-service");
    switch (d->kind) {
    case UNIT_MODEL:
        draft_linef(d, "~@privileged");
        if (plan_gpu_count(d->model) > 1)
            draft_linef(d, "pidfd_getfd mincore");
        break;
    case UNIT_MONITOR:
        draft_linef(d, "~@privileged");
        break;
    case UNIT_STORAGE:
    case UNIT_GPU:
    case UNIT_DRILL:
        draft_linef(d, "~@resources"); /* chown is privileged, and so are device files */
        break;
    default:
        draft_linef(d, "~@privileged @resources");
    }
}

/* ---- the network ---- */

static bool
needs_network(const struct unit_draft *d)
{
    return d->kind & UNIT_LASTING || d->kind == UNIT_DRILL ||
           (d->kind & UNIT_SAVING && !is_local(d));
}

void
lines_families(struct unit_draft *d)
{
    if (d->kind & (UNIT_MODEL | UNIT_MONITOR))
        draft_linef(d, "AF_UNIX AF_INET AF_INET6 AF_NETLINK");
    else if (needs_network(d))
        draft_linef(d, "AF_UNIX AF_INET AF_INET6");
    else
        draft_linef(d, "AF_UNIX");
}

void
lines_no_network(struct unit_draft *d)
{
    if (!needs_network(d))
        draft_linef(d, "yes");
}

/* Whether a model is to be reached from here only, and reaches nobody else. */
static bool
stays_here(const struct unit_draft *d)
{
    return d->kind == UNIT_MODEL && d->model->listen == CONFIG_LISTEN_LOOPBACK &&
           d->config->hub.offline && d->model->media.domains.count == 0;
}

void
lines_addresses_denied(struct unit_draft *d)
{
    if (stays_here(d) || !needs_network(d))
        draft_linef(d, "any");
}

void
lines_addresses_allowed(struct unit_draft *d)
{
    if (stays_here(d))
        draft_linef(d, "localhost");
}

/* ---- memory and files ---- */

void
lines_open_files(struct unit_draft *d)
{
    draft_linef(d, "%u", d->config->service.open_files);
}

/* All bodies at once; of each connection its headers and as much again of buffers; and the rest. */
static uint64_t
gateway_bytes(const struct config_gateway_limits *limits)
{
    return limits->bodies_bytes + limits->connections * 2 * limits->header_bytes + 512 * MIB;
}

void
lines_memory_max(struct unit_draft *d)
{
    uint64_t bytes = 512 * MIB;
    if (d->kind == UNIT_MODEL)
        bytes = d->model->memory_max_bytes;
    else if (d->kind == UNIT_GATEWAY)
        bytes = gateway_bytes(&d->config->gateway.limits);
    else if (d->kind == UNIT_MONITOR)
        bytes = 2 * GIB; /* what it maps of its store counts, and can be taken back */
    else if (d->kind & UNIT_SAVING)
        bytes = 4 * GIB; /* and what is read of models */
    if (bytes)
        draft_linef(d, "%llu", (unsigned long long)bytes);
}

/* ---- secrets ---- */

/* The credential of a secret in a file is named like its option; one of systemd's store has its own
 * name. */
static void
secret_line(struct unit_draft *d, enum config_secret_kind kind, const char *option,
            const struct config_secret *secret)
{
    char before[256];
    if (secret->kind != kind)
        return;
    (void)snprintf(before, sizeof(before), "%s:", option);
    if (kind == CONFIG_SECRET_FILE)
        draft_line(d, before, root_strip(secret->where), UNIT_PLAIN);
    else
        draft_line(d, "", secret->where, UNIT_PLAIN);
}

static void
named_secret_line(struct unit_draft *d, enum config_secret_kind kind, const char *map,
                  const char *name, const char *option, const struct config_secret *secret)
{
    char full[192];
    (void)snprintf(full, sizeof(full), "%s.%s.%s", map, name, option);
    secret_line(d, kind, full, secret);
}

static void
monitor_secrets(struct unit_draft *d, enum config_secret_kind kind)
{
    const struct config *c = d->config;
    for (size_t i = 0; i < c->alerts.notifiers.count; i++) {
        const struct config_notifier *n = &c->alerts.notifiers.items[i];
        named_secret_line(d, kind, "alerts.notifiers", n->name, "url_secret", &n->url_secret);
        named_secret_line(d, kind, "alerts.notifiers", n->name, "token", &n->token);
    }
    secret_line(d, kind, "devops.prometheus.password", &c->devops.prometheus.password);
    secret_line(d, kind, "devops.grafana.token", &c->devops.grafana.token);
    secret_line(d, kind, "devops.alertmanager.password", &c->devops.alertmanager.password);
    secret_line(d, kind, "devops.logs.password", &c->devops.logs.password);
}

/* Who gets which. The token of the hub reaches a model only where it may download. */
static void
secrets(struct unit_draft *d, enum config_secret_kind kind)
{
    const struct config *c = d->config;
    if (d->kind == UNIT_MODEL && !c->hub.offline)
        secret_line(d, kind, "hub.token", &c->hub.token);
    if (d->kind == UNIT_MONITOR)
        monitor_secrets(d, kind);
    for (size_t i = 0; d->kind == UNIT_GATEWAY && i < c->gateway.peers.count; i++)
        named_secret_line(d, kind, "gateway.peers", c->gateway.peers.items[i].name, "key",
                          &c->gateway.peers.items[i].key);
    if (d->kind & UNIT_SAVING) {
        secret_line(d, kind, "backup.password", &c->backup.password);
        secret_line(d, kind, "backup.credentials", &c->backup.credentials);
        secret_line(d, kind, "backup.copy.password", &c->backup.copy.password);
        secret_line(d, kind, "backup.copy.credentials", &c->backup.copy.credentials);
    }
}

void
lines_secret_files(struct unit_draft *d)
{
    secrets(d, CONFIG_SECRET_FILE);
}

void
lines_secret_credentials(struct unit_draft *d)
{
    secrets(d, CONFIG_SECRET_CREDENTIAL);
}
