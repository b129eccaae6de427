#include "cli/keys.h"

#include "cli/cli.h"

const struct verb_help verb_keys_limits_help = {
    .text = "Changes which models a key may ask for, what it may use, until when, and whether it "
            "goes before others; what no option "
            "names stays as it is, and `none`, `all` and `never` take a limit away. It holds at "
            "once, for requests that come from then on.",
    .examples = VERB_EXAMPLES(
        {"citadel keys limits alice --requests-per-minute 60 --concurrent 4", "set two of them"},
        {"citadel keys limits alice --tokens-per-day none --models all", "take two away"},
        {"citadel keys limits alice --priority yes", "let it go before others"}),
};

int
verb_keys_limits(struct cli *cli)
{
    return cli_do_with_key(cli, KEYRING_CHANGE);
}
