#include "cli/services.h"

const struct verb_help verb_start_help = {
    .text =
        "Starts services, and waits until they are ready. Failures of before are forgotten and a "
        "hold ends, so one that was given up is tried again.\n\n"
        "NAME is a service, `models` or `all`; none is all of them. With systemd these are what "
        "starts with the machine: a model that is loaded on demand, or by a person, is started "
        "by its name. Exits with 1 when one fails, and 75 when it cannot be started now.",
    .examples = VERB_EXAMPLES({"citadel start phi3", "one model"},
                              {"citadel start --no-wait", "all, without waiting for them"}),
};

int
verb_start(struct cli *cli)
{
    return cli_change_services(cli, "start", SERVICE_READY);
}
