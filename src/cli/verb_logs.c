#include "base/mem.h"
#include "base/quantity.h"
#include "cli/load_config.h"
#include "config/config.h"
#include "http/client.h"
#include "service/direct.h"
#include "service/log_file.h"
#include "sys/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

const struct verb_help verb_logs_help = {
    .text = "Shows the last lines of a service's log: its own words and those of the engine. On a "
            "terminal it goes on with what is added, until Ctrl-C.",
    .examples = VERB_EXAMPLES({"citadel logs phi3", "the last lines, and what follows"},
                              {"citadel logs phi3 -n 1000 --no-follow", "the last thousand"},
                              {"citadel logs phi3 -f | grep -i error", "what follows, in a pipe"}),
};

#define TEXT_MAX (64 * MIB)
#define LINES_MAX 100000

struct following {
    struct cli *cli;
    struct loop *loop;
    struct err err;
};

static void
on_body(struct http_call *call, const char *bytes, size_t len)
{
    struct following *f = call->user;
    if (call->head.status == 200)
        cli_print_bytes(f->cli, bytes, len);
    if (cli_flush(f->cli) < 0)
        loop_stop(f->loop);
}

static void
on_finished(struct http_call *call, const struct err *error)
{
    struct following *f = call->user;
    if (error)
        f->err = *error;
    else if (call->head.status != 200)
        (void)err_set(&f->err, ERR_HTTP_ANSWER, "the supervisor answered %u", call->head.status);
    loop_stop(f->loop);
}

static int
follow(struct cli *cli, const struct config *config, const char *name, uint64_t lines)
{
    static const struct http_call_ops ops = {.body = on_body, .finished = on_finished};
    _cleanup_free_ char *address = mem_printf("unix:%s/" DIRECT_SOCKET_NAME, config->paths.run);
    _cleanup_free_ char *target =
        mem_printf("/services/%s/log?lines=%llu&follow=1", name, (unsigned long long)lines);
    struct http_client_config limits = http_client_config_default;
    struct following f = {.cli = cli};
    struct http_client *client;
    limits.between_us = limits.first_byte_us = 0;
    limits.body_bytes_max = UINT64_MAX / 2;
    int r = loop_new(&f.loop, &cli->err);
    if (r < 0)
        return r;
    r = http_client_new(f.loop, address, "localhost", &limits, &client, &cli->err);
    if (r == 0) {
        http_call_whole(http_call_new(client, "GET", target, &ops, &f), NULL, 0);
        loop_run(f.loop);
        http_client_free(client);
    }
    loop_free(f.loop);
    if (f.err.id == ERR_HTTP_CUT) /* the supervisor has ended */
        return EXIT_CODE_OK;
    if (f.err.id != ERR_NONE)
        cli->err = f.err;
    return r < 0 ? r : f.err.id == ERR_NONE ? EXIT_CODE_OK : -err_row(f.err.id)->err;
}

static void
print_tail(struct cli *cli, const struct config *config, const char *name, uint64_t lines)
{
    _cleanup_free_ char *path = mem_printf("%s/models/%s.log", config->paths.logs, name);
    _cleanup_buf_ struct buf text = BUF_INIT(TEXT_MAX);
    (void)!log_file_tail(path, lines, &text, NULL);
    if (!cli->json) {
        cli_print_bytes(cli, text.data, text.len);
        return;
    }
    json_open_map(cli->json, NULL);
    json_str(cli->json, "service", name);
    json_str(cli->json, "path", path);
    json_strn(cli->json, "text", text.data, text.len);
    json_close_map(cli->json);
}

static const char *
candidate(size_t i, const void *arg)
{
    const struct config *config = arg;
    return i < config->models.count ? config->models.items[i].name : NULL;
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
    if (r == 0)
        r = cli_load_config(cli, &config);
    if (r < 0)
        return r;
    if (!config_find_model(config, name)) {
        const char *nearest = text_nearest(name, candidate, config);
        r = err_set(&cli->err, ERR_SERVICE_NONE, "there is no service '%s'", name);
        if (nearest)
            err_fix(&cli->err, "did you mean %s?", nearest);
        return r;
    }
    bool wanted = cli_flag(cli, "follow") || (isatty(STDOUT_FILENO) && !cli->json);
    if (wanted && !cli_flag(cli, "no-follow") &&
        (r = follow(cli, config, name, lines)) != -ECONNREFUSED && r != -ENOENT)
        return r;
    cli->err = (struct err){0};
    print_tail(cli, config, name, lines);
    return EXIT_CODE_OK;
}
