#include "cli/demo.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli/cli.h"
#include "run/run.h"
#include "sys/files.h"
#include "sys/root.h"
#include "sys/sock.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* How long it loads, how much it weighs, how fast it speaks: short enough for a demonstration. */
static const struct {
    const char *name, *kind, *more, *load, *weights, *rate;
} models[] = {
    {"chat", "chat", "gpu_memory_fraction: 0.5, max_model_len: 8192, sleep_level: 1", "2s", "16GiB",
     "60"},
    {"large", "chat", "gpu_memory_fraction: 0.4, max_model_len: 32768, tensor_parallel: 2", "3s",
     "40GiB", "25"},
    {"embed", "embedding", "gpu_memory_fraction: 0.1, max_model_len: 512", "1s", "1GiB", "0"},
};

#define MODEL_PORT 11400 /* of the first; the usual ones */
#define MONITOR_PORT 8001
#define GATEWAY_PORT 8000

/* Of the place: an engine's sockets are in PLACE/citadel-demo-XXXXXX/run/models/large, and vLLM makes
 * them with a name so long that 69 bytes are left for that. */
#define PLACE_MAX 30

/* The fake driver: in the build tree below our program, or installed with it. */
static int
find_driver(const char *program, char path[PATH_MAX], struct err *reterr)
{
    static const char *const places[] = {"sim", "../lib/citadel"};
    const char *slash = strrchr(program, '/');
    for (size_t i = 0; slash && i < ARRAY_SIZE(places); i++) {
        int len = snprintf(path, PATH_MAX, "%.*s/%s/libnvidia-ml.so.1", (int)(slash - program),
                           program, places[i]);
        if (len < PATH_MAX && access(path, R_OK) == 0)
            return 0;
    }
    int r = err_set(reterr, ERR_NOT_FOUND, "the simulated driver is not beside %s", program);
    err_fix(reterr, "run it from the tree it was built in, or install it with `make install`");
    return r;
}

/* A name that the kernel gives to one at a time, and takes back when it ends. Whoever has it uses
 * the usual ports; a second demo, whose models bind their ports seconds after we looked, takes some
 * that nobody is likely to want meanwhile. */
static int
take_turn(void)
{
    static const struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "\0citadel-demo"};
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t len = offsetof(struct sockaddr_un, sun_path) + sizeof("\0citadel-demo") - 1;
    if (fd < 0 || bind(fd, (const struct sockaddr *)&name, len) < 0)
        return -1;
    return take_fd(&fd);
}

/* The one that is wished for, unless it is 0 or somebody has it. */
static unsigned
free_port(unsigned wish)
{
    char text[RUN_ADDRESS_MAX];
    for (unsigned port = wish;; port = 0) {
        struct sock_addr addr;
        int fd = sock_addr_parse(run_address(port, text), &addr, NULL) < 0
                     ? -1
                     : sock_listen(&addr, 0600, NULL);
        int bound = fd < 0 ? -1 : sock_bound_port(fd);
        cleanup_close(&fd);
        if (bound > 0)
            return (unsigned)bound;
        if (port == 0)
            return wish; /* none at all: the model will say so */
    }
}

static void
print_config(struct demo *d, struct buf *out)
{
    const char *dir = root_strip(d->dir);
    d->monitor_port = free_port(d->turn < 0 ? 0 : MONITOR_PORT);
    d->gateway_port = free_port(d->turn < 0 ? 0 : GATEWAY_PORT);
    buf_printf(out,
               DEMO_HEAD
               "paths: {root: %s, models: %s/models, run: %s/run, state: %s/state, backup: "
               "%s/backup, generations: %s/generations}\n"
               "gateway: {port: %u, listen: [127.0.0.1]}\n"
               "monitor: {port: %u}\n"
               "storage: {require_mounts: false}\n"
               "defaults: {engine: sim, drain_timeout: 5s, restart_delay: 1s}\n"
               "models:\n",
               dir, dir, dir, dir, dir, dir, d->gateway_port, d->monitor_port);
    for (size_t i = 0; i < ARRAY_SIZE(models); i++) {
        d->ports[i] = free_port(d->turn < 0 ? 0 : MODEL_PORT + (unsigned)i);
        buf_printf(out,
                   "  %s: {port: %u, kind: %s, %s, extra_args: [--sim-load-time, %s, "
                   "--sim-weights, %s, --sim-token-rate, %s]}\n",
                   models[i].name, d->ports[i], models[i].kind, models[i].more, models[i].load,
                   models[i].weights, models[i].rate);
    }
}

static int
make_places(const struct demo *d, struct err *reterr)
{
    for (size_t i = 0; i < ARRAY_SIZE(models); i++) {
        _cleanup_free_ char *path = mem_printf("%s/models/%s", d->dir, models[i].name);
        int r = file_make_dirs(path, 0755, reterr);
        if (r < 0)
            return r;
    }
    static const char *const others[] = {"gpus", "state", "backup"};
    int r = 0;
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(others); i++) {
        _cleanup_free_ char *path = mem_printf("%s/%s", d->dir, others[i]);
        r = file_make_dirs(path, 0755, reterr);
    }
    return r;
}

