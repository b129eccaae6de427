#include "base/quantity.h"
#include "cli/deploy.h"
#include "cli/emergency.h"
#include "cli/services.h"
#include "sys/clock.h"

#include <string.h>

const struct verb_help verb_status_help = {
    .text =
        "Shows the services: their states, how long they have been in them, their GPUs and what "
        "they have leased of their memory, how often they were started again, and what they do, or "
        "why they do not and when they are tried again. With a name, only that one, and why it is "
        "as it is."
        "\n\nThey are those of `citadel up` where it runs, else those that systemd has as "
        "citadel-NAME.service: what is deployed, and what runs. Of a model that was taken out of "
        "the configuration file, or is only there, it says so: `citadel plan` shows what an apply "
        "would do. What is not as it was deployed is told below: files changed by hand, drop-ins, "
        "links that are gone. Exits with 1 when nobody supervises them.",
    .examples =
        VERB_EXAMPLES({"citadel status", "all services"}, {"citadel status phi3", "one of them"},
                      {"citadel status --json", "all that is known, for programs"}),
};

static void
print_json(struct json_writer *w, const struct cli_running *running,
           const struct service_looks *looks, const char *name)
{
    const struct service_view *view = &running->view;
    struct run_marker marker;
    run_marker_read(running->config->paths.run, &marker);
    json_open_map(w, NULL);
    cli_emergency_json(&marker, w, "emergency");
    json_str(w, "containment", view->containment);
    json_str(w, "promise", view->promise);
    json_u64(w, "pid", view->pid);
    cli_print_running_json(running, w);
    json_open_list(w, "services");
    vec_foreach (looks, look)
        if (!name || text_eq(name, look->seen->status.name))
            service_look_print(look, w);
    json_close_list(w);
    cli_print_drift_json(running->config, view->by_systemd, w);
    json_close_map(w);
}

/* What has no room in a table. */
static void
print_why(struct cli *cli, const struct service_look *look, uint64_t now_us)
{
    const struct service_status *s = &look->seen->status;
    const char *why = look->why ? look->why : s->reason;
    unsigned failures = MAX(s->failures, look->record.failures);
    quantity_text text;
    if (look->seen->has_run && look->seen->run.version[0])
        cli_print(cli, "\n%s %s\n", look->seen->run.engine, look->seen->run.version);
    if (why[0])
        cli_print(cli, "\n%s\n", why);
    if (look->next_us > now_us)
        cli_print(cli, "It is tried again in %s, after %u failure%s.\n",
                  quantity_print_us((look->next_us - now_us + 999999) / 1000000 * 1000000, text),
                  failures, failures == 1 ? "" : "s");
    else if (s->state == SERVICE_FAILED || look->record.hold.set)
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
print_table(struct cli *cli, const struct service_looks *looks, const char *name)
{
    _cleanup_table_ struct table table;
    uint64_t now_us = clock_wall_us();
    table_init(&table, service_columns, SERVICE_COLUMNS);
    vec_foreach (looks, look)
        if (!name || text_eq(name, look->seen->status.name))
            cli_add_service(&table, look, now_us);
    cli_table(cli, &table);
    vec_foreach (looks, look)
        if (name && text_eq(name, look->seen->status.name))
            print_why(cli, look, now_us);
    vec_foreach (looks, look)
        if (look->seen->status.log_lost_lines && (!name || text_eq(name, look->seen->status.name)))
            print_loss(cli, &look->seen->status);
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

static void
print(struct cli *cli, const struct cli_running *running, const struct service_looks *looks,
      const char *name)
{
    print_emergency(cli, running->config);
    print_table(cli, looks, name);
    if (name)
        return;
    if (running->view.items.count == 0)
        cli_print(cli, "\nNothing is deployed.\n  try: citadel apply\n");
    cli_print_running(cli, running);
    cli_print_drift(cli, running->config, running->view.by_systemd);
}

int
verb_status(struct cli *cli)
{
    _cleanup_cli_running_ struct cli_running running = {0};
    _cleanup_service_looks_ struct service_looks looks = {0};
    const char *name = cli->args_count ? cli->args[0] : NULL;
    int r = cli_load_running(cli, &running);
    if (r == 0 && name && !cli_find_missing(&running, name))
        r = cli_check_running(cli, &running, name);
    if (r < 0)
        return r;
    service_view_ask(&running.view, running.config->paths.run, name);
    cli_look_at_services(&running, &looks);
    if (cli->json)
        print_json(cli->json, &running, &looks, name);
    else
        print(cli, &running, &looks, name);
    return EXIT_CODE_OK;
}
