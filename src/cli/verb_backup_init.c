#include "cli/backup.h"

#include "sys/root.h"

const struct verb_help verb_backup_init_help = {
    .text = "Makes the repository of backups where backup.repository of the configuration says, by "
            "default "
            "on the disk of paths.backup, beside what is there. Nothing is made where no disk is "
            "mounted, "
            "and a repository that is there already is left as it is.\n\n"
            "Its format is written down in docs/backup-format.md: what it holds can be restored "
            "without "
            "Citadel.",
    .examples = VERB_EXAMPLES({"sudo citadel backup init", "once"},
                              {"citadel config show backup.repository", "where it will be"}),
};

int
verb_backup_init(struct cli *cli)
{
    _cleanup_cli_backup_ struct cli_backup b = {0};
    int r = cli_backup_open(cli, true, &b);
    if (r < 0)
        return r;
    if (cli->json) {
        json_open_map(cli->json, NULL);
        json_str(cli->json, "repository", root_strip(b.repository->where));
        json_str(cli->json, "id", b.repository->id);
        json_u64(cli->json, "format", REPOSITORY_FORMAT);
        json_close_map(cli->json);
    } else {
        cli_print(cli, "The repository %s is made, with the id %s.\n", b.repository->where,
                  b.repository->id);
    }
    return EXIT_CODE_OK;
}
