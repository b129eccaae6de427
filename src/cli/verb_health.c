#include "cli/services.h"
#include "run/marker.h"

const struct verb_help verb_health_help = {
    .text =
        "Tells whether all services are as they should be, and what is wrong where they are "
        "not. A service that a person has stopped, or holds, is as it should be; one that loads, "
        "waits, has failed or is held by the breaker is not, nor one that runs in trouble.\n\n"
        "Exits with 0 when all is well, 3 when it is not, and 1 when nobody supervises them.",
    .examples =
        VERB_EXAMPLES({"citadel health", "all services"}, {"citadel health phi3", "one of them"},
                      {"citadel health >/dev/null 2>&1 || page", "for scripts"}),
};

static void
print_one(struct cli *cli, const struct service_look *look)
{
    const struct service_seen *seen = look->seen;
    struct lifecycle_known known = service_look_known(look);
    if (!cli->json) {
        if (!look->is_well)
            cli_print(cli, "%s: %s: %s\n", seen->status.name, service_seen_word(seen), look->why);
        return;
    }
    json_open_map(cli->json, NULL);
    json_str(cli->json, "name", seen->status.name);
    json_str(cli->json, "state", service_state_word(seen->status.state));
    json_str(cli->json, "phase", seen->has_run ? run_phase_word(seen->run.phase) : NULL);
    lifecycle_print_health(&known, cli->json);
    json_close_map(cli->json);
}

/* Returns how many are not as they should be; *ret_first: the first of them. */
static size_t
print_all(struct cli *cli, const struct service_looks *looks, const char *name, size_t *ret_count,
          const char **ret_first)
{
    size_t sick = 0;
    *ret_count = 0;
    vec_foreach (looks, look) {
        if (service_look_is_absent(look) || (name && !text_eq(name, look->seen->status.name)))
            continue;
        print_one(cli, look);
        if (!look->is_well && sick++ == 0)
            *ret_first = look->seen->status.name;
        ++*ret_count;
    }
    return sick;
}

int
verb_health(struct cli *cli)
{
    _cleanup_cli_running_ struct cli_running running = {0};
    _cleanup_service_looks_ struct service_looks looks = {0};
    const char *name = cli->args_count ? cli->args[0] : NULL, *first = NULL;
    struct err emergency;
    size_t count;
    int r = cli_load_running(cli, &running);
    if (r == 0 && name)
        r = cli_check_running(cli, &running, name);
    if (r < 0)
        return r;
    service_view_ask(&running.view, running.config->paths.run, name);
    cli_look_at_services(&running, &looks);
    if (cli->json)
        json_open_list(cli->json, NULL);
    size_t sick = print_all(cli, &looks, name, &count, &first);
    if (cli->json)
        json_close_list(cli->json);
    if (run_marker_check(running.config->paths.run, &emergency) < 0) {
        r = err_set(&cli->err, ERR_SERVICE_UNHEALTHY, "%s", emergency.what);
        err_fix(&cli->err, "%s", emergency.fix);
        return r;
    }
    if (sick) {
        r = err_set(&cli->err, ERR_SERVICE_UNHEALTHY, "%zu of %zu service%s not as %s should be",
                    sick, count, count == 1 ? " is" : "s are", count == 1 ? "it" : "they");
        err_fix(&cli->err, "citadel logs %s", first);
        return r;
    }
    if (!cli->json)
        cli_note(cli, "%zu service%s, all as they should be", count, count == 1 ? "" : "s");
    return EXIT_CODE_OK;
}
