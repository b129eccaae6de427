#include "cli/services.h"

#include "base/quantity.h"
#include "cli/asker.h"
#include "cli/resting.h"
#include "run/marker.h"
#include "run/record.h"
#include "service/systemd.h"
#include "sys/clock.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOOK_AGAIN_MS 200

/* ---- the table ---- */

const struct table_column service_columns[SERVICE_COLUMNS] = {
    {.title = "Service", .min_width = 12},
    {.title = "State"},
    {.title = "Since", .right = true, .expendable = 2},
    {.title = "GPU", .expendable = 5},
    {.title = "Memory", .right = true, .expendable = 5},
    {.title = "Restarts", .right = true, .expendable = 4},
    {.title = "Address", .expendable = 3},
    {.title = "What it does", .min_width = 16, .expendable = 1},
};

/* It tells why, not what it does. */
static bool
is_troubled(const struct service_status *s)
{
    return s->state == SERVICE_FAILED || s->state == SERVICE_BACKING_OFF ||
           s->state == SERVICE_NOT_NOW || s->state == SERVICE_WAITING;
}

static enum tone
tone_of(const struct service_look *look)
{
    enum service_state state = look->seen->status.state;
    if (state == SERVICE_READY)
        return look->is_well ? TONE_GOOD : TONE_WARN;
    if (state == SERVICE_STOPPED || state == SERVICE_FAILED || state == SERVICE_BACKING_OFF)
        return look->is_well ? TONE_DIM : TONE_BAD;
    return TONE_PLAIN;
}

const char *
service_seen_word(const struct service_seen *seen)
{
    bool more = seen->has_run &&
                (seen->status.state == SERVICE_READY || seen->status.state == SERVICE_STARTING);
    return more ? run_phase_word(seen->run.phase) : service_state_word(seen->status.state);
}

/* To the second, and less finely the longer it is: "42s", "3m12s", "5h", "12d"; "-": it never ran. */
static const char *
show_age(uint64_t since_us, uint64_t now_us, quantity_text text)
{
    if (since_us == 0)
        return "-";
    uint64_t s = now_us > since_us ? (now_us - since_us) / 1000000 : 0;
    if (s >= 86400)
        s -= s % 86400;
    else if (s >= 3600)
        s -= s % 60;
    return quantity_print_us(s * 1000000, text);
}

static void
print_log_loss(const struct service_status *s, struct buf *out)
{
    if (s->log_errno)
        buf_printf(out, "%sits log is lost: %s", out->len ? "; " : "", strerror(s->log_errno));
}

/* Why one does not run that is as it should be. */
static void
print_rest(const struct service_look *l, struct buf *out)
{
    const struct run_record *r = &l->record;
    if (r->hold.set)
        buf_printf(out, "held by %s: %s", r->hold.by, r->hold.why);
    else if (r->wanted.state == RUN_WANTED_STOPPED)
        buf_printf(out, "%s has stopped it", r->wanted.by);
    else if (r->last.err.id != ERR_NONE)
        buf_printf(out, "it ended the last time: %s", r->last.err.what);
    else
        buf_add_str(out, l->seen->status.reason);
}

/* What it does, or why it does not, and when it is tried again. */
static void
print_doing(const struct service_look *l, uint64_t now_us, struct buf *out)
{
    const struct service_status *s = &l->seen->status;
    bool is_on_its_way = s->state == SERVICE_STARTING || s->state == SERVICE_STOPPING;
    quantity_text left;
    if (service_look_is_absent(l)) {
        buf_printf(out, "%s asks for it; try: citadel plan", l->file);
        return;
    }
    if (l->why && !(is_on_its_way && s->status[0]))
        buf_add_str(out, l->why);
    else if (is_on_its_way || s->state == SERVICE_READY)
        buf_add_str(out, s->status);
    else
        print_rest(l, out);
    if (l->next_us > now_us)
        buf_printf(out, "; again in %s", show_age(now_us, l->next_us, left));
    print_log_loss(s, out);
    if (!l->is_asked_for)
        buf_printf(out, "%s%s asks for it no more", out->len ? "; " : "", l->file);
}

