#include "base/mem.h"
#include "base/quantity.h"
#include "cli/load_config.h"
#include "config/config.h"
#include "http/client.h"
#include "http/local.h"
#include "service/client.h"
#include "service/direct.h"
#include "service/journal.h"
#include "service/list.h"
#include "service/log_file.h"
#include "service/systemd.h"
#include "sys/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

const struct verb_help verb_logs_help = {
    .text = "Shows the last lines of a service's log: its own words and those of the engine. On a "
            "terminal it goes on with what is added, until Ctrl-C. Of a service that systemd runs, "
            "it is what the journal has.",
    .examples = VERB_EXAMPLES({"citadel logs phi3", "the last lines, and what follows"},
                              {"citadel logs phi3 -n 1000 --no-follow", "the last thousand"},
                              {"citadel logs phi3 -f | grep -i error", "what follows, in a pipe"}),
};

#define TEXT_MAX (64 * MIB)
#define LINES_MAX 100000
#define ERROR_MAX (16 * KIB)

/* ---- what goes on, from the supervisor ---- */

struct following {
    struct cli *cli;
    struct loop *loop;
    struct buf refused; /* what it said instead of lines */
    bool began;
    struct err err;
};

static void
on_body(struct http_call *call, const char *bytes, size_t len)
{
    struct following *f = call->user;
    if (call->head.status != 200) {
        buf_add(&f->refused, bytes, len);
        return;
    }
    cli_print_bytes(f->cli, bytes, len);
    if (cli_flush(f->cli) < 0) { /* nobody reads it: the frame knows */
        f->cli->err.id = ERR_NONE;
        loop_stop(f->loop);
    }
}

static void
on_finished(struct http_call *call, const struct err *error)
{
    struct following *f = call->user;
    f->began = call->head.status == 200;
    if (error)
        f->err = *error;
    else if (call->head.status != 200)
        (void)http_local_read_error("the supervisor", call->head.status, f->refused.data,
                                    f->refused.len, &f->err);
    loop_stop(f->loop);
}

static int
follow(struct following *f, const struct config *config, const char *name, uint64_t lines)
{
    static const struct http_call_ops ops = {.body = on_body, .finished = on_finished};
    _cleanup_free_ char *address = mem_printf("unix:%s/" DIRECT_SOCKET_NAME, config->paths.run);
    _cleanup_free_ char *target =
        mem_printf("/services/%s/log?lines=%llu&follow=1", name, (unsigned long long)lines);
    struct http_client_config limits = http_client_config_default;
    struct http_client *client;
    limits.between_us = limits.first_byte_us = limits.total_us = 0;
    limits.body_bytes_max = UINT64_MAX / 2;
    int r = http_client_new(f->loop, address, "localhost", &limits, &client, &f->err);
    if (r < 0)
        return r;
    http_call_whole(http_call_new(client, "GET", target, &ops, f), NULL, 0);
    loop_run(f->loop);
    http_client_free(client);
    return f->err.id == ERR_NONE ? 0 : -err_row(f->err.id)->err;
}

/* 1: nobody is there who could tell. */
static int
try_follow(struct cli *cli, const struct config *config, const char *name, uint64_t lines)
{
    struct following f = {.cli = cli, .refused = BUF_INIT(ERROR_MAX)};
    int r = loop_new(&f.loop, &cli->err);
    if (r < 0)
        return r;
    r = follow(&f, config, name, lines);
    loop_free(f.loop);
    buf_finish(&f.refused);
    if (f.err.id == ERR_HTTP_CONNECT)
        return 1;
    if (f.err.id == ERR_HTTP_CUT && f.began) {
        cli_note(cli, "the supervisor has ended");
        return 0;
    }
    if (r < 0)
        cli->err = f.err;
    return r;
}

/* ---- the journal, of what systemd runs ---- */

struct showing {
    struct cli *cli;
    struct buf *text; /* for JSON; else NULL */
};

static bool
show_line(uint64_t at_us, const char *text, size_t len, void *arg)
{
    const struct showing *s = arg;
    char time[40] = "";
    time_t at = (time_t)(at_us / 1000000);
    struct tm tm;
    if (localtime_r(&at, &tm))
        (void)strftime(time, sizeof(time), "%F %T ", &tm);
    if (s->text) {
        buf_add_str(s->text, time);
        buf_add(s->text, text, len);
        buf_add_char(s->text, '\n');
        return buf_error(s->text) == 0;
    }
    cli_print(s->cli, "%s", time);
    cli_print_bytes(s->cli, text, len);
    cli_print_bytes(s->cli, "\n", 1);
    if (cli_flush(s->cli) == 0)
        return true;
    s->cli->err.id = ERR_NONE; /* nobody reads it: the frame knows */
    return false;
}

