#include "cli/service_look.h"

#include "base/mem.h"
#include "cli/running.h"
#include "fmt/json.h"
#include "gpu/lease.h"
#include "plan/plan.h"

#include <stdlib.h>

struct lifecycle_known
service_look_known(const struct service_look *l)
{
    return (struct lifecycle_known){.status = &l->seen->status,
                                    .record = l->is_model ? &l->record : NULL,
                                    .run = l->seen->has_run ? &l->seen->run : NULL,
                                    .is_silent = l->seen->silent,
                                    .lost = l->lost.id == ERR_NONE ? NULL : l->lost.what};
}

static void
judge(struct service_look *l, const struct budget *budget)
{
    struct lifecycle_known known = service_look_known(l);
    l->is_well = lifecycle_is_well(&known, &l->why);
    l->next_us = lifecycle_next_attempt(&known, budget);
}

void
cli_look_from_afar(const struct service_seen *seen, struct service_look *ret)
{
    const struct budget budget = {0};
    *ret = (struct service_look){.seen = seen, .is_deployed = true, .is_asked_for = true};
    judge(ret, &budget);
}

bool
service_look_is_absent(const struct service_look *look)
{
    return look->is_asked_for && !look->is_deployed && look->seen->status.state == SERVICE_STOPPED;
}

static uint64_t
leased_by(const struct gpu_leases *leases, const char *name)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < leases->count; i++)
        for (size_t p = 0; p < leases->items[i].part_count; p++)
            if (text_eq(leases->items[i].holder.name, name))
                sum += leases->items[i].parts[p].bytes;
    return sum;
}

static void
look_at_model(const struct config *config, const struct gpu_leases *leases, struct service_look *l)
{
    const char *name = l->seen->status.name;
    const struct config_model *model = config_find_model(config, name);
    struct budget budget = {0};
    struct err err;
    l->is_model = true;
    l->gpu_bytes = leased_by(leases, name);
    if (run_record_load(config->paths.state, name, &l->record, &err) < 0)
        l->lost = err;
    if (model)
        budget = plan_times_of(model).budget;
    judge(l, &budget);
}

static void
look_at_running(const struct cli_running *running, const struct gpu_leases *leases,
                const struct service_seen *seen, struct service_look *l)
{
    cli_look_from_afar(seen, l);
    l->file = running->file->name;
    if (!text_eq(seen->status.kind, "model"))
        return;
    l->is_deployed = cli_asks_for(running->config, seen->status.name);
    l->is_asked_for = cli_asks_for(running->file, seen->status.name);
    look_at_model(running->config, leases, l);
}

void
cli_look_at_services(const struct cli_running *running, struct service_looks *ret)
{
    _cleanup_gpu_leases_ struct gpu_leases leases = {0};
    size_t most = running->view.items.count + running->missing.count;
    *ret = (struct service_looks){.items = mem_alloc((most + 1) * sizeof(*ret->items))};
    /* Who may not read them does without. */
    (void)!gpu_leases_read(&leases, running->config->paths.run, NULL);
    vec_foreach (&running->view.items, seen)
        look_at_running(running, &leases, seen, &ret->items[ret->count++]);
    vec_foreach (&running->missing, seen) {
        struct service_look *l = &ret->items[ret->count++];
        cli_look_from_afar(seen, l);
        l->file = running->file->name;
        l->is_deployed = false;
    }
}

void
service_looks_finish(struct service_looks *looks)
{
    free(looks->items);
}

static void
print_run(struct json_writer *w, const struct run_state *run)
{
    json_open_map(w, "model");
    json_str(w, "phase", run_phase_word(run->phase));
    json_u64(w, "since_us", run->since_us);
    json_str(w, "why", run->why.id == ERR_NONE ? NULL : run->why.what);
    json_str(w, "served_as", run->model);
    json_str(w, "engine", run->engine);
    json_str(w, "version", run->version[0] ? run->version : NULL);
    json_u64(w, "engine_pid", run->pid);
    json_u64(w, "sleep_level", run->sleep_level);
    json_real(w, "running", run->running);
    json_real(w, "waiting", run->waiting);
    json_real(w, "kv_usage", run->kv_usage);
    json_open_list(w, "gpus");
    for (size_t i = 0; i < run->gpu_count; i++)
        json_u64(w, NULL, run->gpus[i]);
    json_close_list(w);
    json_close_map(w);
}

void
service_look_print(const struct service_look *look, struct json_writer *w)
{
    struct lifecycle_known known = service_look_known(look);
    json_open_map(w, NULL);
    service_status_print(&look->seen->status, w);
    json_bool(w, "deployed", look->is_deployed);
    json_bool(w, "asked_for", look->is_asked_for);
    lifecycle_print_health(&known, w);
    json_str(w, "last", look->record.last.err.id == ERR_NONE ? NULL : look->record.last.err.what);
    if (look->next_us)
        json_u64(w, "tried_us", look->next_us);
    json_u64(w, "gpu_bytes", look->gpu_bytes);
    if (look->seen->has_run)
        print_run(w, &look->seen->run);
    json_close_map(w);
}
