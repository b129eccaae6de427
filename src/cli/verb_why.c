#include "base/mem.h"
#include "cli/load_plan.h"
#include "cli/operate.h"
#include "cli/running.h"
#include "lifecycle/history.h"
#include "lifecycle/why.h"
#include "service/list.h"
#include "sys/clock.h"

#include <errno.h>
#include <stdlib.h>

const struct verb_help verb_why_help = {
    .text =
        "Tells what is wrong with a model or another service, what happens next, and what to do: "
        "from how it is, its record, the plan, and the last events. It works without the monitor "
        "and without a supervisor, too, and then says what is not known.",
    .examples = VERB_EXAMPLES({"citadel why phi3", "what is wrong with it"},
                              {"citadel why phi3 --json | jq -r .fix", "what to do"}),
};

#define MONITOR_US UINT64_C(2000000)
#define EVENTS 5

/* All that is known of one model; what could not be had is told as such, and no error. */
struct asking {
    struct cli *cli;
    struct cli_running running;
    struct cli_plan loaded; /* of the configuration that has the model */
    const char *name;
    const struct config_model *model; /* NULL: it is none */
    struct run_record record;
    struct lifecycle_decision decision;
    struct err no_view, no_plan, lost;
    struct event events[EVENTS];
    size_t event_count;
    struct why_known known;
    struct why_told told;
};

/* What runs counts before what the file says; and a model that only the file has has a plan, too. */
static int
find_model(struct asking *a)
{
    const char *name = a->cli->args[0];
    struct cli_running *running = &a->running;
    bool is_other = running->other && config_find_model(running->other, name);
    a->loaded.config = take_ptr(*(is_other ? &running->other : &running->file));
    a->name = name;
    a->model = config_find_model(a->loaded.config, name);
    if (a->model || service_is_keeper(name))
        return 0;
    int r = err_set(&a->cli->err, ERR_NO_MODEL, "there is no model '%s' in %s", name,
                    a->loaded.config->name);
    err_fix_nearest(&a->cli->err, name, config_model_name, a->loaded.config,
                    "citadel config show models");
    return r;
}

static void
read_plan(struct asking *a)
{
    if (cli_make_plan(a->cli, &a->loaded) < 0) {
        a->no_plan = a->cli->err;
        a->cli->err = (struct err){0};
        a->known.no_plan = a->no_plan.what;
    } else {
        a->known.planned = plan_find_model(&a->loaded.plan, a->name);
    }
}

static void
find_status(struct asking *a)
{
    struct service_view *view = &a->running.view;
    a->known.no_status = a->no_view.id == ERR_NONE ? "it is not deployed" : a->no_view.what;
    service_view_ask(view, a->loaded.config->paths.run, a->name);
    const struct service_seen *seen = service_view_find(view, a->name);
    if (!seen)
        return;
    a->known.model.status = &seen->status;
    a->known.model.run = seen->has_run ? &seen->run : NULL;
    a->known.model.is_silent = seen->silent;
}

static void
read_events(struct asking *a)
{
    _cleanup_history_reader_ struct history_reader reader;
    struct event event;
    int r = history_reader_open(&reader, a->loaded.config->paths.state, HISTORY_OF_SERVICES, NULL);
    while (r >= 0 && history_next(&reader, &event, NULL) > 0)
        if (text_eq(event.service, a->name))
            a->events[a->event_count++ % EVENTS] = event;
}

/* What the monitor is going to do is what it decides; where it cannot be asked, the same is decided
 * here from the same. */
static bool
ask_monitor(struct asking *a)
{
    _cleanup_arena_ struct arena arena;
    const struct operation_wish wish = {.id = OPERATION_SERVICES, .timeout_us = MONITOR_US};
    struct value *answer = NULL;
    arena_init(&arena, OPERATE_ANSWER_BYTES);
    if (cli_operate(a->loaded.config, &wish, &arena, &answer, NULL) < 0)
        return false;
    const struct value *service = cli_operate_service(answer, a->name);
    (void)value_u64(value_get(service, "look_us"), &a->decision.next_us);
    value_copy_str(value_get(service, "waits"), a->decision.why, sizeof(a->decision.why));
    return true;
}

