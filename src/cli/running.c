#include "cli/running.h"

#include "base/text.h"
#include "cli/frame.h"
#include "cli/load_config.h"
#include "config/problems.h"
#include "deploy/generation.h"
#include "run/marker.h"
#include "run/run.h"
#include "service/direct.h"
#include "service/systemd.h"
#include "sys/files.h"

#include <stdio.h>
#include <string.h>

/* ---- as which configuration ---- */

/* One that cannot be read, perhaps of another release, is as good as not there. path: where it is from. */
static void
take_config(struct cli *cli, struct cli_running *running, const struct buf *text, const char *path)
{
    const struct buf *given = &cli->frame->problems->text;
    if (text->len == given->len && memcmp(text->data, given->data, text->len) == 0)
        return;
    running->other = cli_parse_config(text->data, text->len, path);
    if (running->other)
        running->config = running->other;
}

/* What is wrong with a generation is told as drift. */
static int
take_generation(struct cli *cli, struct cli_running *running)
{
    _cleanup_buf_ struct buf text = BUF_INIT(GENERATION_FILE_MAX);
    const char *store = running->file->paths.generations;
    bool astray;
    int r = generation_or_none(store, GENERATION_CURRENT, &running->generation, &astray, &cli->err);
    if (r < 0 || running->generation == 0)
        return r;
    _cleanup_free_ char *path =
        mem_printf("%s/generations/%u/config.yaml", store, running->generation);
    if (generation_read(store, running->generation, "config.yaml", &text, NULL) == 0)
        take_config(cli, running, &text, path);
    return 0;
}

/* A supervisor of ours has a copy of what it runs. */
static void
take_copy(struct cli *cli, struct cli_running *running)
{
    _cleanup_buf_ struct buf text = BUF_INIT(GENERATION_FILE_MAX);
    _cleanup_free_ char *path = mem_printf("%s/" DIRECT_COPY_NAME, running->file->paths.run);
    running->generation = running->view.source.generation;
    if (running->view.source.file[0] && file_read(path, &text, NULL) == 0)
        take_config(cli, running, &text, path);
}

/* ---- what is missing ---- */

static void
find_missing(struct cli_running *running)
{
    for (size_t i = 0; i < running->file->models.count; i++) {
        const struct config_model *model = &running->file->models.items[i];
        char address[RUN_ADDRESS_MAX];
        if (!model->enabled || service_view_find(&running->view, model->name))
            continue;
        struct service_status *s = &vec_add(&running->missing)->status;
        s->last_exit = -1;
        (void)snprintf(s->name, sizeof(s->name), "%s", model->name);
        (void)snprintf(s->kind, sizeof(s->kind), "model");
        (void)snprintf(s->address, sizeof(s->address), "%s", run_address(model->port, address));
        (void)snprintf(s->reason, sizeof(s->reason), "it is not deployed");
    }
}

const struct service_seen *
cli_find_missing(const struct cli_running *running, const char *name)
{
    vec_foreach (&running->missing, seen)
        if (text_eq(seen->status.name, name))
            return seen;
    return NULL;
}

bool
cli_asks_for(const struct config *config, const char *name)
{
    const struct config_model *model = config_find_model(config, name);
    return model && model->enabled;
}

/* ---- all of it ---- */

/* What our own supervisor tells where one answers, else systemd. */
static int
read_view(struct cli *cli, struct cli_running *running)
{
    int r = service_view_read(running->file->paths.run, &running->view, &cli->err);
    if (r == 0)
        take_copy(cli, running);
    if (r == 0 || cli->err.id != ERR_SERVICE_DOWN || !systemd_is_here())
        return r;
    service_view_finish(&running->view);
    cli->err = (struct err){0};
    r = take_generation(cli, running);
    return r < 0 ? r : systemd_view_read(running->config, &running->view, &cli->err);
}

static void
forget(struct cli_running *running)
{
    config_free(running->other);
    running->other = NULL;
    running->config = running->file;
    running->generation = 0;
    service_view_finish(&running->view);
    vec_finish(&running->missing);
}

int
cli_read_running(struct cli *cli, struct cli_running *running)
{
    forget(running);
    int r = read_view(cli, running);
    if (cli->err.id == ERR_SERVICE_DOWN &&
        run_marker_check(running->config->paths.run, &cli->err) < 0)
        r = -err_row(ERR_EMERGENCY)->err; /* that is why */
    if (r == 0)
        find_missing(running);
    return r;
}

int
cli_load_running(struct cli *cli, struct cli_running *ret)
{
    *ret = (struct cli_running){0};
    int r = cli_load_deployed(cli, &ret->file);
    return r < 0 ? r : cli_read_running(cli, ret);
}

void
cli_running_finish(struct cli_running *running)
{
    forget(running);
    config_free(running->file);
}

/* ---- telling ---- */

static const char *
candidate(size_t i, const void *arg)
{
    const struct cli_running *running = arg;
    size_t there = running->view.items.count;
    if (i < there)
        return running->view.items.items[i].status.name;
    return i - there < running->missing.count ? running->missing.items[i - there].status.name
                                              : NULL;
}

/* Until what the file says is what runs. */
static const char *
how_to_apply(const struct cli_running *running)
{
    bool reads_file = !running->view.by_systemd && running->generation == 0;
    return reads_file ? "citadel plan; then citadel apply, or citadel reload"
                      : "citadel plan; then citadel apply";
}

int
cli_check_running(struct cli *cli, const struct cli_running *running, const char *name)
{
    int r;
    if (service_view_find(&running->view, name))
        return 0;
    if (cli_find_missing(running, name)) {
        r = err_set(&cli->err, ERR_SERVICE_NONE, "%s is in %s, and not deployed", name,
                    running->file->name);
        err_fix(&cli->err, "%s", how_to_apply(running));
        return r;
    }
    r = err_set(&cli->err, ERR_SERVICE_NONE, "there is no service '%s'", name);
    err_fix_nearest(&cli->err, name, candidate, running, "citadel status");
    return r;
}

void
cli_print_running(struct cli *cli, const struct cli_running *running)
{
    if (!running->other)
        return;
    if (running->generation)
        cli_print(cli, "\nGeneration %u runs, and %s says something else.\n", running->generation,
                  running->file->name);
    else
        cli_print(cli, "\n%s runs as it was read, and %s says something else.\n",
                  running->view.source.file, running->file->name);
    cli_print(cli, "  try: %s\n", how_to_apply(running));
}

void
cli_print_running_json(const struct cli_running *running, struct json_writer *w)
{
    const char *file = running->view.source.file;
    json_open_map(w, "deployed");
    json_u64(w, "generation", running->generation);
    json_str(w, "file", file[0] ? file : NULL);
    json_bool(w, "differs", running->other != NULL);
    json_close_map(w);
}
