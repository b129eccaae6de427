/* What stands in the lines of directive.def that depend on the configuration or the plan: what a unit
 * is, what it runs, how often. What it may touch: lines_reach.c. */

#include "base/text.h"
#include "config/diff.h"
#include "sys/root.h"
#include "unit/unit_int.h"

#include <stdio.h>
#include <string.h>

#define S_US UINT64_C(1000000)

void
lines_description(struct unit_draft *d)
{
    draft_linef(d, "Citadel: %s", d->what);
}

/* What is made for each model depends on their names. */
static void
digest_names(const struct config *c, char digest[HASH_SHA256_HEX])
{
    uint8_t bytes[HASH_SHA256_BYTES];
    struct hash_sha256 hash;
    hash_sha256_init(&hash);
    for (size_t i = 0; i < c->models.count; i++)
        if (c->models.items[i].enabled)
            hash_sha256_update(&hash, c->models.items[i].name, strlen(c->models.items[i].name) + 1);
    hash_sha256_final(&hash, bytes);
    hash_sha256_hex(bytes, digest);
}

void
lines_options(struct unit_draft *d)
{
    char digest[CONFIG_PART_HEX], names[HASH_SHA256_HEX];
    config_digest(d->config, d->name, CONFIG_AT_START, digest);
    digest_names(d->config, names);
    draft_linef(d, "%s%.16s", digest, d->kind == UNIT_STORAGE ? names : "");
}

void
lines_live(struct unit_draft *d)
{
    char digest[CONFIG_PART_HEX];
    config_digest(d->config, d->name, CONFIG_LIVE, digest);
    draft_linef(d, "%s", digest);
}

static bool
has_env(const struct unit_draft *d)
{
    return d->model && plan_engine_runs(&d->in->plan->vllm, d->model);
}

void
lines_engine(struct unit_draft *d)
{
    if (!has_env(d))
        return;
    draft_begin(d);
    plan_engine_print(&d->in->plan->vllm, d->out);
    draft_end(d);
}

void
lines_model_storage(struct unit_draft *d)
{
    if (d->config->storage.require_mounts)
        draft_line(d, "", root_strip(d->config->paths.models), UNIT_WORD);
}

void
lines_model_gpu(struct unit_draft *d)
{
    if (d->planned->part_count)
        draft_linef(d, "citadel-gpu.service");
}

static void
print_marker(const struct unit_draft *d, struct buf *path)
{
    buf_printf(path, "%s/" CONFIG_EMERGENCY_NAME, root_strip(d->config->paths.run));
}

void
lines_no_emergency(struct unit_draft *d)
{
    _cleanup_buf_ struct buf path = BUF_INIT(2 * ROOT_PATH_MAX);
    print_marker(d, &path);
    draft_line(d, "!", path.data, UNIT_PLAIN);
}

void
lines_no_emergency_again(struct unit_draft *d)
{
    _cleanup_buf_ struct buf path = BUF_INIT(2 * ROOT_PATH_MAX);
    print_marker(d, &path);
    draft_line(d, "/usr/bin/test ! -e ", path.data, UNIT_ARGUMENT);
}

/* ---- the budget ----
 *
 * systemd counts the starts of the last `interval`, and refuses the one after `burst`. A unit that always
 * fails needs burst * (start + pause) for them; where the interval is not longer than that, the first
 * start is forgotten before the last is counted, and it is restarted for ever. Half as much again is
 * for what systemd itself takes. */

static struct plan_times
times_of(const struct unit_draft *d)
{
    if (d->kind == UNIT_MODEL)
        return plan_times_of(d->model);
    return d->kind == UNIT_GATEWAY ? plan_times_of_gateway(d->config) : plan_times_of_keeper();
}

/* In seconds, up. */
static void
line_us(struct unit_draft *d, uint64_t us)
{
    draft_linef(d, "%llus", (unsigned long long)((us + S_US - 1) / S_US));
}

void
lines_restart_window(struct unit_draft *d)
{
    const struct budget b = times_of(d).budget;
    uint64_t spent_us = b.burst * (b.start_us + b.delay_us);
    buf_printf(d->out, "# %u starts of %llu s at most, and pauses of %.1f s: %llu s\n", b.burst,
               (unsigned long long)(b.start_us / S_US), (double)b.delay_us / (double)S_US,
               (unsigned long long)(spent_us / S_US));
    line_us(d, spent_us + spent_us / 2);
}

void
lines_restart_burst(struct unit_draft *d)
{
    draft_linef(d, "%u", times_of(d).budget.burst);
}

void
lines_restart_pause(struct unit_draft *d)
{
    draft_linef(d, "%llums", (unsigned long long)(times_of(d).budget.delay_us / 1000));
}

void
lines_watchdog(struct unit_draft *d)
{
    line_us(d, times_of(d).watchdog_us);
}

void
lines_stop_limit(struct unit_draft *d)
{
    line_us(d, times_of(d).stop_us);
}

