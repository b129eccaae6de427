#include "cli/enable.h"

const struct verb_help verb_disable_help = {
    .text = "Puts `enabled: false` for each NAME, a model, `gateway` or `monitor`, into the "
            "configuration "
            "file, and brings the machine to it, as `citadel enable` does: it is stopped, and not "
            "deployed any more, until it is enabled.",
    .examples =
        VERB_EXAMPLES({"sudo citadel disable coder", "stopped, and not started by anything"},
                      {"sudo citadel disable coder -y", "without a question"}),
};

int
verb_disable(struct cli *cli)
{
    return cli_enable(cli, false);
}