static void
decide(struct asking *a)
{
    struct lifecycle memory = {0};
    const struct lifecycle_seen seen = {.status = a->known.model.status,
                                        .record = &a->record,
                                        .run = a->known.model.run,
                                        .stall_us = a->model->stall_limit_us,
                                        .budget = a->known.times.budget};
    a->decision = (struct lifecycle_decision){.next_us = UINT64_MAX};
    a->known.monitor_runs = ask_monitor(a);
    if (!a->known.monitor_runs && a->known.model.status)
        lifecycle_look(&memory, &seen, clock_wall_us(), &a->decision);
}

static int
gather(struct asking *a)
{
    int r = find_model(a);
    if (r < 0)
        return r;
    a->known.name = a->name;
    if (!a->model) {
        find_status(a);
        read_events(a);
        lifecycle_why_keeper(&a->known, &a->told);
        return 0;
    }
    a->known.model.record = &a->record;
    a->known.decision = &a->decision;
    a->known.times = plan_times_of(a->model);
    find_status(a);
    read_plan(a);
    read_events(a);
    if (run_record_load(a->loaded.config->paths.state, a->name, &a->record, &a->lost) < 0)
        a->known.model.lost = a->lost.what;
    decide(a);
    lifecycle_why(&a->known, clock_wall_us(), &a->told);
    return 0;
}

/* ---- what is told ---- */

static void
print_json(const struct asking *a, struct json_writer *w)
{
    const struct why_told *t = &a->told;
    const struct service_status *s = a->known.model.status;
    json_open_map(w, NULL);
    json_str(w, "name", a->name);
    json_str(w, "state", s ? service_state_word(s->state) : NULL);
    json_bool(w, "well", t->well);
    json_str(w, "wrong", t->wrong);
    json_str(w, "next", t->next);
    json_str(w, "fix", t->fix[0] ? t->fix : NULL);
    json_bool(w, "monitor", a->known.monitor_runs);
    json_str(w, "no_plan", a->known.no_plan);
    json_open_list(w, "events");
    size_t count = MIN(a->event_count, (size_t)EVENTS);
    for (size_t i = a->event_count - count; i < a->event_count; i++) {
        json_open_map(w, NULL);
        event_print_members(&a->events[i % EVENTS], w);
        json_close_map(w);
    }
    json_close_list(w);
    json_close_map(w);
}

static void
print_events(const struct asking *a)
{
    size_t count = MIN(a->event_count, (size_t)EVENTS);
    for (size_t i = a->event_count - count; i < a->event_count; i++) {
        const struct event *e = &a->events[i % EVENTS];
        char at[CLOCK_LOCAL_MAX];
        cli_print(a->cli, "  %s  %s: %s\n", clock_print_local(e->at_us, at), event_row(e->kind)->id,
                  e->text);
    }
}

static void
print_words(const struct asking *a)
{
    const struct why_told *t = &a->told;
    const struct service_status *s = a->known.model.status;
    enum tone tone = t->well ? TONE_GOOD : TONE_BAD;
    const struct table_look *look = &a->cli->look;
    cli_print(a->cli, "%s: %s%s%s\n", a->name, tone_start(tone, look),
              s ? service_state_word(s->state) : "unknown", tone_end(tone, look));
    cli_print(a->cli, "  what is wrong  %s\n", t->wrong);
    cli_print(a->cli, "  what is next   %s\n", t->next);
    if (t->fix[0])
        cli_print(a->cli, "  what to do     %s\n", t->fix);
    if (a->known.no_plan)
        cli_print(a->cli, "  not known      what is planned for it: %s\n", a->known.no_plan);
    if (a->event_count)
        cli_print(a->cli, "\nlately:\n");
    print_events(a);
}

int
verb_why(struct cli *cli)
{
    struct asking a = {.cli = cli};
    int r = cli_load_running(cli, &a.running);
    if (r < 0 && a.running.config) {
        a.no_view = cli->err;
        cli->err = (struct err){0};
        r = 0;
    }
    if (r == 0)
        r = gather(&a);
    if (r == 0 && cli->json)
        print_json(&a, cli->json);
    else if (r == 0)
        print_words(&a);
    cli_plan_finish(&a.loaded);
    cli_running_finish(&a.running);
    return r;
}
