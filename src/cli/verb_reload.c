#include "base/vec.h"
#include "cli/services.h"
#include "service/reread.h"
#include "service/systemd.h"

#include <stdlib.h>

const struct verb_help verb_reload_help = {
    .text =
        "Has services read their configuration anew. What can change while they run does; a "
        "service "
        "with an option that is read only at a start finishes its running answers and is "
        "restarted. "
        "Which of the two was done, and for which options, is told: `citadel config options` says "
        "what a change of each needs. A configuration that is wrong is refused, and what was read "
        "before holds.\n\n"
        "The configuration is that which runs. `citadel up` reads its file; once a generation "
        "runs, "
        "there and under systemd, that is what is read, and `citadel apply` brings a file that was "
        "edited to it. Models come and go by `citadel apply`, too.\n\n"
        "NAME is a service, `models` or `all`; none is all of them.",
    .examples = VERB_EXAMPLES({"citadel reload", "all services"},
                              {"citadel reload monitor", "one of them"}),
};

#define TREE_MAX (64 * MIB)

enum deed { DEED_NOTHING, DEED_TAKEN, DEED_DONE_ANEW, DEED_RESTARTED };

static const char *const deeds[] = {
    [DEED_NOTHING] = "nothing",
    [DEED_TAKEN] = "reload",
    [DEED_DONE_ANEW] = "reload",
    [DEED_RESTARTED] = "restart",
};

/* What became of one service. */
struct reloaded {
    const char *name;
    enum deed deed;
    const char *why;             /* nothing was to be done; else NULL */
    const struct value *options; /* that were taken up, or that a restart is for */
};

struct reloading {
    struct cli *cli;
    struct cli_running running;
    struct arena arena; /* of answers */
    VEC(struct reloaded) all;
    VEC(const char *) restarts; /* and NULL behind the last */
};

static bool
runs(const struct service_seen *seen)
{
    enum service_state state = seen->status.state;
    return state == SERVICE_STARTING || state == SERVICE_READY;
}

/* Disks and GPUs are set up by what has ended: systemd does it anew. */
static int
do_anew(struct reloading *r, const char *name)
{
    const struct systemd_wish wish = {.verb = "reload", .names = &name, .count = 1, .wait = true};
    return systemd_change(&wish, &r->cli->err);
}

static int
reread(struct reloading *r, struct reloaded *done)
{
    struct value *answer = NULL;
    int code =
        service_reread(r->running.config->paths.run, done->name, &r->arena, &answer, &r->cli->err);
    if (code < 0)
        return code;
    const struct value *live = value_get(answer, "live"), *restart = value_get(answer, "restart");
    if (restart && restart->count) {
        done->deed = DEED_RESTARTED;
        done->options = restart;
        vec_push(&r->restarts, done->name);
    } else if (live && live->count) {
        done->deed = DEED_TAKEN;
        done->options = live;
    } else {
        done->why = "nothing that it reads has changed";
    }
    return 0;
}

static int
reload_one(struct reloading *r, const struct service_seen *seen)
{
    struct reloaded *done = vec_add(&r->all);
    done->name = arena_strdup(&r->arena, seen->status.name);
    if (!done->name)
        return err_set(&r->cli->err, ERR_TOO_LARGE, "there are too many services");
    bool is_process = text_eq(seen->status.kind, "model") ||
                      text_eq(seen->status.name, SERVICE_MONITOR) ||
                      text_eq(seen->status.name, SERVICE_GATEWAY);
    if (!runs(seen)) {
        done->why = "it does not run, and reads its configuration when it starts";
        return 0;
    }
    if (is_process)
        return reread(r, done);
    done->deed = DEED_DONE_ANEW;
    return do_anew(r, done->name);
}

/* ---- what is told ---- */

static void
print_options(struct cli *cli, const struct value *options)
{
    for (const struct value *v = options ? options->first : NULL; v; v = v->next) {
        const char *from = value_str(value_get(v, "from")), *to = value_str(value_get(v, "to"));
        const char *path = value_str(value_get(v, "path"));
        if (from && to)
            cli_print(cli, "  %s: %s -> %s\n", path, from, to);
        else
            cli_print(cli, "  %s: %s\n", path, to ? "added" : "removed");
    }
}

static void
print(const struct reloading *r)
{
    static const char *const words[] = {
        [DEED_TAKEN] = "has taken it up while it runs",
        [DEED_DONE_ANEW] = "has done its work anew",
        [DEED_RESTARTED] = "was restarted, for what it reads only when it starts",
    };
    vec_foreach (&r->all, done) {
        cli_print(r->cli, "%s: %s\n", done->name, done->why ? done->why : words[done->deed]);
        print_options(r->cli, done->options);
    }
}

static void
print_json(const struct reloading *r, struct json_writer *w)
{
    json_open_map(w, NULL);
    json_open_list(w, "services");
    vec_foreach (&r->all, done) {
        json_open_map(w, NULL);
        json_str(w, "name", done->name);
        json_str(w, "did", deeds[done->deed]);
        json_str(w, "why", done->why);
        if (done->options)
            json_value(w, "options", done->options);
        json_close_map(w);
    }
    json_close_list(w);
    cli_print_running_json(&r->running, w);
    json_close_map(w);
}

/* ---- doing ---- */

static int
restart(struct reloading *r)
{
    struct cli cli = *r->cli;
    if (r->restarts.count == 0)
        return 0;
    cli.args_count = r->restarts.count;
    vec_push(&r->restarts, NULL);
    cli.args = r->restarts.items;
    int code = cli_change_running(&cli, &r->running, "restart", SERVICE_READY);
    r->cli->err = cli.err;
    return code;
}

/* Our own supervisor first: what restarts is started as it says. What it runs is seen anew then. */
static int
read_anew(struct reloading *r)
{
    struct cli *cli = r->cli;
    int code = cli_check_services(cli, &r->running);
    if (code < 0 || r->running.view.by_systemd)
        return code;
    code = service_ask_read(r->running.config->paths.run, SERVICE_READ_AGAIN, &cli->err);
    return code < 0 ? code : cli_read_running(cli, &r->running);
}

static int
reload(struct reloading *r)
{
    int code = read_anew(r);
    vec_foreach (&r->running.view.items, seen)
        if (code == 0 && cli_means_service(r->cli, seen, seen->status.state))
            code = reload_one(r, seen);
    if (code == 0)
        code = restart(r);
    if (code < 0)
        return code;
    if (r->cli->json) {
        print_json(r, r->cli->json);
    } else {
        print(r);
        cli_print_running(r->cli, &r->running);
    }
    return EXIT_CODE_OK;
}

int
verb_reload(struct cli *cli)
{
    struct reloading r = {.cli = cli};
    arena_init(&r.arena, TREE_MAX);
    int code = cli_load_running(cli, &r.running);
    if (code == 0)
        code = reload(&r);
    cli_running_finish(&r.running);
    vec_finish(&r.all);
    vec_finish(&r.restarts);
    arena_finish(&r.arena);
    return code;
}
