#include "cli/backup.h"

const struct verb_help verb_backup_unpin_help = {
    .text = "Leaves a snapshot that is pinned to the rules of pruning again.",
    .examples = VERB_EXAMPLES({"sudo citadel backup unpin 3f0c9a", "it may go now"}),
};

int
verb_backup_unpin(struct cli *cli)
{
    return cli_backup_unsay(cli, MARK_PINNED, "pinned", "is not pinned any more");
}
