#include "base/text.h"
#include "cli/backup.h"
#include "cli/prompt.h"

#include <stdlib.h>
#include <string.h>

const struct verb_help verb_backup_key_add_help = {
    .text =
        "Adds a key to a repository that is encrypted, under a label of its own. It is a "
        "passphrase, "
        "asked for on the terminal, twice and not shown, or all of standard input; or with "
        "--generate "
        "one that is made of chance and shown this once, which opens the repository without the "
        "second "
        "that a passphrase takes.\n\n"
        "With --only-adds it makes backups and reads nothing: a host that was broken into cannot "
        "read "
        "what it has backed up, and neither list nor restore nor verify. Such a host reads all of "
        "its "
        "files each time, since it cannot see the snapshot before; what is stored is not stored "
        "again.",
    .examples = VERB_EXAMPLES(
        {"sudo citadel backup key add office", "a second passphrase"},
        {"sudo citadel backup key add gpu2 --only-adds --generate", "for another host"}),
};

static int
check_label(struct cli *cli, const char *label)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t len = strlen(label);
    if (len > 0 && len < SEAL_LABEL_MAX && strspn(label, letters) == len)
        return 0;
    return err_set(&cli->err, ERR_USAGE,
                   "'%s' is no label of a key: 1 to %d letters, digits, '.', '_' and '-'", label,
                   SEAL_LABEL_MAX - 1);
}

static int
check_new(struct cli_backup *b, const char *label)
{
    struct repository_key *keys = NULL;
    size_t count = 0;
    int r = repository_list_keys(b->repository, &keys, &count, &b->cli->err);
    for (size_t i = 0; i < count && r == 0; i++)
        if (!keys[i].is_damaged && text_eq(keys[i].lock.label, label)) {
            r = err_set(&b->cli->err, ERR_SEAL_KEY_THERE, "there is a key '%s' already", label);
            err_fix(&b->cli->err, "citadel backup key list");
        }
    if (r == 0 && count >= REPOSITORY_KEYS_MAX)
        r = err_set(&b->cli->err, ERR_TOO_LARGE, "the repository has %zu keys, of at most %d",
                    count, REPOSITORY_KEYS_MAX);
    free(keys);
    return r;
}

static int
add(struct cli_backup *b, struct seal_lock *lock, struct secret *with)
{
    struct seal_key_file file;
    struct cli *cli = b->cli;
    int r = cli_flag(cli, "generate") ? seal_recovery_make(with, &cli->err)
                                      : cli_ask_secret(cli, "Passphrase (not shown)", with);
    if (r == 0)
        r = seal_keys_lock(b->repository->keys, lock, with, file.bytes, &cli->err);
    return r < 0 ? r : repository_add_key(b->repository, &file, &cli->err);
}

static void
tell(struct cli *cli, const struct seal_lock *lock, const struct secret *with)
{
    bool generated = cli_flag(cli, "generate");
    if (cli->json) {
        json_open_map(cli->json, NULL);
        cli_backup_json_key(cli->json, lock);
        if (generated)
            json_str(cli->json, "key", secret_reveal(with));
        json_close_map(cli->json);
        return;
    }
    cli_print(cli, "%s is added, which %s\n", lock->label,
              lock->only_adds ? "only adds" : "reads and adds");
    if (generated)
        cli_print(cli, "It is not shown again:\n\n    %s\n", secret_reveal(with));
}

int
verb_backup_key_add(struct cli *cli)
{
    _cleanup_cli_backup_ struct cli_backup b = {0};
    _cleanup_secret_ struct secret with = {0};
    struct seal_lock lock = {.only_adds = cli_flag(cli, "only-adds"), .cost = SEAL_COST};
    int r = check_label(cli, cli->args[0]);
    if (r == 0)
        r = cli_backup_open_encrypted(cli, &b);
    if (r == 0)
        r = check_new(&b, cli->args[0]);
    if (r < 0)
        return r;
    memcpy(lock.label, cli->args[0], strlen(cli->args[0]));
    r = add(&b, &lock, &with);
    if (r < 0)
        return r;
    tell(cli, &lock, &with);
    return EXIT_CODE_OK;
}
