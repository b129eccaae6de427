#include "cli/load_config.h"
#include "config/config.h"
#include "service/reread.h"
#include "service/service.h"

const struct verb_help verb_reread_help = {
    .text = "Has one process that runs take up its configuration: what ExecReload= of its unit "
            "calls. It "
            "fails when that is wrong, or has options that are read only at a start.",
    .examples =
        VERB_EXAMPLES({"citadel reread monitor", "what systemctl reload citadel-monitor does"}),
};

int
verb_reread(struct cli *cli)
{
    _cleanup_config_ struct config *config = NULL;
    int r = service_check_spelling(cli->args[0], &cli->err);
    if (r == 0)
        r = cli_load_config(cli, &config);
    return r != 0 ? r : service_reread_all(config->paths.run, cli->args[0], &cli->err);
}