static int
show_journal(struct cli *cli, const char *name, uint64_t lines, bool follow)
{
    _cleanup_buf_ struct buf text = BUF_INIT(TEXT_MAX);
    struct showing showing = {.cli = cli, .text = cli->json ? &text : NULL};
    struct journal_wish wish = {
        .name = name, .lines = lines, .follow = follow, .line = show_line, .arg = &showing};
    uint64_t told;
    quantity_text most;
    int r = journal_read(&wish, &told, &cli->err);
    if (r == 0 && buf_error(&text) < 0) {
        r = err_set(&cli->err, ERR_TOO_LARGE, "%llu lines of %s do not fit into %s of JSON",
                    (unsigned long long)lines, name, quantity_print_bytes(TEXT_MAX, most));
        err_fix(&cli->err, "citadel logs %s --json -n FEWER", name);
    }
    if (r < 0)
        return r;
    if (told == 0 && !follow)
        cli_note(cli, "the journal has nothing of %s that you may read%s", name,
                 geteuid() ? "; the same with sudo, or as one of the group systemd-journal" : "");
    if (cli->json) {
        json_open_map(cli->json, NULL);
        json_str(cli->json, "service", name);
        json_str(cli->json, "path", NULL);
        json_strn(cli->json, "text", text.data, text.len);
        json_close_map(cli->json);
    }
    return EXIT_CODE_OK;
}

/* Systemd runs it, and no supervisor of ours does. */
static bool
is_of_systemd(const struct config *config, const char *name)
{
    _cleanup_service_view_ struct service_view ours = {0}, its = {0};
    if (!systemd_is_here() || service_view_read(config->paths.run, &ours, NULL) == 0 ||
        systemd_view_read(config, &its, NULL) < 0)
        return false;
    const struct service_seen *seen = service_view_find(&its, name);
    return seen && !seen->absent;
}

/* ---- what is there, from the files ---- */

static int
print_tail(struct cli *cli, const struct config *config, const char *name, uint64_t lines)
{
    _cleanup_free_ char *path = service_log_path(config, name);
    _cleanup_buf_ struct buf text = BUF_INIT(TEXT_MAX);
    quantity_text most;
    int r = log_file_tail(path, lines, &text, &cli->err);
    if (r == -ENOENT)
        err_fix(&cli->err, "citadel up %s; it writes one", name);
    if (r < 0)
        return r;
    if (r > 0)
        cli_note(cli, "older lines are left out: %s are the most that is shown",
                 quantity_print_bytes(TEXT_MAX, most));
    if (!cli->json) {
        cli_print_bytes(cli, text.data, text.len);
        return EXIT_CODE_OK;
    }
    json_open_map(cli->json, NULL);
    json_str(cli->json, "service", name);
    json_str(cli->json, "path", path);
    json_strn(cli->json, "text", text.data, text.len);
    json_close_map(cli->json);
    return EXIT_CODE_OK;
}

static bool
is_to_follow(const struct cli *cli)
{
    bool wished = cli_flag(cli, "follow") || (isatty(STDOUT_FILENO) && !cli->json);
    return wished && !cli_flag(cli, "no-follow");
}

int
verb_logs(struct cli *cli)
{
    _cleanup_config_ struct config *config = NULL;
    const char *name = cli->args[0], *given = cli_option(cli, "lines");
    uint64_t lines = 100;
    int r = given ? quantity_parse_u64(given, &lines, &cli->err) : 0;
    if (r == 0 && lines > LINES_MAX)
        r = err_set(&cli->err, ERR_USAGE, "--lines: %s is more than %d", given, LINES_MAX);
    if (r == 0 && cli->json && cli_flag(cli, "follow"))
        r = err_set(&cli->err, ERR_USAGE, "--follow has no end, and --json needs one");
    if (r >= 0)
        r = cli_load_config(cli, &config);
    if (r >= 0)
        r = service_check_name(config, name, &cli->err);
    if (r < 0)
        return r;
    if (is_of_systemd(config, name))
        return show_journal(cli, name, lines, is_to_follow(cli));
    if (is_to_follow(cli) && (r = try_follow(cli, config, name, lines)) <= 0)
        return r;
    return print_tail(cli, config, name, lines);
}
