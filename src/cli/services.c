#include "cli/services.h"

#include "base/quantity.h"
#include "cli/load_config.h"
#include "sys/clock.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#define LOOK_AGAIN_MS 200

int
cli_load_services(struct cli *cli, struct config **ret_config, struct service_view *ret_view)
{
    _cleanup_config_ struct config *config = NULL;
    int r = cli_load_config(cli, &config);
    if (r == 0)
        r = service_view_read(config->paths.run, ret_view, &cli->err);
    if (r == 0)
        *ret_config = take_ptr(config);
    return r;
}

static const char *
candidate(size_t i, const void *arg)
{
    const struct service_view *view = arg;
    return i < view->items.count ? view->items.items[i].status.name : NULL;
}

const struct service_seen *
cli_find_service(struct cli *cli, const struct service_view *view, const char *name)
{
    const struct service_seen *seen = service_view_find(view, name);
    if (seen)
        return seen;
    (void)err_set(&cli->err, ERR_SERVICE_NONE, "there is no service '%s'", name);
    const char *nearest = text_nearest(name, candidate, view);
    if (nearest)
        err_fix(&cli->err, "did you mean %s?", nearest);
    else
        err_fix(&cli->err, "see `citadel status`");
    return NULL;
}

/* ---- the table ---- */

const struct table_column service_columns[SERVICE_COLUMNS] = {
    {.title = "Service", .min_width = 12},
    {.title = "State"},
    {.title = "Since", .right = true, .expendable = 2},
    {.title = "Restarts", .right = true, .expendable = 4},
    {.title = "Address", .expendable = 3},
    {.title = "What it does", .min_width = 16, .expendable = 1},
};

static enum tone
tone_of(const struct service_seen *seen)
{
    const char *why;
    if (seen->status.state == SERVICE_FAILED || seen->status.state == SERVICE_BACKING_OFF ||
        !service_is_healthy(seen, &why))
        return service_state_is_settled(seen->status.state) ||
                       seen->status.state == SERVICE_BACKING_OFF
                   ? TONE_BAD
                   : TONE_PLAIN;
    return seen->status.state == SERVICE_READY ? TONE_GOOD : TONE_DIM;
}

/* A model says more than "ready". */
static const char *
state_of(const struct service_seen *seen)
{
    bool more = seen->has_run &&
                (seen->status.state == SERVICE_READY || seen->status.state == SERVICE_STARTING);
    return more ? run_phase_word(seen->run.phase) : service_state_word(seen->status.state);
}

/* To the second, and less finely the longer it is: "42s", "3m12s", "5h", "12d". */
static const char *
show_age(uint64_t since_us, uint64_t now_us, quantity_text text)
{
    uint64_t s = now_us > since_us ? (now_us - since_us) / 1000000 : 0;
    if (s >= 86400)
        s -= s % 86400;
    else if (s >= 3600)
        s -= s % 60;
    return quantity_print_us(s * 1000000, text);
}

void
cli_add_service(struct table *table, const struct service_seen *seen, uint64_t now_us)
{
    const struct service_status *s = &seen->status;
    quantity_text text;
    bool bad = s->state == SERVICE_FAILED || s->state == SERVICE_BACKING_OFF ||
               s->state == SERVICE_NOT_NOW;
    table_add(table, TONE_PLAIN, s->name);
    table_add(table, tone_of(seen), state_of(seen));
    table_add(table, TONE_PLAIN, show_age(s->since_us, now_us, text));
    table_addf(table, s->restarts ? TONE_PLAIN : TONE_DIM, "%u", s->restarts);
    table_add(table, TONE_PLAIN, s->address);
    table_add(table, TONE_PLAIN, bad && s->reason[0] ? s->reason : s->status);
}

