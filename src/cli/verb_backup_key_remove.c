#include "base/text.h"
#include "cli/backup.h"
#include "cli/confirm.h"

#include <stdlib.h>

const struct verb_help verb_backup_key_remove_help = {
    .text =
        "Removes a key of a repository that is encrypted, by its label: it opens the repository "
        "no more. "
        "The last key that reads stays. Whoever has opened the repository with a key may have "
        "kept "
        "what it opens: where that is to be feared, only a new repository helps.",
    .examples = VERB_EXAMPLES({"sudo citadel backup key remove gpu2", "a host that is gone"}),
};

struct keys {
    struct repository_key *items;
    size_t count;
};

static int
find(struct cli *cli, const struct keys *keys, const char *label, const struct repository_key **ret)
{
    size_t readers = 0;
    *ret = NULL;
    for (size_t i = 0; i < keys->count; i++) {
        const struct repository_key *key = &keys->items[i];
        readers += !key->is_damaged && !key->lock.only_adds;
        if (!key->is_damaged && text_eq(key->lock.label, label))
            *ret = key;
    }
    if (!*ret) {
        int r = err_set(&cli->err, ERR_SEAL_KEY_NONE, "there is no key '%s'", label);
        err_fix(&cli->err, "citadel backup key list");
        return r;
    }
    if ((*ret)->lock.only_adds || readers > 1)
        return 0;
    int r = err_set(&cli->err, ERR_SEAL_LAST_KEY,
                    "'%s' is the last key that reads: without it all is lost", label);
    err_fix(&cli->err, "add another first: citadel backup key add LABEL");
    return r;
}

int
verb_backup_key_remove(struct cli *cli)
{
    _cleanup_cli_backup_ struct cli_backup b = {0};
    const struct repository_key *key = NULL;
    struct keys keys = {0};
    int r = cli_backup_open_encrypted(cli, &b);
    if (r == 0)
        r = repository_need_reading(b.repository, &cli->err);
    if (r == 0)
        r = repository_list_keys(b.repository, &keys.items, &keys.count, &cli->err);
    if (r == 0)
        r = find(cli, &keys, cli->args[0], &key);
    if (r == 0)
        r = cli_confirm(cli, "Remove the key '%s'?", cli->args[0]);
    if (r == 0)
        r = repository_remove(b.repository, REPOSITORY_KEYS, key->name, &cli->err);
    free(keys.items);
    if (r < 0)
        return r;
    if (cli->json) {
        json_open_map(cli->json, NULL);
        json_str(cli->json, "removed", cli->args[0]);
        json_close_map(cli->json);
    } else {
        cli_print(cli, "%s opens the repository no more\n", cli->args[0]);
    }
    return EXIT_CODE_OK;
}
