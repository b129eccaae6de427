#include "cli/enable.h"

const struct verb_help verb_enable_help = {
    .text = "Puts `enabled: true` for each NAME, a model, `gateway` or `monitor`, into the "
            "configuration "
            "file, and brings the machine to it as `citadel apply` does: it shows the line that "
            "changes "
            "and what follows, and asks once. Every other byte of the file stays, comments and "
            "all; where "
            "it is written in a way that cannot be changed safely, nothing is, and the line to "
            "write is "
            "said. So what starts with the machine is in the one file, and outlives everything.",
    .examples =
        VERB_EXAMPLES({"sudo citadel enable coder", "deployed, and started as its plan says"},
                      {"citadel enable coder vision --no-apply", "only the file"}),
};

int
verb_enable(struct cli *cli)
{
    return cli_enable(cli, true);
}
