#include "cli/cli.h"

#include <uv.h>
#include <yaml.h>
#include <zstd.h>

const struct verb_help verb_version_help = {
    .text = "Tells the version of Citadel, the compiler that built it and the libraries it runs "
            "with. A report of a fault should have it.",
    .examples = VERB_EXAMPLES({"citadel version", "for people"},
                              {"citadel version --json", "for programs"}),
};

int
verb_version(struct cli *cli)
{
    const struct {
        const char *name, *version;
    } libraries[] = {
        {"libuv", uv_version_string()},
        {"libyaml", yaml_get_version_string()},
        {"libzstd", ZSTD_versionString()},
    };
    if (cli->json) {
        json_open_map(cli->json, NULL);
        json_str(cli->json, "version", CITADEL_VERSION);
        json_str(cli->json, "compiler", __VERSION__);
        json_open_map(cli->json, "libraries");
        for (size_t i = 0; i < ARRAY_SIZE(libraries); i++)
            json_str(cli->json, libraries[i].name, libraries[i].version);
        json_close_map(cli->json);
        json_close_map(cli->json);
        return EXIT_CODE_OK;
    }
    cli_print(cli, "citadel %s\n", CITADEL_VERSION);
    cli_print(cli, "compiler %s\n", __VERSION__);
    for (size_t i = 0; i < ARRAY_SIZE(libraries); i++)
        cli_print(cli, "%s %s\n", libraries[i].name, libraries[i].version);
    return EXIT_CODE_OK;
}