void
cli_service_line(const struct service_status *s, struct buf *out)
{
    bool bad = s->state == SERVICE_FAILED || s->state == SERVICE_BACKING_OFF ||
               s->state == SERVICE_NOT_NOW;
    const char *more = bad && s->reason[0] ? s->reason : s->status;
    const char *word = service_state_word(s->state);
    size_t len = strlen(word);
    bool repeats = strncmp(more, word, len) == 0;
    buf_printf(out, "%s: %s%s%s", s->name, repeats ? more : word, !repeats && more[0] ? ": " : "",
               repeats ? "" : more);
}

/* ---- changing them ---- */

static bool
is_meant(const struct cli *cli, const char *name)
{
    if (cli->args_count == 0)
        return true;
    for (size_t i = 0; i < cli->args_count; i++)
        if (text_eq(cli->args[i], name) || text_eq(cli->args[i], "all") ||
            text_eq(cli->args[i], "models"))
            return true;
    return false;
}

/* How many are not there yet; -1: one has failed, which is told. */
static int
count_missing(struct cli *cli, const struct service_view *view, enum service_state goal,
              uint64_t asked_us)
{
    int missing = 0;
    vec_foreach (&view->items, seen) {
        const struct service_status *s = &seen->status;
        if (!is_meant(cli, s->name))
            continue;
        bool failed = goal == SERVICE_READY && s->since_us >= asked_us &&
                      (s->state == SERVICE_FAILED || s->state == SERVICE_NOT_NOW ||
                       s->state == SERVICE_BACKING_OFF);
        if (failed) {
            (void)err_set(&cli->err,
                          s->state == SERVICE_NOT_NOW ? ERR_ENGINE_NOT_NOW : ERR_ENGINE_CRASHED,
                          "%s: %s", s->name, s->reason[0] ? s->reason : s->status);
            err_fix(&cli->err, "see its log: citadel logs %s", s->name);
            return -1;
        }
        missing += s->state != goal;
    }
    return missing;
}

static void
tell_progress(struct cli *cli, const struct service_view *view, struct buf *before)
{
    _cleanup_buf_ struct buf line = BUF_INIT(4 * KIB);
    vec_foreach (&view->items, seen) {
        if (!is_meant(cli, seen->status.name) || service_state_is_settled(seen->status.state))
            continue;
        cli_service_line(&seen->status, &line);
        break;
    }
    if (line.len && strcmp(line.data, before->data) != 0)
        cli_note(cli, "%s", line.data);
    buf_clear(before);
    buf_add_str(before, line.data);
}

static int
wait_for(struct cli *cli, const struct config *config, enum service_state goal, uint64_t asked_us)
{
    _cleanup_buf_ struct buf before = BUF_INIT(4 * KIB);
    for (;;) {
        _cleanup_service_view_ struct service_view view = {0};
        int r = service_view_read(config->paths.run, &view, &cli->err);
        if (r < 0)
            return r;
        int missing = count_missing(cli, &view, goal, asked_us);
        if (missing < 0)
            return -err_row(cli->err.id)->err;
        if (missing == 0)
            return EXIT_CODE_OK;
        tell_progress(cli, &view, &before);
        (void)poll(NULL, 0, LOOK_AGAIN_MS);
    }
}

int
cli_change_services(struct cli *cli, const char *verb, enum service_state goal)
{
    _cleanup_config_ struct config *config = NULL;
    _cleanup_service_view_ struct service_view view = {0};
    uint64_t asked_us = clock_wall_us();
    int r = cli_load_services(cli, &config, &view);
    for (size_t i = 0; r == 0 && i < cli->args_count; i++)
        if (!text_eq(cli->args[i], "all") && !text_eq(cli->args[i], "models") &&
            !cli_find_service(cli, &view, cli->args[i]))
            return -err_row(cli->err.id)->err;
    if (r < 0)
        return r;
    vec_foreach (&view.items, seen) {
        if (is_meant(cli, seen->status.name))
            r = service_ask(config->paths.run, seen->status.name, verb, &cli->err);
        if (r < 0)
            return r;
    }
    return cli_flag(cli, "no-wait") ? EXIT_CODE_OK : wait_for(cli, config, goal, asked_us);
}
