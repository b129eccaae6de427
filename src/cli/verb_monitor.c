#include "cli/load_config.h"
#include "config/reread.h"
#include "role/monitor.h"

#include <errno.h>
#include <limits.h>
#include <unistd.h>

const struct verb_help verb_monitor_help = {
    .text =
        "Watches services, GPUs and disks, in the foreground, until it is asked to end: this is "
        "what citadel-monitor.service runs, and what `citadel up` runs beside the models. It "
        "starts again what lacked something that is there now, restarts what stays unwell, and "
        "opens the breaker of a model that keeps failing: that one is held, and tried now and "
        "then. What a person has stopped, it leaves alone. All that it does is an event.\n\n"
        "If it ends, in whatever way, nothing else does.",
    .examples = VERB_EXAMPLES({"citadel monitor", "watch, in the foreground"}),
};

int
verb_monitor(struct cli *cli)
{
    _cleanup_config_ struct config *config = NULL;
    char program[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", program, sizeof(program) - 1);
    if (len <= 0)
        return err_set_errno(&cli->err, errno, "/proc/self/exe");
    program[len] = '\0';
    if (cli->json)
        return err_set(&cli->err, ERR_USAGE, "monitor has no result to print as JSON; status has");
    int r = cli_load_config(cli, &config);
    if (r < 0)
        return r;
    config_set_log_level(config);
    return monitor_run(config, program, &cli->err);
}
