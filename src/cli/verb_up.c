#include "base/mem.h"
#include "base/quantity.h"
#include "cli/demo.h"
#include "cli/load_config.h"
#include "cli/services.h"
#include "service/direct.h"
#include "service/list.h"
#include "sys/clock.h"
#include "sys/log.h"
#include "sys/loop.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const struct verb_help verb_up_help = {
    .text =
        "Runs the services of the configuration in the foreground, without systemd: for "
        "containers, rented machines and laptops. They are started in the order of what they "
        "need, restarted when they fail, within limits, and stopped in the opposite order when "
        "Ctrl-C is pressed; a second Ctrl-C does not wait. On a terminal a table shows their "
        "states; elsewhere each change is a line. From another terminal, `citadel status`, "
        "`start`, `stop`, `restart`, `logs` and `health` speak with it.\n\n"
        "With --demo nothing is needed: three simulated models are started on two simulated GPUs, "
        "in a temporary directory that goes when it ends. Their addresses are told, with a command "
        "that asks one.",
    .examples = VERB_EXAMPLES({"citadel up", "all services of the configuration"},
                              {"citadel up phi3 coder", "two of them"},
                              {"citadel up --demo", "a demonstration, on any machine"}),
};

#define ARENA_MAX (4 * MIB)
#define DRAW_US (100 * 1000ULL)
#define REFRESH_US (1000 * 1000ULL)

struct up {
    struct cli *cli;
    struct loop *loop;
    struct direct *direct;
    struct demo demo;
    bool is_demo, on_terminal, told, stopping;
    struct loop_signal signals[3];
    struct loop_timer draw, refresh;
    unsigned lines; /* that the table took last time */
    struct {
        char line[768];
    } * said; /* of each service, elsewhere than on a terminal */
};

/* ---- what is shown ---- */

static void
tell_demo(struct up *u)
{
    const unsigned *ports = u->demo.ports;
    cli_print(u->cli,
              "\nThe demo answers. In another terminal:\n\n"
              "  curl http://127.0.0.1:%u/v1/chat/completions -H 'Content-Type: application/json' "
              "-d '{\"model\": \"chat\", \"messages\": [{\"role\": \"user\", \"content\": "
              "\"hello\"}]}'\n\n"
              "  curl -N http://127.0.0.1:%u/v1/chat/completions -H 'Content-Type: "
              "application/json' -d '{\"model\": \"large\", \"stream\": true, \"messages\": "
              "[{\"role\": \"user\", \"content\": \"hello\"}]}'\n\n"
              "  export CITADEL_CONFIG=%s      # then: citadel status, citadel logs chat\n\n"
              "Ctrl-C ends it.\n",
              ports[0], ports[1], u->demo.config_file);
}

static bool
all_are_ready(const struct up *u)
{
    for (size_t i = 0; i < direct_count(u->direct); i++)
        if (direct_status(u->direct, i)->state != SERVICE_READY)
            return false;
    return true;
}

static void
flush(struct up *u)
{
    if (cli_flush(u->cli) < 0) { /* nobody reads it any more: that is no reason to stop */
        u->cli->err.id = ERR_NONE;
        u->on_terminal = false;
    }
}

static unsigned
count_lines(const struct buf *text)
{
    unsigned lines = 0;
    for (size_t i = 0; i < text->len; i++)
        lines += text->data[i] == '\n';
    return lines;
}

/* Over what was there before. */
static void
draw_table(struct up *u)
{
    _cleanup_table_ struct table table;
    _cleanup_buf_ struct buf text = BUF_INIT(1 * MIB);
    table_init(&table, service_columns, SERVICE_COLUMNS);
    for (size_t i = 0; i < direct_count(u->direct); i++) {
        const struct service_seen seen = {.status = *direct_status(u->direct, i)};
        cli_add_service(&table, &seen, clock_wall_us());
    }
    table_print(&table, &u->cli->look, &text);
    if (u->lines)
        cli_print(u->cli, "\033[%uA\033[J", u->lines);
    cli_print_bytes(u->cli, text.data, text.len);
    u->lines = count_lines(&text);
    flush(u);
}

static void
tell_once(struct up *u)
{
    if (u->told || !u->is_demo || u->stopping || !all_are_ready(u))
        return;
    u->told = true;
    tell_demo(u);
    u->lines = 0; /* the table goes on below */
    flush(u);
}

static void
on_draw(struct loop_timer *timer)
{
    struct up *u = container_of(timer, struct up, draw);
    if (u->on_terminal)
        draw_table(u);
    tell_once(u);
}

static void
on_refresh(struct loop_timer *timer)
{
    struct up *u = container_of(timer, struct up, refresh);
    if (u->on_terminal && !u->told)
        draw_table(u);
}

