#include "cli/emergency.h"
#include "cli/load_config.h"
#include "deploy/emergency.h"

const struct verb_help verb_rollback_status_help = {
    .text =
        "Tells whether an emergency stop is in force, since when, by whom and why; and how many "
        "processes of Citadel run, which is how many another would kill.",
    .examples = VERB_EXAMPLES({"citadel rollback status", "how it stands"},
                              {"citadel rollback status --json", "for programs"}),
};

static void
print(struct cli *cli, const struct run_marker *marker, const struct emergency_processes *running)
{
    _cleanup_buf_ struct buf line = BUF_INIT(1 * KIB);
    size_t count = running->all.count, services = emergency_services(running);
    cli_emergency_line(marker, &line);
    if (marker->set)
        cli_print(cli,
                  "An emergency stop is in force%s%s. To allow starts: citadel rollback "
                  "emergency --lift\n",
                  line.len ? ", " : "", line.data);
    else
        cli_print(cli, "No emergency stop is in force.\n");
    if (count)
        cli_print(cli, "%zu process%s of %zu service%s run%s.\n", count, count == 1 ? "" : "es",
                  services, services == 1 ? "" : "s", count == 1 ? "s" : "");
    else
        cli_print(cli, "Nothing of Citadel runs.\n");
}

int
verb_rollback_status(struct cli *cli)
{
    _cleanup_config_ struct config *config = NULL;
    struct emergency_processes running;
    struct run_marker marker;
    int r = cli_load_config(cli, &config);
    if (r < 0)
        return r;
    run_marker_read(config->paths.run, &marker);
    emergency_look(&(struct emergency_wish){.run_dir = config->paths.run}, &running);
    if (cli->json) {
        json_open_map(cli->json, NULL);
        cli_emergency_json(&marker, cli->json, "emergency");
        json_u64(cli->json, "processes", running.all.count);
        json_u64(cli->json, "services", emergency_services(&running));
        json_close_map(cli->json);
    } else {
        print(cli, &marker, &running);
    }
    vec_finish(&running.all);
    return EXIT_CODE_OK;
}
