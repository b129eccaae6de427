#include "base/quantity.h"
#include "cli/asker.h"
#include "cli/confirm.h"
#include "cli/emergency.h"
#include "cli/load_config.h"
#include "config/config.h"
#include "deploy/emergency.h"
#include "service/systemd.h"
#include "sys/root.h"

#include <signal.h>
#include <string.h>

const struct verb_help verb_rollback_emergency_help = {
    .text =
        "Kills everything of Citadel at once: models with all their processes, the gateway, the "
        "monitor, what runs at its time, and a `citadel up`. Answers that are being given are cut "
        "off. Then it sees that the memory of the GPUs is free. It does not need systemd or its "
        "bus "
        "to answer, nor the monitor.\n\n"
        "Before that it leaves a marker in the directory of what runs: while it is there nothing "
        "starts, whoever asks, until --lift or a reboot. A second emergency stop is no error, and "
        "kills what has come up since.\n\n"
        "Exits with 1 when something is left: a process that hangs in the kernel, or memory that "
        "is "
        "not free. What is left is told.",
    .examples =
        VERB_EXAMPLES({"citadel rollback emergency", "after a question"},
                      {"citadel rollback emergency --force --why 'smoke in rack 3'", "at once"},
                      {"citadel rollback emergency --lift", "allow it to start again"},
                      {"citadel-rollback emergency --force", "the same by its other name"}),
};

/* ---- lifting ---- */

/* The target may not have been stopped: then a start of it does nothing. */
static const char *
how_to_start(void)
{
    return systemd_is_here() ? "systemctl restart citadel-ai.target" : "citadel up";
}

static int
lift(struct cli *cli, const char *run_dir)
{
    _cleanup_buf_ struct buf line = BUF_INIT(1 * KIB);
    struct run_marker marker;
    run_marker_read(run_dir, &marker);
    int r = run_marker_lift(run_dir, &cli->err);
    if (r < 0) {
        err_fix(&cli->err, "the same with sudo");
        return r;
    }
    cli_emergency_line(&marker, &line);
    if (cli->json) {
        json_open_map(cli->json, NULL);
        cli_emergency_json(&marker, cli->json, "lifted");
        json_str(cli->json, "start", how_to_start());
        json_close_map(cli->json);
    } else if (!marker.set) {
        cli_print(cli, "No emergency stop was in force.\n");
    } else {
        cli_print(cli, "Lifted: the emergency stop %s.\n", line.data);
        cli_print(cli, "Nothing was started. To start: %s\n", how_to_start());
    }
    return EXIT_CODE_OK;
}

/* ---- stopping ---- */

static void
print_left(struct cli *cli, const struct emergency_processes *left)
{
    if (left->all.count)
        cli_print(cli, "Left, although killed:\n");
    vec_foreach (&left->all, p)
        cli_print(cli, "  process %d (%s) of %s%s\n", (int)p->kin.pid, p->name,
                  p->service[0] ? p->service : "citadel",
                  p->state == 'D' ? ": it hangs in the kernel" : "");
}

/* What may come up by itself once the marker has gone. */
static void
print_later(struct cli *cli, const struct emergency_report *report)
{
    cli_print(cli,
              "Nothing of Citadel starts now. To allow it: citadel rollback emergency --lift\n");
    if (report->systemd == EMERGENCY_SILENT)
        cli_print(cli, "systemd did not answer in time: what it was about to start again it starts "
                       "when that is lifted before it has tried.\n");
    else
        cli_print(cli, "Even then nothing starts by itself%s.\n",
                  report->systemd == EMERGENCY_TOLD ? "; a reboot lifts it and starts all" : "");
}

