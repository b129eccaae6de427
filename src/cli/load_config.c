#include "cli/load_config.h"

#include "base/mem.h"
#include "cli/frame.h"
#include "config/problems.h"
#include "sys/root.h"

#include <stdlib.h>

static int
load(struct cli *cli, const char *file, struct config_problems *problems,
     struct config **ret_config, struct err *reterr)
{
    _cleanup_buf_ struct buf lines = BUF_INIT(1 * MIB);
    config_problems_init(problems);
    int r = config_load(file, ret_config, problems, reterr);
    config_problems_print(problems, &lines);
    cli_complain(cli, lines.data);
    return r;
}

int
cli_load_config(struct cli *cli, struct config **ret_config)
{
    struct config_problems **problems = &cli->frame->problems;
    assert(!*problems); /* a verb has one configuration */
    *problems = mem_new(struct config_problems);
    return load(cli, cli->config_file, *problems, ret_config, &cli->err);
}

int
cli_load_deployed(struct cli *cli, struct config **ret_config)
{
    struct config_problems *problems = mem_new(struct config_problems);
    _cleanup_arena_ struct arena arena;
    struct err err;
    arena_init(&arena, 16 * KIB);
    int r = cli_load_config(cli, ret_config);
    const char *store = root_path(&arena, config_path_preset("generations"));
    const char *file = store ? arena_printf(&arena, "%s/current/config.yaml", store) : NULL;
    config_problems_init(problems);
    bool named = cli->config_file || getenv("CITADEL_CONFIG");
    if (r < 0 && !named && file && load(cli, file, problems, ret_config, &err) == 0) {
        cli_error(cli, &cli->err);
        cli_note(cli, "what is deployed is used instead: %s", file);
        cli->err = (struct err){0};
        struct config_problems *spoilt = cli->frame->problems;
        cli->frame->problems = problems;
        problems = spoilt;
        r = 0;
    }
    config_problems_finish(problems);
    free(problems);
    return r;
}

struct config *
cli_parse_config(const char *text, size_t len, const char *file)
{
    _cleanup_config_problems_ struct config_problems problems;
    struct config *config = NULL;
    config_problems_init(&problems);
    return config_parse(text, len, file, &config, &problems, NULL) < 0 ? NULL : config;
}
