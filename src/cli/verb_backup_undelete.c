#include "cli/backup.h"

const struct verb_help verb_backup_undelete_help = {
    .text = "Brings back a snapshot that a pruning has deleted, as long as it is listed: for "
            "backup.undelete at least. What the rules do not keep the next pruning deletes again; "
            "pin it to keep it.",
    .examples = VERB_EXAMPLES({"sudo citadel backup undelete 3f0c9a", "it is wanted after all"}),
};

int
verb_backup_undelete(struct cli *cli)
{
    return cli_backup_unsay(cli, MARK_DELETED, "deleted", "is back");
}
