#include "cli/cli.h"
#include "role/probe.h"

const struct verb_help verb_probe_help = {
    .text =
        "Reads the GPUs for the monitor, which starts it: calls into a driver can hang for ever, "
        "and here that harms nobody. Each byte of its input asks for one reading; the answers "
        "are for the monitor of the same release.",
    .examples = VERB_EXAMPLES({"citadel probe < /dev/null", "nothing is asked for, and it ends"}),
};

int
verb_probe(struct cli *cli)
{
    return probe_run(&cli->err);
}
