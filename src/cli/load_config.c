#include "cli/load_config.h"

#include "base/mem.h"
#include "cli/frame.h"
#include "config/problems.h"

int
cli_load_config(struct cli *cli, struct config **ret_config)
{
    struct config_problems **problems = &cli->frame->problems;
    _cleanup_buf_ struct buf lines = BUF_INIT(1 * MIB);
    assert(!*problems); /* a verb has one configuration */
    *problems = mem_new(struct config_problems);
    config_problems_init(*problems);
    int r = config_load(cli->config_file, ret_config, *problems, &cli->err);
    config_problems_print(*problems, &lines);
    cli_complain(cli, lines.data);
    return r;
}
