#include "cli/load_config.h"
#include "doctor/doctor.h"

const struct verb_help verb_doctor_help = {
    .text =
        "Looks whether this machine has what the configuration needs: host, GPUs, engines, "
        "storage, "
        "models, secrets, and the host that watches this one. Each finding says whether it is "
        "required, what was found, and what mends it. Nothing is changed. Run it as root: other "
        "users do not see who holds a port, or whether a secret is there.\n\n"
        "Exits with 0 when all that is required holds, and with 3 when something does not, or "
        "cannot be found out.",
    .examples =
        VERB_EXAMPLES({"citadel doctor", "all checks"},
                      {"citadel doctor --json | jq '.findings[] | select(.verdict == \"failed\")'",
                       "what failed, for programs"}),
};

static enum tone
tone_of(const struct doctor_finding *f)
{
    if (f->verdict == DOCTOR_HOLDS)
        return TONE_GOOD;
    if (f->verdict == DOCTOR_NOT_NEEDED)
        return TONE_DIM;
    return f->required ? TONE_BAD : TONE_WARN;
}

static void
print_finding(struct cli *cli, const struct doctor_finding *f)
{
    bool wrong = f->verdict == DOCTOR_FAILS || f->verdict == DOCTOR_UNKNOWN;
    cli_print(cli, "  %s%-10s%s %s%s%s: %s%s\n", tone_start(tone_of(f), &cli->look),
              doctor_verdict_word(f->verdict), tone_end(tone_of(f), &cli->look), f->check->id,
              *f->subject ? " " : "", f->subject, f->found,
              wrong && !f->required ? " (optional)" : "");
    if (wrong && *f->remedy)
        cli_print(cli, "             try: %s\n", f->remedy);
}

static void
print(struct cli *cli, const struct doctor_report *report)
{
    size_t required = doctor_count_wrong(report, true);
    size_t optional = doctor_count_wrong(report, false);
    for (size_t i = 0; i < report->count; i++) {
        const struct doctor_finding *f = &report->items[i];
        if (i == 0 || f->check->group != report->items[i - 1].check->group)
            cli_print(cli, "%s\n", doctor_group_title(f->check->group));
        print_finding(cli, f);
    }
    if (report->untold)
        cli_print(cli, "%zu findings more than can be told\n", report->untold);
    cli_print(cli, "%zu looked at; %zu that %s required %s hold, %zu optional\n", report->count,
              required, required == 1 ? "is" : "are", required == 1 ? "does not" : "do not",
              optional);
}

int
verb_doctor(struct cli *cli)
{
    _cleanup_config_ struct config *config = NULL;
    _cleanup_doctor_report_ struct doctor_report report = {0};
    int r = cli_load_config(cli, &config);
    if (r == 0)
        r = doctor_run(config, &report, &cli->err);
    if (r < 0)
        return r;
    if (cli->json)
        doctor_print_json(&report, cli->json);
    else
        print(cli, &report);
    return doctor_count_wrong(&report, true) ? EXIT_CODE_UNHEALTHY : EXIT_CODE_OK;
}
