#include "base/text.h"
#include "cli/candidate.h"
#include "sys/files.h"

#include <errno.h>
#include <string.h>

const struct verb_help verb_units_help = {
    .text =
        "Shows the units of systemd that the configuration comes to on this machine, as they would "
        "be deployed, one after the other or the one of NAME: a service, or a file as the list of "
        "--json names it. With --explain each line has its reason before it. Nothing is "
        "started.\n\n"
        "With --write they are written into DIR, which is made: to read, to compare, or for an "
        "image, and with --root only below that. Units that were written there before, and that "
        "the configuration has no more, are "
        "removed; other files stay as they are.\n\n"
        "citadel.sysusers, citadel.tmpfiles and citadel.rules are no units: they go to "
        "/etc/sysusers.d/citadel.conf, /etc/tmpfiles.d/citadel.conf and "
        "/etc/polkit-1/rules.d/60-citadel.rules, where they replace those of `make install`.",
    .examples = VERB_EXAMPLES({"citadel units phi3", "the unit of a model"},
                              {"citadel units gateway --explain", "why each line is there"},
                              {"citadel units --write /tmp/units", "all of them, as files"}),
};

static const char *
candidate(size_t i, const void *arg)
{
    const struct unit_set *set = arg;
    return i < set->count ? set->files[i].name : NULL;
}

/* Leaves only the one that is meant. */
static int
pick(struct cli *cli, const char *name, struct unit_set *set)
{
    const struct unit_file *file = unit_find(set, name);
    if (!file) {
        int r = err_set(&cli->err, ERR_SERVICE_NONE, "there is no unit '%s'", name);
        err_fix_nearest(&cli->err, name, candidate, set, "citadel plan");
        return r;
    }
    *set = (struct unit_set){file, 1};
    return 0;
}

static void
print_json(struct json_writer *w, const struct unit_set *set)
{
    json_open_map(w, NULL);
    for (size_t i = 0; i < set->count; i++)
        json_str(w, set->files[i].name, set->files[i].text);
    json_close_map(w);
}

static void
print(struct cli *cli, const struct unit_set *set)
{
    for (size_t i = 0; i < set->count; i++) {
        if (set->count > 1)
            cli_print(cli, "%s# ---- %s\n", i ? "\n" : "", set->files[i].name);
        cli_print_bytes(cli, set->files[i].text, strlen(set->files[i].text));
    }
}

int
verb_units(struct cli *cli)
{
    _cleanup_cli_candidate_ struct cli_candidate candidate = {0};
    const char *dir = cli_option(cli, "write");
    int r = cli_load_candidate(cli, cli_flag(cli, "explain"), &candidate);
    struct unit_set set = candidate.units;
    if (r == 0 && cli->args_count)
        r = pick(cli, cli->args[0], &set);
    if (r < 0)
        return r;
    if (dir)
        return cli_write_units(cli, &set, dir);
    if (cli->json)
        print_json(cli->json, &set);
    else
        print(cli, &set);
    return EXIT_CODE_OK;
}
