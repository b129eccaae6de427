#include "base/text.h"
#include "cli/deploy.h"
#include "cli/frame.h"
#include "config/problems.h"
#include "sys/files.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const struct verb_help verb_apply_help = {
    .text =
        "Makes a new generation of the configuration, its plan and its units, shows what changes, "
        "and asks. Then systemd is given the whole of it by one rename, and only units that "
        "differ are restarted; what is to run and does not is started, unless a person has "
        "stopped it. Each has to become ready: when a unit that has changed does not, the last "
        "stable generation comes back. Where nothing differs nothing is written.\n\n"
        "PLAN is what `citadel plan --json` has printed. It is refused when the configuration, the "
        "models, the GPUs or what is deployed are not those of then.\n\n"
        "The work is done as a unit of its own, which goes on when the terminal is lost. One at a "
        "time changes what is deployed. An interrupted deployment leaves the old or the new "
        "generation, and is made good by the next.\n\n"
        "Where `citadel up` runs the services, it is done in the same way, by this command itself: "
        "Ctrl-C interrupts it. Where nobody runs any, only the files are changed. Exits with 1 "
        "when "
        "something does not run that should.",
    .examples = VERB_EXAMPLES({"sudo citadel apply", "show what changes, ask, and do it"},
                              {"citadel plan --json > plan.json", "what was looked at"},
                              {"sudo citadel apply -y plan.json", "is what is done"}),
};

#define SAVED_MAX (16 * MIB)

static int
refuse(const char *file, const char *why, struct err *reterr)
{
    int r = err_set(reterr, ERR_DEPLOY_STALE, "%s: %s", file, why);
    err_fix(reterr, "citadel plan --json > %s", file);
    return r;
}

/* A plan that was saved must be the one of now. */
static int
check_saved(const char *file, const struct plan *plan, unsigned current, struct err *reterr)
{
    _cleanup_buf_ struct buf text = BUF_INIT(SAVED_MAX);
    _cleanup_arena_ struct arena arena;
    struct value *root = NULL;
    struct plan saved;
    arena_init(&arena, 4 * SAVED_MAX);
    int r = file_read(file, &text, reterr);
    if (r == 0)
        r = json_parse(&arena, text.data, text.len, JSON_STRICT, &root, NULL, reterr);
    if (r == 0)
        r = plan_read(root, &arena, &saved, reterr);
    if (r < 0) {
        err_prefix(reterr, "%s", file);
        return r;
    }
    if (!value_get(root, "current"))
        return refuse(file, "it does not say what was deployed when it was made", reterr);
    if (!text_eq(saved.fingerprint, plan->fingerprint))
        return refuse(file, "it was made of another configuration, other models or other GPUs",
                      reterr);
    if (value_u32(value_get(root, "current")) != current)
        return refuse(file, "something else was deployed since it was made", reterr);
    return 0;
}

int
verb_apply(struct cli *cli)
{
    _cleanup_cli_candidate_ struct cli_candidate c = {0};
    _cleanup_cli_deploy_ struct cli_deploy d = {0};
    int r = cli_load_candidate(cli, false, &c);
    if (r == 0)
        r = cli_check_conflicts(cli, &c.loaded.plan);
    if (r == 0)
        r = cli_deploy_open(cli, c.loaded.config, "citadel apply", &d);
    if (r < 0)
        return r;
    d.wish.files = c.files;
    d.wish.count = c.count;
    if (cli->args_count) {
        unsigned current;
        r = generation_of(d.wish.store, GENERATION_CURRENT, &current, &cli->err);
        if (r == 0)
            r = check_saved(cli->args[0], &c.loaded.plan, current, &cli->err);
    }
    return r < 0 ? r : cli_deploy_do(cli, &d, "apply");
}
