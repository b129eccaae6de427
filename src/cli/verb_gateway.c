#include "cli/load_config.h"
#include "config/reread.h"
#include "role/gateway.h"

const struct verb_help verb_gateway_help = {
    .text =
        "Answers at one address for all models, in the foreground, until it is asked to end: this "
        "is what citadel-gateway.service runs, and `citadel up`. Clients of OpenAI's interfaces, "
        "and of Messages, name the model that they want; requests wait here when it has as many as "
        "it can take, and go to what gateway.fallbacks names when it cannot answer. Nothing but "
        "these interfaces can be reached through it.\n\n"
        "Until a key is made (`citadel keys create`), only this host is answered, unless "
        "gateway.anonymous is true.\n\n"
        "`citadel reload gateway` has it read its configuration anew, and `citadel reread gateway` "
        "one "
        "that nobody watches over; answers that are under way go on. When it is to end, they are "
        "completed, for gateway.drain_timeout at most.",
    .examples = VERB_EXAMPLES({"citadel gateway", "answer, in the foreground"}),
};

int
verb_gateway(struct cli *cli)
{
    _cleanup_config_ struct config *config = NULL;
    if (cli->json)
        return err_set(&cli->err, ERR_USAGE,
                       "gateway has no result to print as JSON; GET /v1/models has");
    int r = cli_load_config(cli, &config);
    if (r < 0)
        return r;
    config_set_log_level(config);
    return gateway_run(config, &cli->err);
}
