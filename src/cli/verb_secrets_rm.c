#include "cli/secrets.h"

const struct verb_help verb_secrets_rm_help = {
    .text =
        "Removes a secret that is kept, in whatever form. One that an option of the configuration "
        "asks for stays, unless --force says otherwise: a service that needs it would fail when "
        "it is started next.",
    .examples = VERB_EXAMPLES({"citadel secrets rm old-token", "one that nobody asks for"},
                              {"citadel secrets rm hf-token --force", "also if it is used"}),
};

#define OPTIONS_MAX (16 * KIB)

int
verb_secrets_rm(struct cli *cli)
{
    _cleanup_cli_secrets_ struct cli_secrets secrets = {0};
    _cleanup_buf_ struct buf options = BUF_INIT(OPTIONS_MAX);
    const char *name = cli->args[0];
    int r = secret_check_name(name, &cli->err);
    if (r == 0)
        r = cli_load_secrets(cli, &secrets);
    if (r < 0)
        return r;
    assert(secrets.config);
    if (cli_secret_options(&secrets, name, &options) && !cli_flag(cli, "force")) {
        r = err_set(&cli->err, ERR_SECRET_USED, "%s asks for the secret '%s'", options.data, name);
        err_fix(&cli->err, "take it out of %s, or citadel secrets rm %s --force",
                secrets.config->name, name);
        return r;
    }
    r = secret_store_remove(&secrets.store, name, &cli->err);
    if (r < 0)
        return r;
    cli_note(cli, "%s is no longer kept", name);
    return EXIT_CODE_OK;
}
