#include "cli/gpu.h"

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
    return cli_gpu_set(cli, true, LIMIT_US);
}