static void
print_gpus(const struct service_seen *seen, struct buf *out)
{
    for (size_t i = 0; seen->has_run && i < seen->run.gpu_count; i++)
        buf_printf(out, "%s%u", i ? "," : "", seen->run.gpus[i]);
}

void
cli_add_service(struct table *table, const struct service_look *look, uint64_t now_us)
{
    const struct service_status *s = &look->seen->status;
    quantity_text text;
    _cleanup_buf_ struct buf doing = BUF_INIT(4 * KIB), gpus = BUF_INIT(KIB);
    print_doing(look, now_us, &doing);
    print_gpus(look->seen, &gpus);
    table_add(table, TONE_PLAIN, s->name);
    table_add(table, tone_of(look),
              service_look_is_absent(look) ? "not deployed" : service_seen_word(look->seen));
    table_add(table, TONE_PLAIN, show_age(s->since_us, now_us, text));
    table_add(table, TONE_PLAIN, gpus.data);
    table_add(table, TONE_PLAIN, look->gpu_bytes ? quantity_show_bytes(look->gpu_bytes, text) : "");
    table_addf(table, s->restarts ? TONE_PLAIN : TONE_DIM, "%u", s->restarts);
    table_add(table, TONE_PLAIN, s->address);
    table_add(table, TONE_PLAIN, doing.data);
}

void
cli_service_line(const struct service_status *s, struct buf *out)
{
    _cleanup_buf_ struct buf doing = BUF_INIT(4 * KIB);
    const char *word = service_state_word(s->state);
    quantity_text text;
    buf_add_str(&doing, is_troubled(s) && s->reason[0] ? s->reason : s->status);
    print_log_loss(s, &doing);
    if (text_starts(doing.data, word))
        buf_printf(out, "%s: %s", s->name, doing.data);
    else
        buf_printf(out, "%s: %s%s%s", s->name, word, doing.len ? ": " : "", doing.data);
    if (s->next_us > s->since_us)
        buf_printf(out, " (failure %u; again in %s)", s->failures,
                   quantity_print_us(s->next_us - s->since_us, text));
}

/* ---- changing them ---- */

static bool
is_group(const char *name)
{
    return text_eq(name, "all") || text_eq(name, "models");
}

int
cli_check_services(struct cli *cli, const struct cli_running *running)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < cli->args_count; i++)
        if (!is_group(cli->args[i]))
            r = cli_check_running(cli, running, cli->args[i]);
    return r;
}

static bool
has_processes(enum service_state state)
{
    return state == SERVICE_STARTING || state == SERVICE_READY || state == SERVICE_STOPPING;
}

/* To be started, what nothing wants is meant only by its name: of models that share memory, not all can be
 * loaded. */
static bool
is_meant_with_others(const struct service_seen *seen, enum service_state goal)
{
    return !(goal == SERVICE_READY && seen->unwanted && !has_processes(seen->status.state));
}

bool
cli_means_service(const struct cli *cli, const struct service_seen *seen, enum service_state goal)
{
    bool is_model = text_eq(seen->status.kind, "model");
    for (size_t i = 0; i < cli->args_count; i++) {
        const char *arg = cli->args[i];
        bool in_group = text_eq(arg, "all") || (is_model && text_eq(arg, "models"));
        if (text_eq(arg, seen->status.name) || (in_group && is_meant_with_others(seen, goal)))
            return true;
    }
    return cli->args_count == 0 && is_meant_with_others(seen, goal);
}

/* Asked to be ready, a service is nowhere near it in these states: it has tried since, and failed. */
static int
check_not_failed(struct cli *cli, const struct service_status *s)
{
    int r;
    if (s->state == SERVICE_STOPPED)
        return err_set(&cli->err, ERR_SERVICE_FAILED, "%s was stopped meanwhile by somebody else",
                       s->name);
    if (s->state != SERVICE_FAILED && s->state != SERVICE_BACKING_OFF &&
        s->state != SERVICE_NOT_NOW)
        return 0;
    r = err_set(&cli->err, s->state == SERVICE_NOT_NOW ? ERR_SERVICE_NOT_NOW : ERR_SERVICE_FAILED,
                "%s: %s", s->name, s->reason);
    err_fix(&cli->err, "citadel logs %s%s", s->name,
            s->state == SERVICE_FAILED ? "" : "; it is tried again meanwhile");
    return r;
}

