#include "base/mem.h"
#include "base/quantity.h"
#include "cli/cli.h"
#include "cli/demo.h"
#include "cli/load_config.h"
#include "cli/up_view.h"
#include "config/config.h"
#include "run/marker.h"
#include "service/list.h"
#include "sys/apart.h"
#include "sys/loop.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

const struct verb_help verb_up_help = {
    .text =
        "Runs the services of the configuration in the foreground, without systemd: for "
        "containers, rented machines and laptops. They are started in the order of what they "
        "need, restarted when they fail, within limits, and stopped in the opposite order when "
        "Ctrl-C is pressed; a second Ctrl-C does not wait. On a terminal a table shows their "
        "states; elsewhere each change is a line. From another terminal, `citadel status`, "
        "`start`, `stop`, `restart`, `logs` and `health` speak with it.\n\n"
        "With names, only these are started; the others are there, stopped, and can be started "
        "later.\n\n"
        "With --demo nothing is needed: three simulated models are started on two simulated GPUs, "
        "in a temporary directory ($TMPDIR, or /tmp; with --root DIR, in DIR) that goes when it "
        "ends. "
        "What one that was killed has left goes with the next. Their addresses are told, with a "
        "command that asks one.",
    .examples = VERB_EXAMPLES({"citadel up", "all services of the configuration"},
                              {"citadel up phi3 coder", "two of them"},
                              {"citadel up --demo", "a demonstration, on any machine"}),
};

#define ARENA_MAX (4 * MIB)

struct up {
    struct cli *cli;
    struct loop *loop;
    struct direct *direct;
    struct service_list list;
    struct demo demo;
    bool is_demo, told, stopping;
    struct up_view view;
    struct loop_signal signals[4];
    struct loop_defer ready; /* all that are wanted */
};

/* ---- what is told ---- */

static bool
is_up(const char *name, const void *arg)
{
    const struct up *u = arg;
    for (size_t i = 0; i < direct_count(u->direct); i++)
        if (text_eq(direct_status(u->direct, i)->name, name))
            return direct_status(u->direct, i)->state == SERVICE_READY;
    return false;
}

static void
on_all_ready(struct loop_defer *defer)
{
    struct up *u = container_of(defer, struct up, ready);
    _cleanup_buf_ struct buf text = BUF_INIT(8 * KIB);
    u->told = true;
    demo_tell(&u->demo, is_up, u, &text);
    up_view_say(&u->view, text.data);
}

static bool
all_are_ready(const struct up *u)
{
    for (size_t i = 0; i < direct_count(u->direct); i++)
        if (u->list.items[i].wanted && direct_status(u->direct, i)->state != SERVICE_READY)
            return false;
    return true;
}

static void
on_changed(void *arg, const struct service_status *status)
{
    struct up *u = arg;
    up_view_changed(&u->view, status);
    if (u->is_demo && !u->told && !u->stopping && all_are_ready(u))
        loop_defer(u->loop, &u->ready);
}

static void
on_ended(void *arg)
{
    struct up *u = arg;
    loop_stop(u->loop);
}

static void
tell_promises(struct up *u)
{
    enum contain_kind kind = direct_containment(u->direct);
    size_t leftovers = direct_leftovers(u->direct);
    const struct service *worst = &u->list.items[0];
    quantity_text text;
    for (size_t i = 1; i < u->list.count; i++)
        if (budget_bound(&u->list.items[i].budget) > budget_bound(&worst->budget))
            worst = &u->list.items[i];
    if (leftovers)
        cli_note(u->cli, "ended %zu process%s of a supervisor that was killed", leftovers,
                 leftovers == 1 ? "" : "es");
    if (direct_stuck(u->direct)->id != ERR_NONE)
        cli_note(u->cli, "%s", direct_stuck(u->direct)->what);
    cli_note(u->cli, "containment: %s: %s", contain_word(kind), contain_promise(kind));
    cli_note(u->cli,
             "restarts: a service that always fails is given up after %u starts, and after %s at "
             "most (%s; not counting the time that it waits for others, or for what it lacks)",
             worst->budget.burst, quantity_print_us(budget_bound(&worst->budget), text),
             worst->name);
}

/* ---- signals ---- */

static void
stop(struct up *u)
{
    if (u->stopping) {
        direct_kill_all(u->direct);
        return;
    }
    u->stopping = true;
    if (u->view.in_place)
        u->view.footer = "Ending in order. Ctrl-C again ends all at once.";
    direct_stop_all(u->direct);
}

