#include "cli/services.h"

const struct verb_help verb_restart_help = {
    .text = "Stops services that run, as `citadel stop` does, starts them again, and waits until "
            "they are ready.\n\n"
            "NAME is a service, `models` or `all`; none is all of them.",
    .examples = VERB_EXAMPLES({"citadel restart phi3", "one model"},
                              {"citadel restart all --no-wait", "all, without waiting"}),
};

int
verb_restart(struct cli *cli)
{
    return cli_change_services(cli, "restart", SERVICE_READY);
}
