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
        "PLAN is what `citadel plan --json` has printed. It is refused when anything that would be "
        "deployed, to the byte, or what is deployed is not that of then: the configuration, the "
        "models, the GPUs, the engine, or Citadel itself.\n\n"
        "What was shown and confirmed is what is done: if any of that changes meanwhile, nothing "
        "is.\n\n"
        "A model that is deployed and still enabled is not given up because its files, its engine "
        "or its GPUs are not there now: that is refused, nothing changes and nothing stops. Mend "
        "it, or leave it out by `citadel disable NAME`, or insist with --force.\n\n"
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

/* The digest in a plan that was saved. */
static int
read_saved(const char *file, char ret_digest[HASH_SHA256_HEX], struct err *reterr)
{
    _cleanup_buf_ struct buf text = BUF_INIT(SAVED_MAX);
    _cleanup_arena_ struct arena arena;
    struct value *root = NULL;
    arena_init(&arena, 4 * SAVED_MAX);
    int r = file_read(file, &text, reterr);
    if (r < 0) {
        err_fix(reterr, "citadel plan --json > plan.json; citadel apply plan.json");
        return r;
    }
    r = json_parse(&arena, text.data, text.len, JSON_STRICT, &root, NULL, reterr);
    const char *digest = r == 0 ? value_str(value_get(root, "digest")) : NULL;
    if (r == 0 && (!digest || strlen(digest) != HASH_SHA256_HEX - 1))
        r = err_set(reterr, ERR_SYNTAX, "it has no digest of what it is a plan of");
    if (r == 0) {
        memcpy(ret_digest, digest, HASH_SHA256_HEX);
        return 0;
    }
    err_prefix(reterr, "%s", file);
    err_fix(reterr, "citadel plan --json > %s", file);
    return r;
}

int
verb_apply(struct cli *cli)
{
    static const struct cli_deed deed = {.words = "apply", .question = "Do it?"};
    _cleanup_cli_candidate_ struct cli_candidate c = {0};
    _cleanup_cli_deploy_ struct cli_deploy d = {0};
    char saved[HASH_SHA256_HEX];
    int r = cli_load_candidate(cli, false, &c);
    if (r == 0)
        r = cli_check_models_disk(cli, c.loaded.config);
    if (r == 0)
        r = cli_deploy_open(cli, c.loaded.config, "citadel apply", &d);
    if (r == 0 && cli->args_count)
        r = read_saved(cli->args[0], saved, &cli->err);
    if (r == 0)
        r = cli_deploy_take(cli, &d, &c, "force");
    if (r < 0)
        return r;
    d.args_count = 0; /* the digest says all of the plan */
    if (cli->args_count)
        d.wish.expect = saved;
    r = cli_deploy_do(cli, &d, &deed);
    if (r < 0 && cli->args_count && cli->err.id == ERR_DEPLOY_STALE)
        err_fix(&cli->err, "citadel plan --json > %s", cli->args[0]);
    return r;
}
