#include "cli/backup.h"

const struct verb_help verb_backup_pin_help = {
    .text = "Keeps a snapshot, or the newest of a model, whatever the rules of pruning say: until "
            "`citadel backup unpin`. One that was deleted already is kept as well.",
    .examples = VERB_EXAMPLES({"sudo citadel backup pin phi3", "before it is tuned further"}),
};

int
verb_backup_pin(struct cli *cli)
{
    return cli_backup_say(cli, MARK_PINNED, "is pinned");
}
