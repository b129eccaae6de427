#include "cli/prompt.h"
#include "cli/secrets.h"

#include <stdio.h>

const struct verb_help verb_secrets_set_help = {
    .text =
        "Keeps a secret under NAME, for options of the configuration that say {credential: NAME}: "
        "a "
        "token of Hugging Face, a password. The value is asked for on the terminal, twice and not "
        "shown, or is all of standard input, without the newline at its end. It is never an "
        "argument: those are seen by everybody.\n\n"
        "systemd-creds encrypts it to this host, into /etc/credstore.encrypted. Where there is "
        "none, "
        "or with --plain, it is kept as it is in /etc/credstore, which root alone reads, and that "
        "is "
        "told; one that fails is an error. A service "
        "finds what its options ask for in the directory that $CREDENTIALS_DIRECTORY names, and "
        "nothing else; so it does with `citadel up`. One that runs sees a new value when it is "
        "started again: which ones is told.",
    .examples = VERB_EXAMPLES(
        {"citadel secrets set hf-token", "asked for on the terminal"},
        {"pass show huggingface | citadel secrets set hf-token", "from another program"}),
};

#define SERVICES_MAX (64 * KIB)

/* More arguments than the name may be the value: it is not said again. */
static int
refuse_value(struct cli *cli)
{
    int r = err_set(&cli->err, ERR_USAGE,
                    "the value of a secret is no argument: all users of this machine could see it");
    err_fix(&cli->err, "if it was one, have it changed; then citadel secrets set NAME");
    return r;
}

static void
print_json(struct json_writer *w, const char *name, enum secret_form form, const char *services)
{
    json_open_map(w, NULL);
    json_str(w, "name", name);
    json_str(w, "kept", secret_form_word(form));
    json_str(w, "restart", *services ? services : NULL);
    json_close_map(w);
}

static void
tell(struct cli *cli, const struct cli_secrets *secrets, const char *name, enum secret_form form,
     const struct err *why_not)
{
    _cleanup_buf_ struct buf services = BUF_INIT(SERVICES_MAX);
    _cleanup_buf_ struct buf options = BUF_INIT(SERVICES_MAX);
    size_t count = cli_secret_options(secrets, name, &options);
    cli_secret_services(secrets, cli_secret_readers(secrets, name), &services);
    if (form == SECRET_PLAIN)
        cli_note(cli, "%s is kept in clear text, which root alone reads: %s", name, why_not->what);
    if (cli->json)
        print_json(cli->json, name, form, services.data);
    else
        cli_print(cli, "%s: %s in %s\n", name, form == SECRET_PLAIN ? "kept" : "encrypted",
                  secrets->store.dirs[form]);
    if (count == 0)
        cli_note(cli, "no option asks for it yet: {credential: %s}", name);
    else if (services.len)
        cli_note(cli, "for %s; what runs sees it after: citadel restart %s", options.data,
                 services.data);
    else
        cli_note(cli, "for %s; no service that runs needs it", options.data);
    cli_warn_of_open_store(cli, &secrets->store);
}

int
verb_secrets_set(struct cli *cli)
{
    _cleanup_cli_secrets_ struct cli_secrets secrets = {0};
    _cleanup_secret_ struct secret value = {0};
    enum secret_form form = SECRET_ENCRYPTED;
    struct err why_not = {0};
    const char *name = cli->args[0];
    char question[96];
    if (cli->args_count > 1)
        return refuse_value(cli);
    int r = secret_check_name(name, &cli->err);
    if (r == 0)
        r = cli_load_secrets(cli, &secrets);
    if (cli_flag(cli, "plain")) {
        secrets.store.creds = NULL;
        secrets.store.why_not = "--plain asks for that";
    }
    (void)snprintf(question, sizeof(question), "Value of %s (not shown)", name);
    if (r == 0)
        r = cli_ask_secret(cli, question, &value);
    if (r == 0)
        r = secret_store_put(&secrets.store, name, &value, &form, &why_not, &cli->err);
    if (r < 0)
        return r;
    tell(cli, &secrets, name, form, &why_not);
    return EXIT_CODE_OK;
}
