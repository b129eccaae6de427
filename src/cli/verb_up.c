#include "base/mem.h"
#include "base/quantity.h"
#include "cli/cli.h"
#include "cli/demo.h"
#include "cli/frame.h"
#include "cli/load_config.h"
#include "cli/up_source.h"
#include "cli/up_view.h"
#include "config/config.h"
#include "config/problems.h"
#include "run/marker.h"
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
        "What is run is the configuration as it was read, whole: a file that is edited changes "
        "nothing "
        "until `citadel reload` or `citadel apply`, which also makes a generation of it that "
        "`citadel generations switch` brings back. Where the current generation has the same "
        "configuration, that is what runs.\n\n"
        "With --demo nothing is needed: three simulated models are started on two simulated GPUs, "
        "in a temporary directory ($TMPDIR, or /tmp; with --root DIR, in DIR) that goes when it "
        "ends. "
        "What one that was killed has left goes with the next. The gateway's address is told, with "
        "a "
        "command that asks each of them.",
    .examples = VERB_EXAMPLES({"citadel up", "all services of the configuration"},
                              {"citadel up phi3 coder", "two of them"},
                              {"citadel up --demo", "a demonstration, on any machine"}),
};

struct up {
    struct cli *cli;
    struct loop *loop;
    struct direct *direct;
    struct up_wish wish;
    struct up_source source;
    enum contain_kind contain;
    struct demo demo;
    bool is_demo, told, stopping;
    struct up_view view;
    struct loop_signal signals[4];
    struct loop_defer ready; /* all that are wanted */
};

static int on_read(void *arg, enum service_read what, struct err *reterr);

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
        if (u->source.list.items[i].wanted && direct_status(u->direct, i)->state != SERVICE_READY)
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

/* ---- what is run ---- */

static struct direct_config
wish_of(struct up *u, const struct up_source *source)
{
    return (struct direct_config){.run_dir = u->wish.run_dir,
                                  .contain = u->contain,
                                  .services = source->list.items,
                                  .count = source->list.count,
                                  .withheld = source->list.withheld,
                                  .source = source->told,
                                  .text = source->text.data,
                                  .text_len = source->text.len,
                                  .changed = on_changed,
                                  .read = on_read,
                                  .ended = on_ended,
                                  .arg = u};
}

static void
tell_source(struct up *u)
{
    _cleanup_buf_ struct buf line = BUF_INIT(2 * PATH_MAX);
    buf_add_str(&line, "runs ");
    up_source_print(&u->source.told, &line);
    buf_add_char(&line, '\n');
    up_view_say(&u->view, line.data);
}

static int
on_read(void *arg, enum service_read what, struct err *reterr)
{
    struct up *u = arg;
    struct up_source now;
    int r = up_source_read(&u->wish, &u->source, what, &now, reterr);
    if (r < 0)
        return r;
    const struct direct_config next = wish_of(u, &now);
    r = direct_take(u->direct, &next, reterr);
    up_source_finish(r < 0 ? &now : &u->source);
    if (r < 0)
        return r;
    u->source = now;
    up_view_renew(&u->view);
    tell_source(u);
    return 0;
}

static void
tell_promises(struct up *u)
{
    const struct service_list *list = &u->source.list;
    enum contain_kind kind = direct_containment(u->direct);
    size_t leftovers = direct_leftovers(u->direct);
    const struct service *worst = &list->items[0];
    quantity_text text;
    for (size_t i = 1; i < list->count; i++)
        if (budget_bound(&list->items[i].budget) > budget_bound(&worst->budget))
            worst = &list->items[i];
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
    if (!u->is_demo)
        tell_source(u);
    direct_start(u->direct);
    loop_run(u->loop);
    return 0;
}

static int
supervise(struct up *u)
{
    const struct direct_config wish = wish_of(u, &u->source);
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
load(struct up *u)
{
    struct cli *cli = u->cli;
    struct config *config = NULL;
    char file[PATH_MAX];
    int r = cli_load_config(cli, &config);
    if (r < 0)
        return r;
    const struct buf *text = &cli->frame->problems->text;
    if (!realpath(config->name, file)) {
        config_free(config);
        return err_set_errno(&cli->err, errno, "%s", cli->frame->problems->file);
    }
    r = up_source_make(&u->wish, config, text->data, text->len, file, &u->source, &cli->err);
    if (r == 0 && u->source.list.count == 0)
        r = err_set(&cli->err, ERR_NO_MODEL, "%s has no enabled model", file);
    return r;
}

static int
run_services(struct up *u)
{
    if (u->is_demo)
        u->cli->config_file = u->demo.config_file;
    int r = load(u);
    if (r == 0)
        r = run_marker_check(u->source.config->paths.run, &u->cli->err);
    if (r == 0) {
        u->wish.run_dir = mem_strdup(u->source.config->paths.run);
        u->wish.store = mem_strdup(u->source.config->paths.generations);
        r = supervise(u);
    }
    free(u->wish.run_dir);
    free(u->wish.store);
    up_source_finish(&u->source);
    return r;
}

int
verb_up(struct cli *cli)
{
    struct up u = {.cli = cli, .is_demo = cli_flag(cli, "demo"), .wish.names = cli->args};
    const char *kind = cli_option(cli, "containment");
    char program[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", program, sizeof(program) - 1);
    if (len <= 0)
        return err_set_errno(&cli->err, errno, "/proc/self/exe");
    program[len] = '\0';
    u.wish.program = program;
    if (cli->json)
        return err_set(&cli->err, ERR_USAGE, "up has no result to print as JSON; status has");
    if (kind && !contain_parse(kind, &u.contain)) /* the parser has seen to that */
        return err_set(&cli->err, ERR_USAGE, "--containment: '%s'", kind);
    int r = apart_begin(&cli->err);
    if (r < 0)
        return r;
    if (u.is_demo)
        demo_sweep(cli);
    r = u.is_demo ? demo_make(&u.demo, program, &cli->err) : 0;
    if (r == 0)
        r = run_services(&u);
    if (u.is_demo)
        demo_remove(&u.demo, cli);
    return r;
}
