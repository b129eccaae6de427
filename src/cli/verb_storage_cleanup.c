#include "base/text.h"
#include "cli/confirm.h"
#include "cli/load_config.h"
#include "cli/storage.h"

#include <stdlib.h>

const struct verb_help verb_storage_cleanup_help = {
    .text =
        "Takes back what `citadel storage setup` made, as far as it is empty: directories with "
        "anything in them stay, as do the mount points and the top directories; the link to the "
        "active models stays for as long as there is a model. What will go is shown, then it asks; "
        "with -y it does not, and without a terminal to ask at it does nothing. --json has "
        "{\"dry_run\", \"paths\"}: what was removed, or would be.",
    .examples = VERB_EXAMPLES({"citadel storage cleanup", "show, ask, and do it"},
                              {"citadel storage cleanup --dry-run", "only show"}),
};

struct telling {
    struct cli *cli;
    const char *word;
    size_t count;
};

static void
tell(const char *path, void *arg)
{
    struct telling *t = arg;
    t->count++;
    if (t->cli->json) {
        json_str(t->cli->json, NULL, path);
        return;
    }
    _cleanup_free_ char *shown = mem_strdup(path);
    text_disarm(shown);
    cli_print(t->cli, "%s %s\n", t->word, shown);
}

static int
run(struct cli *cli, const struct config *config, bool dry, size_t *ret_count)
{
    struct telling t = {cli, dry ? "will remove" : "removed", 0};
    if (cli->json) {
        json_open_map(cli->json, NULL);
        json_bool(cli->json, "dry_run", dry);
        json_open_list(cli->json, "paths");
    }
    int r = storage_remove(config, dry, tell, &t, &cli->err);
    if (cli->json && r == 0) {
        json_close_list(cli->json);
        json_close_map(cli->json);
    }
    *ret_count = t.count;
    return r;
}

int
verb_storage_cleanup(struct cli *cli)
{
    _cleanup_config_ struct config *config = NULL;
    bool dry = cli_flag(cli, "dry-run"), yes = cli_flag(cli, "yes");
    size_t count = 0;
    int r = cli_load_config(cli, &config);
    if (r == 0 && yes && !dry)
        return run(cli, config, false, &count);
    if (r == 0)
        r = run(cli, config, true, &count);
    if (r < 0)
        return r;
    if (count == 0 && !cli->json)
        cli_print(cli, "nothing to do\n");
    if (dry || count == 0)
        return EXIT_CODE_OK;
    r = cli_confirm(cli, "Remove them?");
    return r < 0 ? r : run(cli, config, false, &count);
}