#define ON_SIGNAL(n)                                                           \
    static void on_signal_##n(struct loop_signal *watch, int signo unused_arg) \
    {                                                                          \
        stop(container_of(watch, struct up, signals[n]));                      \
    }
ON_SIGNAL(0)
ON_SIGNAL(1)
ON_SIGNAL(2)
ON_SIGNAL(3)

static int
open_signals(struct up *u)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
    static void (*const received[])(struct loop_signal *, int) = {on_signal_0, on_signal_1,
                                                                  on_signal_2, on_signal_3};
    for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
        u->signals[i].received = received[i];
        int r = loop_signal_start(u->loop, &u->signals[i], signals[i]);
        if (r < 0)
            return err_set_errno(&u->cli->err, -r, "signals");
    }
    return 0;
}

/* We end already: whoever is impatient now would only keep us from tidying up. */
static void
close_signals(struct up *u)
{
    sigset_t all;
    (void)sigfillset(&all);
    (void)sigprocmask(SIG_BLOCK, &all, NULL);
    for (size_t i = 0; i < ARRAY_SIZE(u->signals); i++)
        loop_signal_stop(&u->signals[i]);
}

/* ---- a life ---- */

static int
live(struct up *u)
{
    int r = open_signals(u);
    if (r < 0)
        return r;
    tell_promises(u);
    up_view_show(&u->view, u->direct);
    direct_start(u->direct);
    loop_run(u->loop);
    return 0;
}

static int
supervise(struct up *u, const struct config *config, enum contain_kind contain)
{
    const struct direct_config wish = {.run_dir = config->paths.run,
                                       .contain = contain,
                                       .services = u->list.items,
                                       .count = u->list.count,
                                       .withheld = u->list.withheld,
                                       .changed = on_changed,
                                       .ended = on_ended,
                                       .arg = u};
    int r = loop_new(&u->loop, &u->cli->err);
    if (r < 0)
        return r;
    up_view_open(&u->view, u->cli, u->loop);
    u->ready.run = on_all_ready;
    r = direct_new(u->loop, &wish, &u->direct, &u->cli->err);
    if (r == 0)
        r = live(u);
    up_view_close(&u->view);
    if (u->direct)
        direct_free(u->direct);
    close_signals(u);
    loop_defer_cancel(u->loop, &u->ready);
    loop_free(u->loop);
    return r;
}

static int
run_services(struct up *u, const char *program, enum contain_kind contain)
{
    _cleanup_config_ struct config *config = NULL;
    _cleanup_arena_ struct arena arena;
    char file[PATH_MAX];
    arena_init(&arena, ARENA_MAX);
    if (u->is_demo)
        u->cli->config_file = u->demo.config_file;
    int r = cli_load_config(u->cli, &config);
    if (r < 0)
        return r;
    if (!realpath(config->name, file))
        return err_set_errno(&u->cli->err, errno, "%s", config->name);
    r = run_marker_check(config->paths.run, &u->cli->err);
    if (r < 0)
        return r;
    r = service_list_make(&arena, config, program, file, u->cli->args, &u->list, &u->cli->err);
    if (r == 0 && u->list.count == 0)
        r = err_set(&u->cli->err, ERR_NO_MODEL, "%s has no enabled model", config->name);
    if (r < 0)
        return r;
    return supervise(u, config, contain);
}

int
verb_up(struct cli *cli)
{
    struct up u = {.cli = cli, .is_demo = cli_flag(cli, "demo")};
    const char *kind = cli_option(cli, "containment");
    enum contain_kind contain = CONTAIN_AUTO;
    char program[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", program, sizeof(program) - 1);
    if (len <= 0)
        return err_set_errno(&cli->err, errno, "/proc/self/exe");
    program[len] = '\0';
    if (cli->json)
        return err_set(&cli->err, ERR_USAGE, "up has no result to print as JSON; status has");
    if (kind && !contain_parse(kind, &contain)) /* the parser has seen to that */
        return err_set(&cli->err, ERR_USAGE, "--containment: '%s'", kind);
    int r = apart_begin(&cli->err);
    if (r < 0)
        return r;
    if (u.is_demo)
        demo_sweep(cli);
    r = u.is_demo ? demo_make(&u.demo, program, &cli->err) : 0;
    if (r == 0)
        r = run_services(&u, program, contain);
    if (u.is_demo)
        demo_remove(&u.demo, cli);
    return r;
}
