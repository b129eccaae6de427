#include "cli/gpu.h"
#include "cli/load_config.h"
#include "config/config.h"

#define LIMIT_US UINT64_C(20000000) /* below TimeoutStopSec= of citadel-gpu.service */

const struct verb_help verb_gpu_restore_help = {
    .text =
        "Puts back what `citadel gpu optimize` found on each GPU before it changed it; "
        "citadel-gpu.service runs it when it is stopped. What a GPU refuses, or what is of a GPU "
        "that is not there, stays remembered for the next time. After a reboot there is nothing to "
        "put back: a driver forgets its settings.\n\n"
        "Whether a clock was locked cannot be asked of a driver: one that was locked by us is "
        "unlocked.",
    .examples = VERB_EXAMPLES({"citadel gpu restore", "as it was before"},
                              {"citadel gpu status", "how the GPUs are set now"}),
};

int
verb_gpu_restore(struct cli *cli)
{
    static struct gpu_changes changes;
    _cleanup_config_ struct config *config = NULL;
    int r = cli_load_config(cli, &config);
    if (r < 0)
        return r;
    r = gpu_settings_run(NULL, config->paths.state, LIMIT_US, &changes, &cli->err);
    if (r < 0 && cli_gpu_is_absent(config, &cli->err)) {
        cli_note(cli, "no GPU to be restored: %s", cli->err.what);
        cli->err = (struct err){0};
        changes.count = 0;
    } else if (r < 0) {
        return r;
    }
    r = cli_gpu_changes(cli, &changes);
    return r < 0 ? r : EXIT_CODE_OK;
}
