#include "cli/keys.h"

#include "cli/cli.h"

const struct verb_help verb_keys_create_help = {
    .text =
        "Makes a key, by which a client may use the gateway, and prints it: this once, since only "
        "its SHA-256 is kept. Clients send it as \"Authorization: Bearer KEY\" or as \"x-api-key: "
        "KEY\". It holds at once.\n\n"
        "With the first key that is made, the gateway answers whom gateway.listen lets in, and "
        "nobody without a key, unless gateway.anonymous is true.\n\n"
        "A key may ask for all models, or for those that --models names, and what it may use can "
        "be limited. Tokens are reserved before a request goes to a model, by its max_tokens and "
        "the length of its prompt, and put right when it is over: so a limit is exceeded by no "
        "more than what the requests take that ran when it was reached. A crash of the gateway "
        "forfeits some of a limit, and never gives any of it twice.\n\n"
        "With --priority yes its requests go before others' when they say \"service_tier\": "
        "\"priority\", and may have the slots that `priority_slots` keeps.\n\n"
        "It takes root, or the account of the gateway; where no gateway runs, its database is "
        "changed.",
    .examples = VERB_EXAMPLES({"citadel keys create alice", "for all models, without limits"},
                              {"citadel keys create tests --models phi3 --tokens-per-day 1000000 "
                               "--expires-in 30d",
                               "one model, so much a day, for a month"}),
};

int
verb_keys_create(struct cli *cli)
{
    return cli_do_with_key(cli, KEYRING_CREATE);
}