static void
print_change(struct up *u, const struct service_status *status)
{
    _cleanup_buf_ struct buf line = BUF_INIT(4 * KIB);
    cli_service_line(status, &line);
    for (size_t i = 0; i < direct_count(u->direct); i++) {
        if (direct_status(u->direct, i) != status)
            continue;
        if (strcmp(u->said[i].line, line.data) == 0)
            return;
        (void)snprintf(u->said[i].line, sizeof(u->said[i].line), "%.767s", line.data);
    }
    cli_print(u->cli, "%s\n", line.data);
    flush(u);
}

static void
on_changed(void *arg, const struct service_status *status)
{
    struct up *u = arg;
    if (!u->on_terminal)
        print_change(u, status);
    if (!loop_timer_is_set(&u->draw))
        loop_timer_start(u->loop, &u->draw, DRAW_US, 0);
}

static void
on_ended(void *arg)
{
    struct up *u = arg;
    if (u->on_terminal)
        draw_table(u);
    loop_stop(u->loop);
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
    if (u->on_terminal && u->told) {
        cli_print(u->cli, "\n");
        u->lines = 0;
    }
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

static int
open_signals(struct up *u)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    static void (*const received[])(struct loop_signal *, int) = {on_signal_0, on_signal_1,
                                                                  on_signal_2};
    for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
        u->signals[i].received = received[i];
        int r = loop_signal_start(u->loop, &u->signals[i], signals[i]);
        if (r < 0)
            return err_set_errno(&u->cli->err, -r, "signals");
    }
    return 0;
}

/* ---- a life ---- */

static void
tell_bounds(struct up *u, const struct service_list *list)
{
    enum contain_kind kind = direct_containment(u->direct);
    quantity_text text;
    uint64_t longest = 0;
    for (size_t i = 0; i < list->count; i++)
        longest = MAX(longest, service_budget_bound(&list->items[i].budget));
    cli_note(u->cli, "containment: %s: %s", contain_word(kind), contain_promise(kind));
    if (list->count)
        cli_note(u->cli,
                 "restarts: one that always fails is left stopped after %u failures, %s at most",
                 list->items[0].budget.burst, quantity_print_us(longest, text));
}

static int
supervise(struct up *u, const struct config *config, const struct service_list *list,
          enum contain_kind contain)
{
    const struct direct_config wish = {.run_dir = config->paths.run,
                                       .contain = contain,
                                       .services = list->items,
                                       .count = list->count,
                                       .changed = on_changed,
                                       .ended = on_ended,
                                       .arg = u};
    int r = loop_new(&u->loop, &u->cli->err);
    if (r < 0)
        return r;
    u->draw.expired = on_draw;
    u->refresh.expired = on_refresh;
    r = direct_new(u->loop, &wish, &u->direct, &u->cli->err);
    if (r == 0) {
        r = open_signals(u);
        tell_bounds(u, list);
        loop_timer_start(u->loop, &u->refresh, REFRESH_US, REFRESH_US);
        if (r == 0)
            direct_start(u->direct);
        if (r == 0)
            loop_run(u->loop);
        direct_free(u->direct);
    }
    loop_timer_stop(&u->draw);
    loop_timer_stop(&u->refresh);
    for (size_t i = 0; i < ARRAY_SIZE(u->signals); i++)
        loop_signal_stop(&u->signals[i]);
    loop_free(u->loop);
    return r;
}

static int
run_services(struct up *u, const char *program, enum contain_kind contain)
{
    _cleanup_config_ struct config *config = NULL;
    _cleanup_arena_ struct arena arena;
    struct service_list list;
    char file[PATH_MAX];
    arena_init(&arena, ARENA_MAX);
    if (u->is_demo)
        u->cli->config_file = u->demo.config_file;
    int r = cli_load_config(u->cli, &config);
    if (r < 0)
        return r;
    if (!realpath(config->name, file))
        return err_set_errno(&u->cli->err, errno, "%s", config->name);
    r = service_list_make(&arena, config, program, file, u->cli->args, &list, &u->cli->err);
    if (r == 0 && list.count == 0)
        r = err_set(&u->cli->err, ERR_NO_MODEL, "%s has no enabled model", config->name);
    if (r < 0)
        return r;
    u->said = mem_alloc(list.count * sizeof(*u->said));
    r = supervise(u, config, &list, contain);
    free(u->said);
    return r;
}

int
verb_up(struct cli *cli)
{
    struct up u = {.cli = cli, .is_demo = cli_flag(cli, "demo")};
    const char *term = getenv("TERM"), *kind = cli_option(cli, "containment");
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
    u.on_terminal = isatty(STDOUT_FILENO) && isatty(STDERR_FILENO) && term && *term &&
                    !text_eq(term, "dumb") && !cli->quiet;
    if (u.on_terminal)
        log_set_level(LOG_LEVEL_ERROR); /* the table says it */
    int r = u.is_demo ? demo_make(&u.demo, program, &cli->err) : 0;
    if (r == 0)
        r = run_services(&u, program, contain);
    demo_remove(&u.demo);
    return r;
}
