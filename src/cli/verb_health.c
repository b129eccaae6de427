#include "cli/services.h"

const struct verb_help verb_health_help = {
    .text = "Tells whether all services are as they should be, and what is wrong where they are "
            "not. A service that was stopped by a person is as it should be; one that loads, waits "
            "or has failed is not.\n\n"
            "Exits with 0 when all is well, 3 when it is not, and 1 when nobody supervises them.",
    .examples =
        VERB_EXAMPLES({"citadel health", "all services"}, {"citadel health phi3", "one of them"},
                      {"citadel health --quiet || page", "for scripts"}),
};

static void
print_one(struct cli *cli, const struct service_seen *seen, bool healthy, const char *why)
{
    if (!cli->json) {
        if (!healthy)
            cli_print(cli, "%s: %s: %s\n", seen->status.name,
                      service_state_word(seen->status.state), why);
        return;
    }
    json_open_map(cli->json, NULL);
    json_str(cli->json, "name", seen->status.name);
    json_bool(cli->json, "healthy", healthy);
    json_str(cli->json, "state", service_state_word(seen->status.state));
    json_str(cli->json, "why", healthy ? NULL : why);
    json_close_map(cli->json);
}

int
verb_health(struct cli *cli)
{
    _cleanup_config_ struct config *config = NULL;
    _cleanup_service_view_ struct service_view view = {0};
    const char *name = cli->args_count ? cli->args[0] : NULL, *why;
    size_t sick = 0, count = 0;
    int r = cli_load_services(cli, &config, &view);
    if (r == 0 && name && !cli_find_service(cli, &view, name))
        r = -err_row(cli->err.id)->err;
    if (r < 0)
        return r;
    if (cli->json)
        json_open_list(cli->json, NULL);
    vec_foreach (&view.items, seen) {
        if (name && !text_eq(name, seen->status.name))
            continue;
        bool healthy = service_is_healthy(seen, &why);
        sick += !healthy;
        count++;
        print_one(cli, seen, healthy, why);
    }
    if (cli->json)
        json_close_list(cli->json);
    else if (sick == 0)
        cli_note(cli, "%zu service%s, all as they should be", count, count == 1 ? "" : "s");
    return sick ? EXIT_CODE_UNHEALTHY : EXIT_CODE_OK;
}
