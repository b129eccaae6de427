#include "base/mem.h"
#include "base/quantity.h"
#include "base/text.h"
#include "cli/logs.h"
#include "cli/running.h"
#include "service/list.h"
#include "sys/clock.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

const struct verb_help verb_logs_help = {
    .text =
        "Shows the last lines of a service's log: its own words and those of the engine. NAME is a "
        "model, `monitor`, `gateway`, `storage` or `gpu`; `models` or `all` shows several as one, "
        "by "
        "time, with the name before each line. On a terminal it goes on with what is added, until "
        "Ctrl-C. Of services that systemd runs, it is what the journal has.\n\n"
        "With --since all lines of that time are shown, up to a hundred thousand; with -n too, the "
        "last of them.",
    .examples =
        VERB_EXAMPLES({"citadel logs phi3", "the last lines, and what follows"},
                      {"citadel logs phi3 -n 1000 --no-follow", "the last thousand"},
                      {"citadel logs all --since 15m", "of everything, a quarter of an hour"},
                      {"citadel logs phi3 -f | grep -i error", "what follows, in a pipe"}),
};

/* ---- showing ---- */

bool
logs_show_text(const struct logs *logs, const char *text, size_t len)
{
    struct cli *cli = logs->cli;
    if (logs->text) {
        buf_add(logs->text, text, len);
        return buf_error(logs->text) == 0;
    }
    cli_print_bytes(cli, text, len);
    if (cli_flush(cli) == 0)
        return true;
    cli->err.id = ERR_NONE; /* nobody reads it: the frame knows */
    return false;
}

bool
logs_show(const struct logs *logs, const char *time, const char *name, const char *line, size_t len)
{
    _cleanup_buf_ struct buf text = BUF_INIT(len + KIB);
    buf_printf(&text, "%s%s", time, *time ? " " : "");
    if (logs->count > 1)
        buf_printf(&text, "%s: ", name);
    buf_add(&text, line, len);
    buf_add_char(&text, '\n');
    return logs_show_text(logs, text.data, text.len);
}

bool
logs_has_time(const char *line, size_t len)
{
    static const char like[] = "0000-00-00 00:00:00.000 ";
    for (size_t i = 0; i < sizeof(like) - 1; i++)
        if (i >= len || (like[i] == '0' ? line[i] < '0' || line[i] > '9' : line[i] != like[i]))
            return false;
    return true;
}

void
logs_since(const struct logs *logs, char text[LOGS_TIME_LEN + 1])
{
    char second[CLOCK_LOCAL_MAX];
    text[0] = '\0';
    if (logs->since_us)
        (void)snprintf(text, LOGS_TIME_LEN + 1, "%.19s.%03u",
                       clock_print_local(logs->since_us, second),
                       (unsigned)(logs->since_us / 1000 % 1000));
}

/* ---- whose ---- */

static bool
is_in_all(const struct config *config, const char *keeper)
{
    if (text_eq(keeper, "monitor"))
        return config->monitor.enabled;
    return !text_eq(keeper, "gateway") || config->gateway.enabled;
}

static size_t
add_models(const struct cli_running *running, const char **names)
{
    const struct config *config = running->config;
    size_t count = 0;
    for (size_t i = 0; i < config->models.count; i++)
        if (config->models.items[i].enabled)
            names[count++] = config->models.items[i].name;
    vec_foreach (&running->view.items, seen)
        if (text_eq(seen->status.kind, "model") && !config_find_model(config, seen->status.name))
            names[count++] = seen->status.name;
    return count;
}

/* One that does not run now may have said something, too. */
static int
check_name(struct cli *cli, const struct cli_running *running, const char *name)
{
    if (service_is_keeper(name) || config_find_model(running->config, name))
        return 0;
    if (running->view.items.count)
        return cli_check_running(cli, running, name);
    return service_check_name(running->config, name, &cli->err);
}

/* names: room for all there are. */
static int
list_names(struct logs *logs, const struct cli_running *running, const char **names)
{
    bool all = text_eq(logs->asked, "all"), models = text_eq(logs->asked, "models");
    logs->names = names;
    for (const char *const *keeper = service_keepers; all && *keeper; keeper++)
        if (is_in_all(running->config, *keeper))
            names[logs->count++] = *keeper;
    if (all || models)
        logs->count += add_models(running, names + logs->count);
    if (logs->count || all || models)
        return 0;
    names[logs->count++] = logs->asked;
    return check_name(logs->cli, running, logs->asked);
}

