#include "cli/storage.h"
#include "config/config.h"

const struct verb_help verb_storage_setup_help = {
    .text =
        "Makes what the services need: their directories, with owner and mode, on the disks of "
        "models and backups too, a cache for each model, and the link from the application root to "
        "the active models. citadel-storage.service runs it at every boot, and models wait for it. "
        "Done twice, it changes nothing.\n\n"
        "With storage.require_mounts nothing is written where a disk is to be mounted and none is: "
        "that would fill the disk below. Without the disk of the models it fails; without that of "
        "the backups it warns, and does the rest. What is in the way, a file or a link where a "
        "directory should be, is told and left.\n\n"
        "With --root it prepares an image, with the accounts of that image.",
    .examples = VERB_EXAMPLES({"citadel storage setup", "make what is missing"},
                              {"citadel storage setup --dry-run", "what it would do"},
                              {"citadel storage setup --root /mnt/image", "in an image"}),
};

int
verb_storage_setup(struct cli *cli)
{
    _cleanup_config_ struct config *config = NULL;
    _cleanup_storage_report_ struct storage_report report = {0};
    bool dry = cli_flag(cli, "dry-run");
    int r = cli_storage_look(cli, &config, &report);
    if (r < 0)
        return r;
    cli_storage_begin(cli, dry);
    int count = cli_storage_mend(cli, config, &report, dry);
    if (count < 0)
        return count;
    cli_storage_end(cli, &report);
    r = cli_storage_rest(cli, &report, NULL);
    if (count == 0 && r == 0 && !cli->json)
        cli_print(cli, "nothing to do: %zu directories, mounts and links are as they should be\n",
                  report.looked - report.count);
    return r < 0 ? r : EXIT_CODE_OK;
}
