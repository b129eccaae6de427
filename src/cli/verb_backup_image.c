#include "backup/image.h"
#include "base/text.h"
#include "cli/backup_save.h"

#include <string.h>

const struct verb_help verb_backup_image_help = {
    .text =
        "Backs up block devices as they are, byte for byte: those that are named, or those of "
        "backup.image.devices; or files. Blocks that the repository has, and runs of zeros, are "
        "not stored again; but all of a device is read, since nothing tells what has changed on "
        "it.\n\n"
        "A device that is in use is refused, unless what is on it is mounted read-only: it would "
        "change while it is read. With --force it is saved as a power cut would leave it.\n\n"
        "`citadel backup restore NAME --to DEVICE --replace` writes one back, to a device that "
        "nothing uses, or into a new file.",
    .examples = VERB_EXAMPLES(
        {"sudo citadel backup image /dev/sda1", "one partition"},
        {"sudo citadel backup image", "those of the configuration"},
        {"sudo citadel backup restore sda1 --to /dev/sdb1 --replace", "onto another disk"}),
};

static int
back_up(struct cli_save *k, const char *path)
{
    const char *slash = strrchr(path, '/');
    const struct cli_save_wish wish = {.name = slash ? slash + 1 : path,
                                       .source = path,
                                       .is_image = true,
                                       .in_use = cli_flag(k->b.cli, "force")};
    return cli_save_run(k, &wish);
}

static int
back_up_all(struct cli_save *k)
{
    struct cli *cli = k->b.cli;
    const struct config_list *devices = &k->b.config->backup.image.devices;
    int r = 0;
    for (size_t i = 0; i < cli->args_count && r == 0; i++)
        r = back_up(k, cli->args[i]);
    for (size_t i = 0; cli->args_count == 0 && i < devices->count && r == 0; i++)
        r = back_up(k, devices->items[i]);
    return r;
}

static int
check_some(struct cli_save *k)
{
    struct cli *cli = k->b.cli;
    if (cli->args_count > 0 || k->b.config->backup.image.devices.count > 0)
        return 0;
    int r = err_set(&cli->err, ERR_USAGE, "no device is named, and backup.image.devices has none");
    err_fix(&cli->err, "citadel backup image DEVICE; lsblk -p shows them");
    return r;
}

int
verb_backup_image(struct cli *cli)
{
    struct cli_save k;
    int r = cli_save_begin(cli, "image", &k);
    if (r == 0)
        r = check_some(&k);
    if (r == 0)
        r = cli_save_open(&k);
    if (r == 0)
        r = back_up_all(&k);
    return cli_save_end(&k, r);
}