/* Systemd runs one of them, and no supervisor of ours does. */
static bool
is_of_systemd(const struct logs *logs, const struct service_view *view)
{
    for (size_t i = 0; view->by_systemd && i < logs->count; i++)
        if (service_view_find(view, logs->names[i]))
            return true;
    return false;
}

/* ---- one request ---- */

static int
read_logs(const struct logs *logs, bool by_systemd)
{
    if (by_systemd)
        return logs_read_journal(logs);
    int r = logs->follow ? logs_follow(logs) : 1;
    return r > 0 ? logs_read_files(logs) : r;
}

static int
print_json(const struct logs *logs, bool by_systemd)
{
    struct cli *cli = logs->cli;
    _cleanup_free_ char *path = service_log_path(logs->config, logs->names[0]);
    quantity_text most;
    if (buf_error(logs->text) < 0) {
        int r = err_set(&cli->err, ERR_TOO_LARGE, "%llu lines of %s do not fit into %s of JSON",
                        (unsigned long long)logs->lines, logs->asked,
                        quantity_print_bytes(LOGS_TEXT_MAX, most));
        err_fix(&cli->err, "citadel logs %s --json -n FEWER", logs->asked);
        return r;
    }
    json_open_map(cli->json, NULL);
    json_str(cli->json, "service", logs->asked);
    json_str(cli->json, "path", by_systemd || logs->count > 1 ? NULL : path);
    json_strn(cli->json, "text", logs->text->data, logs->text->len);
    json_close_map(cli->json);
    return 0;
}

static int
show(struct logs *logs, const struct cli_running *running)
{
    _cleanup_buf_ struct buf text = BUF_INIT(LOGS_TEXT_MAX);
    size_t most = running->config->models.count + running->view.items.count + SERVICE_KEEPERS;
    _cleanup_free_ const char **names = mem_alloc((most + 1) * sizeof(*names));
    int r = list_names(logs, running, names);
    if (r == 0 && logs->count == 0)
        r = err_set(&logs->cli->err, ERR_NO_MODEL, "%s has no enabled model", logs->config->name);
    if (r < 0)
        return r;
    bool by_systemd = is_of_systemd(logs, &running->view);
    logs->text = logs->cli->json ? &text : NULL;
    r = read_logs(logs, by_systemd);
    if (r == 0 && logs->text)
        r = print_json(logs, by_systemd);
    logs->text = NULL; /* both end here */
    logs->names = NULL;
    return r;
}

static int
read_options(struct logs *logs)
{
    struct cli *cli = logs->cli;
    const char *given = cli_option(cli, "lines");
    uint64_t since = cli_duration_us(cli, "since", 0), now = clock_wall_us();
    bool wished = cli_flag(cli, "follow") || (isatty(STDOUT_FILENO) && !cli->json);
    logs->follow = wished && !cli_flag(cli, "no-follow");
    logs->since_us = since ? now - MIN(since, now - 1) : 0;
    logs->lines = since ? LOGS_LINES_MAX : 100;
    int r = given ? quantity_parse_u64(given, &logs->lines, &cli->err) : 0;
    if (r == 0 && logs->lines > LOGS_LINES_MAX)
        r = err_set(&cli->err, ERR_USAGE, "--lines: %s is more than %d", given, LOGS_LINES_MAX);
    if (r == 0 && cli->json && cli_flag(cli, "follow"))
        r = err_set(&cli->err, ERR_USAGE, "--follow has no end, and --json needs one");
    return r;
}

int
verb_logs(struct cli *cli)
{
    _cleanup_cli_running_ struct cli_running running = {0};
    struct logs logs = {.cli = cli, .asked = cli->args[0]};
    int r = read_options(&logs);
    if (r < 0)
        return r;
    r = cli_load_running(cli, &running);
    if (r < 0 && !running.config)
        return r;
    cli->err = (struct err){0}; /* what nobody supervises may have said something */
    logs.config = running.config;
    return show(&logs, &running);
}