/* It goes into YAML as it is. */
static bool
is_plain(const char *path)
{
    return path[strspn(
               path, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-")] == '\0';
}

const char *
demo_place(void)
{
    const char *base = getenv("TMPDIR");
    if (root_is_set())
        return root_dir();
    return base && base[0] == '/' && strlen(base) <= PLACE_MAX && is_plain(base) ? base : "/tmp";
}

/* From a long $TMPDIR one may go to /tmp, from a root nowhere. */
static int
check_root(struct err *reterr)
{
    if (strlen(root_dir()) <= PLACE_MAX)
        return 0;
    int r =
        err_set(reterr, ERR_TOO_LARGE,
                "--root %s has %zu bytes; the sockets of a demonstration in it leave room for %d",
                root_dir(), strlen(root_dir()), PLACE_MAX);
    err_fix(reterr, "mkdir /tmp/root && citadel up --demo --root /tmp/root");
    return r;
}

/* Whoever sweeps holds the lock for a moment, sees that there is no configuration yet, and lets it go.
 * Some file systems lock no directories: there nothing is ever swept. */
static int
make_dir(struct demo *d, struct err *reterr)
{
    (void)snprintf(d->dir, sizeof(d->dir), "%s/" DEMO_NAME "XXXXXX", demo_place());
    if (!mkdtemp(d->dir)) {
        int r = err_set_errno(reterr, errno, "cannot make %s", d->dir);
        d->dir[0] = '\0';
        return r;
    }
    d->lock = open(d->dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (d->lock >= 0)
        (void)flock(d->lock, LOCK_EX);
    return 0;
}

int
demo_make(struct demo *d, const char *program, struct err *reterr)
{
    _cleanup_buf_ struct buf config = BUF_INIT(64 * KIB);
    char driver[PATH_MAX];
    *d = (struct demo){.turn = take_turn(), .lock = -1};
    int r = check_root(reterr);
    if (r == 0)
        r = find_driver(program, driver, reterr);
    if (r == 0)
        r = make_dir(d, reterr);
    if (r < 0)
        return r;
    (void)snprintf(d->config_file, sizeof(d->config_file), "%s/" DEMO_CONFIG, d->dir);
    print_config(d, &config);
    r = file_write(d->config_file, config.data, config.len, 0644, reterr);
    if (r < 0)
        return r;
    _cleanup_free_ char *gpus = mem_printf("%s/gpus", d->dir);
    if (setenv("CITADEL_NVML", driver, 1) < 0 || setenv("CITADEL_FAKE_NVML", gpus, 1) < 0)
        return err_set_errno(reterr, errno, "the environment");
    return make_places(d, reterr);
}

/* A request that this model answers. */
static void
print_try(const struct demo *d, size_t i, struct buf *out)
{
    bool streams = text_eq(models[i].kind, "chat") && i > 0;
    char address[RUN_ADDRESS_MAX];
    buf_printf(out, "  curl %shttp://%s/v1/%s -H 'Content-Type: application/json' -d '",
               streams ? "-N " : "", run_address(d->gateway_port, address),
               text_eq(models[i].kind, "chat") ? "chat/completions" : "embeddings");
    buf_printf(out, "{\"model\": \"%s\", %s", models[i].name, streams ? "\"stream\": true, " : "");
    if (text_eq(models[i].kind, "chat"))
        buf_add_str(out, "\"messages\": [{\"role\": \"user\", \"content\": \"hello\"}]}'\n\n");
    else
        buf_add_str(out, "\"input\": \"hello\"}'\n\n");
}

void
demo_tell(const struct demo *d, bool (*is_up)(const char *name, const void *arg), const void *arg,
          struct buf *out)
{
    const char *first = NULL;
    char address[RUN_ADDRESS_MAX];
    _cleanup_buf_ struct buf root = BUF_INIT(1 * KIB);
    if (root_is_set()) {
        buf_add_str(&root, " --root ");
        buf_add_word(&root, root_dir());
    }
    buf_add_str(out, "\nThe demo answers. In another terminal:\n\n");
    for (size_t i = 0; i < ARRAY_SIZE(models); i++)
        if (is_up(models[i].name, arg)) {
            print_try(d, i, out);
            first = first ? first : models[i].name;
        }
    buf_printf(out, "  http://%s/v1/models   # the gateway: one address for all of them\n",
               run_address(d->gateway_port, address));
    buf_printf(out, "  http://%s/health      # the monitor watches over them\n\n",
               run_address(d->monitor_port, address));
    buf_add_str(out, "  export CITADEL_CONFIG=");
    buf_add_word(out, d->config_file);
    buf_printf(out,
               "      # then: citadel status%s, citadel logs %s%s\n\n"
               "Ctrl-C ends it.\n\n",
               root.data, first ? first : models[0].name, root.data);
}

void
demo_remove(struct demo *d, struct cli *cli)
{
    struct err err;
    cleanup_close(&d->turn);
    if (d->dir[0] && file_remove_tree(d->dir, &err) < 0)
        cli_note(cli, "%s is left behind: %s", d->dir, err.what);
    cleanup_close(&d->lock);
}
