#include "cli/keys.h"

#include "cli/cli.h"

const struct verb_help verb_keys_rotate_help = {
    .text =
        "Gives a key another token, and prints it; the old one is good no more, at once. Limits, "
        "models and what was used stay. One that was revoked is good again with it; one "
        "that has expired is given another time first (`citadel keys limits`).",
    .examples = VERB_EXAMPLES({"citadel keys rotate alice", "when it may have been seen"}),
};

int
verb_keys_rotate(struct cli *cli)
{
    return cli_do_with_key(cli, KEYRING_ROTATE);
}
