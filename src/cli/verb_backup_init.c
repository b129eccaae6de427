#include "cli/backup.h"

#include "sys/root.h"

const struct verb_help verb_backup_init_help = {
    .text =
        "Makes the repository of backups where backup.repository of the configuration says, by "
        "default "
        "on the disk of paths.backup, beside what is there; or on another host, by SFTP or S3. "
        "Nothing is made where no disk is mounted, "
        "and a repository that is there already is left as it is.\n\n"
        "With backup.password in the configuration the repository is encrypted, by that passphrase "
        "or "
        "key; --encrypted fails where there is none. A recovery key is made as well, and shown "
        "this "
        "once: write it down, and keep it where the machine is not. Who loses both has lost the "
        "backups.\n\n"
        "--copy makes the other repository, that of backup.copy.to, for `citadel backup copy`. "
        "With "
        "backup.copy.password it is encrypted; where both are, they are sealed alike, so that "
        "packs "
        "are copied as they lie there, and either's keys open only its own.\n\n"
        "Its format is written down in docs/backup-format.md: what it holds can be restored "
        "without "
        "Citadel.",
    .examples = VERB_EXAMPLES({"sudo citadel backup init", "once"},
                              {"sudo citadel backup init --encrypted", "never in clear text"},
                              {"sudo citadel backup init --copy", "that of the cold copy"},
                              {"citadel config show backup.repository", "where it will be"}),
};

#define KEYS 2 /* that of the configuration, and the recovery key */

struct making {
    struct cli_backup b;
    struct secret password, recovery;
    struct seal_key_file files[KEYS];
    struct repository *other; /* that of backup.copy */
    const struct repository *made;
};

/* Of a root of their own, or of the one that is given. */
static int
make_keys(struct making *m, const struct seal_keys *root, struct err *reterr)
{
    _cleanup_seal_keys_ struct seal_keys *own = NULL;
    struct seal_lock main = {.label = "main", .cost = SEAL_COST}, recovery = {.label = "recovery"};
    int r = root ? 0 : seal_keys_make(&own, reterr);
    const struct seal_keys *keys = root ? root : own;
    if (r == 0)
        r = seal_recovery_make(&m->recovery, reterr);
    if (r == 0)
        r = seal_keys_lock(keys, &main, &m->password, m->files[0].bytes, reterr);
    return r < 0 ? r : seal_keys_lock(keys, &recovery, &m->recovery, m->files[1].bytes, reterr);
}

static int
need_password(struct cli *cli, const struct making *m, const char *option)
{
    if (!cli_flag(cli, "encrypted") || secret_is_set(&m->password))
        return 0;
    int r = err_set(&cli->err, ERR_SEAL_NO_KEY, "%s is not set, which would encrypt it", option);
    err_fix(&cli->err, "citadel secrets set backup; then set %s to {credential: backup}", option);
    return r;
}

static int
make(struct cli *cli, struct making *m)
{
    int r = cli_backup_begin(cli, &m->b);
    if (r == 0)
        r = cli_backup_password(&m->b, &m->password);
    if (r == 0)
        r = need_password(cli, m, "backup.password");
    const bool encrypted = secret_is_set(&m->password);
    if (r == 0 && encrypted)
        r = make_keys(m, NULL, &cli->err);
    if (r == 0)
        r = cli_backup_make(&m->b, m->files, encrypted ? KEYS : 0);
    m->made = m->b.repository;
    return r;
}

/* Where both are encrypted they have one root, so that what is sealed goes over as it is. */
static int
make_other(struct cli *cli, struct making *m)
{
    int r = cli_backup_open(cli, &m->b);
    if (r == 0)
        r = cli_backup_other_password(&m->b, &m->password);
    if (r == 0)
        r = need_password(cli, m, "backup.copy.password");
    const bool encrypted = secret_is_set(&m->password);
    if (r == 0 && encrypted)
        r = make_keys(m, m->b.repository->keys, &cli->err);
    if (r == 0)
        r = cli_backup_make_other(&m->b, m->files, encrypted ? KEYS : 0, &m->other);
    m->made = m->other;
    return r;
}

static void
tell(struct cli *cli, const struct making *m)
{
    const struct repository *r = m->made;
    const char *recovery = secret_reveal(&m->recovery);
    if (cli->json) {
        json_open_map(cli->json, NULL);
        json_str(cli->json, "repository", root_strip(r->where));
        json_str(cli->json, "id", r->id);
        json_u64(cli->json, "format", REPOSITORY_FORMAT);
        json_bool(cli->json, "encrypted", r->is_encrypted);
        if (recovery)
            json_str(cli->json, "recovery_key", recovery);
        json_close_map(cli->json);
        return;
    }
    cli_print(cli, "The repository %s is made, with the id %s.\n", r->where, r->id);
    if (recovery)
        cli_print(cli,
                  "It is encrypted. This is its recovery key, which is not shown again; write it "
                  "down:\n\n    %s\n",
                  recovery);
}

int
verb_backup_init(struct cli *cli)
{
    struct making m = {0};
    int r = cli_flag(cli, "copy") ? make_other(cli, &m) : make(cli, &m);
    if (r == 0)
        tell(cli, &m);
    repository_free(m.other);
    cli_backup_close(&m.b);
    secret_finish(&m.password);
    secret_finish(&m.recovery);
    return r < 0 ? r : EXIT_CODE_OK;
}
