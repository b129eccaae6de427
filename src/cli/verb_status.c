#include "cli/services.h"
#include "sys/clock.h"

const struct verb_help verb_status_help = {
    .text =
        "Shows the services: their states, how long they have been in them, how often they were "
        "started again, and what they do. With a name, only that one, and why it is as it is."
        "\n\nExits with 1 when nobody supervises them.",
    .examples =
        VERB_EXAMPLES({"citadel status", "all services"}, {"citadel status phi3", "one of them"},
                      {"citadel status --json", "all that is known, for programs"}),
};

static void
print_run(struct json_writer *w, const struct run_state *run)
{
    json_open_map(w, "model");
    json_str(w, "phase", run_phase_word(run->phase));
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
print_json(struct json_writer *w, const struct service_view *view, const char *name)
{
    json_open_map(w, NULL);
    json_str(w, "containment", view->containment);
    json_u64(w, "pid", view->pid);
    json_open_list(w, "services");
    vec_foreach (&view->items, seen) {
        const char *why;
        if (name && !text_eq(name, seen->status.name))
            continue;
        json_open_map(w, NULL);
        json_bool(w, "healthy", service_is_healthy(seen, &why));
        json_str(w, "name", seen->status.name);
        json_str(w, "kind", seen->status.kind);
        json_str(w, "state", service_state_word(seen->status.state));
        json_u64(w, "since_us", seen->status.since_us);
        json_str(w, "status", seen->status.status);
        json_str(w, "reason", seen->status.reason[0] ? seen->status.reason : NULL);
        json_str(w, "address", seen->status.address[0] ? seen->status.address : NULL);
        json_u64(w, "pid", seen->status.pid);
        json_u64(w, "restarts", seen->status.restarts);
        json_u64(w, "failures", seen->status.failures);
        if (seen->has_run)
            print_run(w, &seen->run);
        json_close_map(w);
    }
    json_close_list(w);
    json_close_map(w);
}

int
verb_status(struct cli *cli)
{
    _cleanup_config_ struct config *config = NULL;
    _cleanup_service_view_ struct service_view view = {0};
    _cleanup_table_ struct table table;
    const char *name = cli->args_count ? cli->args[0] : NULL;
    table_init(&table, service_columns, SERVICE_COLUMNS);
    int r = cli_load_services(cli, &config, &view);
    if (r == 0 && name && !cli_find_service(cli, &view, name))
        r = -err_row(cli->err.id)->err;
    if (r < 0)
        return r;
    if (cli->json) {
        print_json(cli->json, &view, name);
        return EXIT_CODE_OK;
    }
    vec_foreach (&view.items, seen)
        if (!name || text_eq(name, seen->status.name))
            cli_add_service(&table, seen, clock_wall_us());
    cli_table(cli, &table);
    const struct service_seen *one = name ? service_view_find(&view, name) : NULL;
    if (one && one->status.reason[0])
        cli_print(cli, "\n%s\n", one->status.reason);
    return EXIT_CODE_OK;
}