/* ---- what runs ---- */

static void
add_argument(struct unit_draft *d, const char *text)
{
    buf_add_char(d->out, ' ');
    draft_word(d, text, UNIT_ARGUMENT);
}

/* By UUID: an index is another one in a unit that sees its own GPUs only. */
static void
add_gpus(struct unit_draft *d)
{
    if (!d->planned || d->planned->part_count == 0)
        return;
    buf_add_str(d->out, " --gpus ");
    for (size_t i = 0; i < d->planned->part_count; i++) {
        buf_add_str(d->out, i ? "," : "");
        draft_word(d, d->planned->parts[i].gpu->uuid, UNIT_ARGUMENT);
    }
}

/* Not by the link that the configuration names: when that is moved, this line is another one. */
static void
add_env(struct unit_draft *d)
{
    if (!has_env(d))
        return;
    buf_add_str(d->out, " --vllm-env");
    add_argument(d, d->in->plan->vllm.env);
}

static void
add_command(struct unit_draft *d, const char *words)
{
    draft_begin(d);
    draft_word(d, d->in->program, UNIT_WORD); /* no variable is replaced in the path of a program */
    buf_printf(d->out, " %s", words);
    if (d->model)
        add_argument(d, d->model->name);
    buf_add_str(d->out, " -c");
    add_argument(d, d->in->config_file);
}

void
lines_command(struct unit_draft *d)
{
    const struct config_list *devices = &d->config->backup.image.devices;
    add_command(d, d->words);
    add_gpus(d);
    add_env(d);
    for (size_t i = 0; d->kind == UNIT_IMAGE && i < devices->count; i++)
        add_argument(d, root_strip(devices->items[i]));
    draft_end(d);
}

void
lines_reread(struct unit_draft *d)
{
    draft_begin(d);
    buf_add_char(d->out, '+');
    draft_word(d, d->in->program, UNIT_WORD);
    buf_add_str(d->out, " reread");
    add_argument(d, d->name);
    buf_add_str(d->out, " -c");
    add_argument(d, d->in->config_file);
    draft_end(d);
}

void
lines_gpu_restore(struct unit_draft *d)
{
    add_command(d, "gpu restore");
    draft_end(d);
}

void
lines_identifier(struct unit_draft *d)
{
    draft_linef(d, "citadel-%s", d->name);
}

void
lines_user(struct unit_draft *d)
{
    const struct config_service *s = &d->config->service;
    draft_line(d, "", d->kind == UNIT_GATEWAY ? s->gateway_user : s->user, UNIT_PLAIN);
}

void
lines_group(struct unit_draft *d)
{
    const struct config_service *s = &d->config->service;
    if (s->group && d->kind != UNIT_GATEWAY)
        draft_line(d, "", s->group, UNIT_PLAIN);
}

/* ---- sockets and timers ---- */

void
lines_listen(struct unit_draft *d)
{
    const struct config_gateway *g = &d->config->gateway;
    for (size_t i = 0; i < g->listen.count; i++) {
        const char *address = g->listen.items[i];
        if (*address == '/') {
            draft_line(d, "", root_strip(address), UNIT_PLAIN);
            continue;
        }
        bool six = strchr(address, ':') && address[0] != '[';
        draft_linef(d, six ? "[%s]:%u" : "%s:%u", address, g->port);
    }
}

static bool
has_file(const struct unit_draft *d)
{
    const struct config_list *listen = &d->config->gateway.listen;
    for (size_t i = 0; i < listen->count; i++)
        if (listen->items[i][0] == '/')
            return true;
    return false;
}

void
lines_socket_user(struct unit_draft *d)
{
    if (has_file(d))
        draft_line(d, "", d->config->service.gateway_user, UNIT_PLAIN);
}

void
lines_socket_mode(struct unit_draft *d)
{
    if (has_file(d))
        draft_linef(d, "0660");
}

void
lines_socket_end(struct unit_draft *d)
{
    if (has_file(d))
        draft_linef(d, "yes");
}

void
lines_calendar(struct unit_draft *d)
{
    char text[CONFIG_CALENDAR_MAX];
    for (size_t i = 0; i < d->job->schedule_count; i++) {
        const char *calendar = config_schedule_calendar(&d->job->schedules[i], text);
        if (calendar)
            draft_linef(d, "%s", calendar);
    }
}

/* ---- what starts it ---- */

void
lines_wanted_by(struct unit_draft *d)
{
    const char *words = d->job ? d->job->words : d->kind == UNIT_SOCKET ? d->name : d->words;
    if (words && d->in->has_verb && !d->in->has_verb(words))
        buf_printf(d->out, "# Nothing starts it: this release has no `citadel %s`.\n", words);
    else if (d->kind != UNIT_MODEL)
        draft_linef(d, "citadel-ai.target");
    else if (d->planned->fate == PLAN_RESIDENT)
        draft_linef(d, "citadel-models.target");
}
