#include "cli/keys.h"

#include "cli/cli.h"

const struct verb_help verb_keys_revoke_help = {
    .text = "Makes a key good no more, at once; answers that are under way are completed. Its name "
            "and its usage stay, and `citadel keys rotate` makes it good again with another token.",
    .examples = VERB_EXAMPLES({"citadel keys revoke alice", "she has left"}),
};

int
verb_keys_revoke(struct cli *cli)
{
    return cli_do_with_key(cli, KEYRING_REVOKE);
}
