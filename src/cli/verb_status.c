#include "base/quantity.h"
#include "cli/deploy.h"
#include "cli/emergency.h"
#include "cli/services.h"
#include "sys/clock.h"

#include <string.h>

const struct verb_help verb_status_help = {
    .text =
        "Shows the services: their states, how long they have been in them, how often they were "
        "started again, and what they do. With a name, only that one, and why it is as it is."
        "\n\nThey are those of `citadel up` where it runs, else those that systemd has as "
        "citadel-NAME.service. What is not as it was deployed is told below: "
        "files changed by hand, drop-ins, links that are gone. Exits with 1 when nobody supervises "
        "them.",
    .examples =
        VERB_EXAMPLES({"citadel status", "all services"}, {"citadel status phi3", "one of them"},
                      {"citadel status --json", "all that is known, for programs"}),
};

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

static void
print_json(struct json_writer *w, const struct config *config, const struct service_view *view,
           const char *name)
{
    struct run_marker marker;
    run_marker_read(config->paths.run, &marker);
    json_open_map(w, NULL);
    cli_emergency_json(&marker, w, "emergency");
    json_str(w, "containment", view->containment);
    json_str(w, "promise", view->promise);
    json_u64(w, "pid", view->pid);
    json_open_list(w, "services");
    vec_foreach (&view->items, seen) {
        const char *why;
        if (name && !text_eq(name, seen->status.name))
            continue;
        json_open_map(w, NULL);
        service_status_print(&seen->status, w);
        json_bool(w, "healthy", service_is_healthy(seen, &why));
        if (seen->has_run)
            print_run(w, &seen->run);
        json_close_map(w);
    }
    json_close_list(w);
    cli_print_drift_json(config, w);
    json_close_map(w);
}

/* What has no room in a table. */
static void
print_why(struct cli *cli, const struct service_seen *seen, uint64_t now_us)
{
    const struct service_status *s = &seen->status;
    const char *why;
    quantity_text text;
    bool healthy = service_is_healthy(seen, &why);
    if (!healthy || s->reason[0])
        cli_print(cli, "\n%s\n", healthy ? s->reason : why);
    if (s->next_us > now_us)
        cli_print(cli, "It is started again in %s, after %u failure%s.\n",
                  quantity_print_us((s->next_us - now_us + 999999) / 1000000 * 1000000, text),
                  s->failures, s->failures == 1 ? "" : "s");
    if (s->state == SERVICE_FAILED)
        cli_print(cli, "It is not started again by itself: citadel start %s\n", s->name);
}

static void
print_loss(struct cli *cli, const struct service_status *s)
{
    bool one = s->log_lost_lines == 1;
    cli_print(cli, "\n%llu line%s (%llu bytes) of %s's log %s lost%s %s%s%s\n",
              (unsigned long long)s->log_lost_lines, one ? "" : "s",
              (unsigned long long)s->log_lost_bytes, s->name, one ? "was" : "were",
              s->log_errno ? ":" : ";", s->log_path, s->log_errno ? ": " : " tells when and why",
              s->log_errno ? strerror(s->log_errno) : "");
}

static void
print_table(struct cli *cli, const struct service_view *view, const char *name)
{
    _cleanup_table_ struct table table;
    uint64_t now_us = clock_wall_us();
    table_init(&table, service_columns, SERVICE_COLUMNS);
    vec_foreach (&view->items, seen)
        if (!name || text_eq(name, seen->status.name))
            cli_add_service(&table, seen, now_us);
    cli_table(cli, &table);
    if (name)
        print_why(cli, service_view_find(view, name), now_us);
    vec_foreach (&view->items, seen)
        if (seen->status.log_lost_lines && (!name || text_eq(name, seen->status.name)))
            print_loss(cli, &seen->status);
}

static void
print_emergency(struct cli *cli, const struct config *config)
{
    _cleanup_buf_ struct buf line = BUF_INIT(1 * KIB);
    struct run_marker marker;
    run_marker_read(config->paths.run, &marker);
    if (!marker.set)
        return;
    cli_emergency_line(&marker, &line);
    cli_print(cli,
              "An emergency stop is in force%s%s. Nothing starts until: citadel rollback "
              "emergency --lift\n\n",
              line.len ? ", " : "", line.data);
}

int
verb_status(struct cli *cli)
{
    _cleanup_config_ struct config *config = NULL;
    _cleanup_service_view_ struct service_view view = {0};
    const char *name = cli->args_count ? cli->args[0] : NULL;
    int r = cli_load_services(cli, name, &config, &view);
    if (r < 0)
        return r;
    service_view_ask(&view, config->paths.run, name);
    if (!cli->json)
        print_emergency(cli, config);
    if (cli->json)
        print_json(cli->json, config, &view, name);
    else
        print_table(cli, &view, name);
    if (!cli->json && !name)
        cli_print_drift(cli, config);
    return EXIT_CODE_OK;
}