static void
print_report(struct cli *cli, const struct emergency_report *report)
{
    size_t killed = report->killed.all.count, services = emergency_services(&report->killed);
    quantity_text text;
    if (killed)
        cli_print(cli, "%zu process%s of %zu service%s killed, in %s.\n", killed,
                  killed == 1 ? "" : "es", services, services == 1 ? "" : "s",
                  quantity_print_us(report->took_us / 1000 * 1000, text));
    else
        cli_print(cli, "Nothing of Citadel ran.\n");
    print_left(cli, &report->left);
    if (report->gpu.id != ERR_NONE)
        cli_print(cli, "GPU memory is not known to be free: %s\n", report->gpu.what);
    else if (report->gpus)
        cli_print(cli, "GPU memory is free: none of %zu GPU%s lists one of them.\n", report->gpus,
                  report->gpus == 1 ? "" : "s");
    else
        cli_print(cli, "There are no GPUs here whose memory could be held.\n");
    if (report->marker.id == ERR_NONE)
        print_later(cli, report);
}

static void
print_process(struct json_writer *w, const struct emergency_process *p)
{
    char state[2] = {p->state, '\0'};
    json_open_map(w, NULL);
    json_u64(w, "pid", (uint64_t)p->kin.pid);
    json_str(w, "service", p->service[0] ? p->service : NULL);
    json_str(w, "name", p->name[0] ? p->name : NULL);
    json_str(w, "state", state[0] ? state : NULL);
    json_close_map(w);
}

static void
print_report_json(struct json_writer *w, const struct emergency_report *report)
{
    static const char *const systemd[] = {
        [EMERGENCY_NO_SYSTEMD] = NULL, [EMERGENCY_TOLD] = "told", [EMERGENCY_SILENT] = "silent"};
    json_open_map(w, NULL);
    json_u64(w, "killed", report->killed.all.count);
    json_u64(w, "services", emergency_services(&report->killed));
    json_u64(w, "took_us", report->took_us);
    json_open_list(w, "left");
    vec_foreach (&report->left.all, p)
        print_process(w, p);
    json_close_list(w);
    json_u64(w, "gpus_free", report->gpus);
    json_str(w, "gpu_error", report->gpu.id == ERR_NONE ? NULL : report->gpu.what);
    json_str(w, "marker_error", report->marker.id == ERR_NONE ? NULL : report->marker.what);
    json_str(w, "systemd", systemd[report->systemd]);
    json_close_map(w);
}

static int
stop(struct cli *cli, const char *run_dir)
{
    struct emergency_report report;
    char by[64];
    const char *why = cli_option(cli, "why");
    if (why && strlen(why) > RUN_MARKER_WHY_MAX)
        return err_set(&cli->err, ERR_VALUE, "--why has %zu bytes, and %d are the most",
                       strlen(why), RUN_MARKER_WHY_MAX);
    const struct emergency_wish wish = {
        .run_dir = run_dir, .by = cli_asker(by), .why = why ? why : ""};
    /* The terminal may be one of what is killed. */
    (void)sigaction(SIGHUP, &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
    int r = emergency_stop(&wish, &report, &cli->err);
    if (r == 0 || cli->err.id == ERR_EMERGENCY_LEFT) {
        if (cli->json)
            print_report_json(cli->json, &report);
        else
            print_report(cli, &report);
    }
    emergency_report_finish(&report);
    return r;
}

/* What is wrong with a configuration has been told; it must not be in the way. */
static char *
find_run_dir(struct cli *cli, struct arena *arena)
{
    _cleanup_config_ struct config *config = NULL;
    if (cli_load_config(cli, &config) == 0)
        return arena_strdup(arena, config->paths.run);
    char *dir = root_path(arena, config_path_preset("run"));
    cli_error(cli, &cli->err);
    cli_note(cli, "without a configuration: what runs is looked for in %s", dir ? dir : "");
    cli->err = (struct err){0};
    return dir;
}

int
verb_rollback_emergency(struct cli *cli)
{
    _cleanup_arena_ struct arena arena;
    arena_init(&arena, 64 * KIB);
    const char *run_dir = find_run_dir(cli, &arena);
    if (!run_dir)
        return err_set(&cli->err, ERR_TOO_LARGE, "the path of what runs is too long");
    if (cli_flag(cli, "lift"))
        return lift(cli, run_dir);
    int r = cli_confirm(cli, "Kill all of Citadel, and cut off the answers that are being given?");
    return r < 0 ? r : stop(cli, run_dir);
}
