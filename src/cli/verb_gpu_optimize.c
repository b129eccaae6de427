#include "cli/gpu.h"

#define LIMIT_US UINT64_C(45000000) /* below TimeoutStartSec= of citadel-gpu.service */

const struct verb_help verb_gpu_optimize_help = {
    .text =
        "Sets the GPUs as the section gpu of the configuration says: persistence mode, power "
        "limit, clocks, compute mode. citadel-gpu.service runs it at every boot. What each GPU had "
        "before is written down first, in gpu/settings.json of paths.state, and kept there until "
        "`citadel gpu restore` puts it back: a crash in the middle loses nothing, and doing it "
        "twice keeps the first.\n\n"
        "Needs root. A setting that a GPU does not have is told, and the others are made; a driver "
        "that hangs is given up after 45 s. On a machine without a driver, none of whose models "
        "needs a GPU, there is nothing to do.",
    .examples = VERB_EXAMPLES({"citadel gpu optimize", "make the settings"},
                              {"citadel config show gpu", "what they are to be"},
                              {"citadel gpu restore", "take them back"}),
};

int
verb_gpu_optimize(struct cli *cli)
{
    return cli_gpu_set(cli, false, LIMIT_US);
}