/* How many are not there yet, or a negative errno. */
static int
count_missing(struct cli *cli, const struct service_view *view, enum service_state goal)
{
    int missing = 0;
    vec_foreach (&view->items, seen) {
        if (!cli_means_service(cli, seen, goal) || seen->status.state == goal)
            continue;
        int r = goal == SERVICE_READY ? check_not_failed(cli, &seen->status) : 0;
        if (r < 0)
            return r;
        missing++;
    }
    return missing;
}

/* What the first that is on its way does, when that has changed. */
static void
tell_progress(struct cli *cli, const struct service_view *view, enum service_state goal,
              struct buf *before)
{
    _cleanup_buf_ struct buf line = BUF_INIT(4 * KIB);
    vec_foreach (&view->items, seen) {
        if (!cli_means_service(cli, seen, goal) || service_state_is_settled(seen->status.state))
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
wait_for(struct cli *cli, const struct config *config, enum service_state goal)
{
    _cleanup_buf_ struct buf before = BUF_INIT(4 * KIB);
    for (;;) {
        _cleanup_service_view_ struct service_view view = {0};
        int r = service_view_read(config->paths.run, &view, &cli->err);
        if (r == 0)
            r = count_missing(cli, &view, goal);
        if (r <= 0)
            return r < 0 ? r : EXIT_CODE_OK;
        tell_progress(cli, &view, goal, &before);
        (void)poll(NULL, 0, LOOK_AGAIN_MS);
    }
}

static bool
is_held(const struct config *config, const char *name)
{
    struct run_record record;
    return run_record_load(config->paths.state, name, &record, NULL) == 0 && record.hold.set;
}

/* What a person wants of a model is in its record; a start ends a hold. */
static int
remember_wish(struct cli *cli, const struct config *config, const char *name,
              enum service_state goal)
{
    char by[64];
    const struct run_record_wish wish = {
        goal == SERVICE_STOPPED ? RUN_WANTED_STOPPED : RUN_WANTED_STARTED, cli_asker(by)};
    int r = run_record_change(config->paths.state, name, run_record_wish, &wish, NULL, &cli->err);
    if (r == -EACCES || r == -EPERM)
        err_fix(&cli->err, "the same with sudo");
    if (r == 0 || r == -EACCES || r == -EPERM)
        return r;
    /* Its engine may be who keeps the record, or has put something in its place. */
    cli_note(cli, "%s is %s all the same, and by whom is not written down: %s", name,
             goal == SERVICE_STOPPED ? "stopped" : "started", cli->err.what);
    cli->err = (struct err){0};
    return 0;
}

/* It outlives reboots. */
static int
rest_all(struct cli *cli, const struct config *config, const struct service_view *view)
{
    int r = 0;
    vec_foreach (&view->items, seen)
        if (r == 0 && cli_means_service(cli, seen, SERVICE_STOPPED))
            r = cli_rest_begin(cli, config, seen->status.name);
    return r;
}

/* What has rested is wanted again, as the view must tell. */
static int
wake_all(struct cli *cli, struct cli_running *running)
{
    int r = cli_rest_end(cli, running->config);
    return r <= 0 ? r : cli_read_running(cli, running);
}

static void
tell_change(const struct service_status *status, void *arg)
{
    _cleanup_buf_ struct buf line = BUF_INIT(4 * KIB);
    cli_service_line(status, &line);
    cli_note(arg, "%s", line.data);
}

static int
change_by_systemd(struct cli *cli, const struct service_view *view, const char *verb,
                  enum service_state goal)
{
    _cleanup_free_ const char **names = mem_alloc((view->items.count + 1) * sizeof(*names));
    struct systemd_wish wish = {.verb = verb,
                                .names = names,
                                .wait = !cli_flag(cli, "no-wait"),
                                .progress = tell_change,
                                .arg = cli};
    vec_foreach (&view->items, seen)
        if (cli_means_service(cli, seen, goal))
            names[wish.count++] = seen->status.name;
    return systemd_change(&wish, &cli->err);
}

/* Each alone: who comes after another is to know first that it stops. */
static int
change_by_up(struct cli *cli, const struct config *config, const struct service_view *view,
             const char *verb, enum service_state goal)
{
    bool backwards = goal == SERVICE_STOPPED;
    size_t count = view->items.count;
    int r = 0;
    for (size_t i = 0; r == 0 && i < count; i++) {
        const struct service_seen *seen = &view->items.items[backwards ? count - 1 - i : i];
        if (cli_means_service(cli, seen, goal))
            r = service_ask(config->paths.run, seen->status.name, verb, &cli->err);
    }
    return r;
}

static int
change(struct cli *cli, const struct config *config, const struct service_view *view,
       const char *verb, enum service_state goal)
{
    if (view->by_systemd)
        return change_by_systemd(cli, view, verb, goal);
    int r = change_by_up(cli, config, view, verb, goal);
    return r < 0 || cli_flag(cli, "no-wait") ? r : wait_for(cli, config, goal);
}

/* What was asked of none has been done to all of them, and is not what was meant. */
static int
check_any(struct cli *cli, const struct service_view *view, const char *verb,
          enum service_state goal)
{
    vec_foreach (&view->items, seen)
        if (cli_means_service(cli, seen, goal))
            return 0;
    if (view->items.count || goal == SERVICE_STOPPED) {
        cli_note(cli, "there is nothing to %s: citadel status", verb);
        return 0;
    }
    int r =
        err_set(&cli->err, ERR_DEPLOY_NOTHING, "nothing is deployed, and so nothing to %s", verb);
    err_fix(&cli->err, "citadel apply");
    return r;
}

int
cli_change_running(struct cli *cli, struct cli_running *running, const char *verb,
                   enum service_state goal)
{
    const struct service_view *view = &running->view;
    int r = goal == SERVICE_READY ? run_marker_check(running->config->paths.run, &cli->err) : 0;
    if (r == 0)
        r = cli_check_services(cli, running);
    if (r == 0 && view->by_systemd && goal == SERVICE_READY)
        r = wake_all(cli, running);
    if (r == 0)
        r = check_any(cli, view, verb, goal);
    const struct config *config = running->config;
    bool was_held = false;
    vec_foreach (&view->items, seen) {
        const char *name = seen->status.name;
        if (r < 0 || !text_eq(seen->status.kind, "model") || !cli_means_service(cli, seen, goal))
            continue;
        was_held |= goal == SERVICE_READY && is_held(config, name);
        r = remember_wish(cli, config, name, goal);
    }
    if (r == 0 && view->by_systemd && goal == SERVICE_STOPPED)
        r = rest_all(cli, config, view);
    if (r == 0)
        r = change(cli, config, view, verb, goal);
    if (r >= 0 || cli->err.id != ERR_SERVICE_NOT_NOW || !was_held)
        return r;
    cli->err = (struct err){0}; /* it was on its way already, and had found the hold */
    return change(cli, config, view, verb, goal);
}

/* As they are now, for programs. */
static int
print_changed(struct cli *cli, struct cli_running *running, enum service_state goal)
{
    _cleanup_service_looks_ struct service_looks looks = {0};
    int r = cli_read_running(cli, running);
    if (r < 0)
        return r;
    service_view_ask(&running->view, running->config->paths.run, NULL);
    cli_look_at_services(running, &looks);
    json_open_map(cli->json, NULL);
    json_open_list(cli->json, "services");
    vec_foreach (&looks, look)
        if (!service_look_is_absent(look) && cli_means_service(cli, look->seen, goal))
            service_look_print(look, cli->json);
    json_close_list(cli->json);
    json_close_map(cli->json);
    return 0;
}

int
cli_change_services(struct cli *cli, const char *verb, enum service_state goal)
{
    _cleanup_cli_running_ struct cli_running running = {0};
    int r = cli_load_running(cli, &running);
    if (r == 0)
        r = cli_change_running(cli, &running, verb, goal);
    const int code = r;
    if (r >= 0 && cli->json)
        r = print_changed(cli, &running, goal);
    return r < 0 ? r : code;
}
