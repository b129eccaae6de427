/* citadel-sim: reads its arguments, listens, serves until it is told to stop. */

#include "base/quantity.h"
#include "base/text.h"
#include "sim/sim.h"
#include "sys/clock.h"
#include "sys/log.h"
#include "sys/sock.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

struct arguments {
    const char *host, *port, *uds, *name, *root;
    uint64_t max_model_len;
};

/* The first signal drains, the second stops. */
struct stop_watch {
    struct loop_signal signal;
    struct sim *sim;
    bool *draining; /* shared by both signals */
};

static const char usage[] =
    "usage: citadel-sim [serve] [MODEL] [--host ADDRESS] [--port PORT] [--uds PATH]\n"
    "                   [--served-model-name NAME] [--max-model-len TOKENS]\n"
    "\n"
    "Answers like a vLLM server, without a GPU: /health, /v1/models, /metrics,\n"
    "/v1/chat/completions and /v1/completions. SIGTERM and Ctrl-C let running answers\n"
    "end; a second one does not wait.\n";

static int
refuse(const struct err *err)
{
    log_err(err);
    return err_exit(err);
}

/* 0: go on; else 1 + the exit code. */
static int
read_arguments(int argc, char *argv[], struct arguments *a)
{
    static const struct option options[] = {
        {"host", required_argument, NULL, 'H'},
        {"port", required_argument, NULL, 'p'},
        {"uds", required_argument, NULL, 'u'},
        {"served-model-name", required_argument, NULL, 'n'},
        {"max-model-len", required_argument, NULL, 'm'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    struct err err;
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (c == 'H')
            a->host = optarg;
        else if (c == 'p')
            a->port = optarg;
        else if (c == 'u')
            a->uds = optarg;
        else if (c == 'n')
            a->name = optarg;
        else if (c == 'm' && (quantity_parse_u64(optarg, &a->max_model_len, &err) < 0 ||
                              a->max_model_len == 0 || a->max_model_len > UINT32_MAX)) {
            (void)err_set(&err, ERR_USAGE, "--max-model-len: '%s' is not a number of tokens",
                          optarg);
            return 1 + refuse(&err);
        } else if (c == 'h') {
            return 1 + (fputs(usage, stdout) < 0);
        } else if (c == '?') {
            (void)fputs(usage, stderr);
            return 1 + EXIT_CODE_USAGE;
        }
    }
    if (optind < argc && text_eq(argv[optind], "serve"))
        optind++;
    if (optind < argc)
        a->root = argv[optind++];
    if (optind < argc) {
        (void)err_set(&err, ERR_USAGE, "'%s' is one argument too many", argv[optind]);
        return 1 + refuse(&err);
    }
    if (!a->name)
        a->name = a->root;
    return 0;
}

static int
listen_at(const struct arguments *a, struct buf *where, struct err *reterr)
{
    struct sock_addr addr;
    bool bare_ipv6 = strchr(a->host, ':') && a->host[0] != '[';
    if (a->uds)
        buf_printf(where, "unix:%s", a->uds);
    else
        buf_printf(where, bare_ipv6 ? "[%s]:%s" : "%s:%s", a->host, a->port);
    int r = sock_addr_parse(where->data, &addr, reterr);
    if (r < 0)
        return r;
    int fd = sock_listen(&addr, 0600, reterr);
    if (fd >= 0 && !a->uds && addr.port == 0) {
        addr.port = (uint16_t)MAX(sock_bound_port(fd), 0);
        sock_addr_text text;
        buf_clear(where);
        buf_add_str(where, sock_addr_print(&addr, text));
    }
    return fd;
}

static void
on_signal(struct loop_signal *watch, int signo unused_arg)
{
    const struct stop_watch *w = (struct stop_watch *)watch;
    if (*w->draining)
        loop_stop(w->sim->loop);
    else
        http_server_drain(w->sim->server);
    *w->draining = true;
}

static void
on_drained(void *arg)
{
    struct sim *sim = arg;
    loop_stop(sim->loop);
}

static void
tell(const struct sim *sim, const struct arguments *a, const char *where)
{
    static const char body[] = "{\"messages\": [{\"role\": \"user\", \"content\": \"hello\"}]}";
    (void)printf("%s answers at %s\n\n", sim->model, where);
    if (a->uds)
        (void)printf("  curl --unix-socket '%s' http://localhost/v1/chat/completions", a->uds);
    else
        (void)printf("  curl http://%s/v1/chat/completions", where);
    (void)printf(" \\\n    -H 'Content-Type: application/json' -d '%s'\n\n", body);
    (void)fflush(stdout);
}

static int
serve(struct sim *sim, int fd, const struct arguments *a, const char *where, struct err *reterr)
{
    static const int signals[] = {SIGTERM, SIGINT};
    struct stop_watch stops[ARRAY_SIZE(signals)];
    bool draining = false;
    int r = http_server_listen(sim->server, fd, reterr);
    for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
        stops[i] = (struct stop_watch){{.received = on_signal}, sim, &draining};
        if (r == 0)
            r = loop_signal_start(sim->loop, &stops[i].signal, signals[i]);
    }
    if (r == 0) {
        tell(sim, a, where); /* who reads it may connect, and may stop us */
        loop_run(sim->loop);
    }
    for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
        loop_signal_stop(&stops[i].signal);
    return r;
}

static int
run(const struct arguments *a, struct err *reterr)
{
    struct sim sim = {.model = a->name,
                      .root = a->root,
                      .max_model_len = (uint32_t)a->max_model_len,
                      .started_s = clock_wall_us() / 1000000};
    const struct http_service service = {
        .request = sim_route, .explain = sim_explain, .drained = on_drained, .arg = &sim};
    struct http_server_config config = http_server_config_default;
    _cleanup_buf_ struct buf where = BUF_INIT(8 * KIB);
    config.name = "uvicorn";
    config.body_bytes_max = 64 * MIB;
    int fd = listen_at(a, &where, reterr);
    if (fd < 0)
        return fd;
    int r = loop_new(&sim.loop, reterr);
    if (r < 0) {
        cleanup_close(&fd);
        return r;
    }
    sim.server = http_server_new(sim.loop, &config, &service);
    r = serve(&sim, fd, a, where.data, reterr);
    http_server_free(sim.server);
    loop_free(sim.loop);
    return r;
}

int
main(int argc, char *argv[])
{
    struct arguments a = {
        .host = "127.0.0.1", .port = "8000", .root = "citadel-sim", .max_model_len = 8192};
    struct err err;
    (void)sigaction(SIGPIPE, &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
    int r = read_arguments(argc, argv, &a);
    if (r)
        return r - 1;
    return run(&a, &err) < 0 ? refuse(&err) : EXIT_CODE_OK;
}
