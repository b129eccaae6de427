#include "cli/services.h"

const struct verb_help verb_stop_help = {
    .text = "Stops services, and waits until they have ended: what they have begun is finished "
            "first, as long as drain_timeout allows.\n\n"
            "NAME is a service, `models` or `all`; none is all of them.",
    .examples =
        VERB_EXAMPLES({"citadel stop phi3", "one model"}, {"citadel stop all", "all of them"}),
};

int
verb_stop(struct cli *cli)
{
    return cli_change_services(cli, "stop", SERVICE_STOPPED);
}
